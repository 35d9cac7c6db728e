//! What every way of asking another server does: one attempt at a time, in its protocol.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Error, Result};
use serde::Deserialize;

use super::fault::Fault;
use crate::{
    ambient::Ambient,
    oip::binary,
    tensor::{Tensor, TensorInfo},
};

/// Largest answers that are words (metadata, and what failed), bytes.
pub(super) const WORDS_BYTES_MAX: usize = 1 << 20;

/// What an attempt came to.
pub(super) type Attempt<T> = std::result::Result<T, Fault>;

/// A protocol of Open Inference, spoken to one server about one model. Dropping a future gives the attempt up.
#[async_trait]
pub(super) trait Transport: fmt::Debug + Send + Sync {
    /// What the other server says of the model.
    async fn metadata(&self) -> Attempt<Metadata>;

    /// Whether it says that the model is ready.
    async fn ready(&self) -> Attempt<()>;

    /// Its answer in the order of the outputs that are expected, each of them as described and with a row for every row.
    /// The other server is told how much time is `left`.
    async fn infer(&self, question: &Question, ambient: &Ambient, left: Duration) -> Attempt<Vec<Tensor>>;
}

/// What the other server says of its model.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) inputs: Vec<Described>,
    pub(super) outputs: Vec<Described>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) datatype: String,
    pub(super) shape: Vec<i64>,
}

impl Described {
    /// In our words.
    ///
    /// # Errors
    /// `Unimplemented` for a datatype that is unknown here.
    pub(super) fn info(self) -> Result<TensorInfo> {
        let data_type = self.datatype.parse().map_err(|error: Error| {
            Error::unimplemented(format!("tensor {:?} of the remote model: {}", self.name, error.message()))
        })?;
        Ok(TensorInfo::new(self.name, data_type, self.shape))
    }
}

/// The inputs of a call, made ready once for all attempts, with the answer that is expected.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) tensors: Vec<Tensor>,
    /// One per tensor, where tensors travel in binary.
    pub(super) raw: Vec<Bytes>,
    outputs: Arc<[TensorInfo]>,
    rows: usize,
}

impl Question {
    pub(super) fn new(tensors: Vec<Tensor>, in_binary: bool, outputs: Arc<[TensorInfo]>, rows: usize) -> Self {
        let encode = |tensor: &Tensor| Bytes::from(binary::encode(tensor.values()));
        let raw = if in_binary { tensors.iter().map(encode).collect() } else { Vec::new() };
        Self { tensors, raw, outputs, rows }
    }

    /// How an output of the answer is described; none for one that nobody asked for, which may be there.
    ///
    /// # Errors
    /// `Internal` when it is not as its description has it, or has other rows.
    pub(super) fn expected(&self, name: &str, datatype: &str, shape: &[usize]) -> Result<Option<&TensorInfo>> {
        let Some(info) = self.outputs.iter().find(|info| info.name == name) else { return Ok(None) };
        if datatype != info.data_type.name() || !info.admits(shape) || shape.first() != Some(&self.rows) {
            return Err(broken(&format!(
                "has output {name:?} as {datatype} {shape:?}; {} {:?} with {} rows was expected",
                info.data_type, info.shape, self.rows
            )));
        }
        Ok(Some(info))
    }

    /// The outputs in order.
    ///
    /// # Errors
    /// `Internal` when one is missing.
    pub(super) fn in_order(&self, found: &[Tensor]) -> Result<Vec<Tensor>> {
        let of = |info: &TensorInfo| found.iter().find(|tensor| tensor.name() == info.name).cloned();
        let lacks = |info: &TensorInfo| broken(&format!("lacks output {:?}", info.name));
        self.outputs.iter().map(|info| of(info).ok_or_else(|| lacks(info))).collect()
    }
}

/// An answer that is not of the protocol, or not what the metadata said.
pub(super) fn broken(what: &str) -> Error {
    Error::internal(format!("the answer of the remote model {what}"))
}

/// An answer whose values do not fit their description.
pub(super) fn damaged(error: &Error) -> Error {
    broken(&format!("is damaged: {}", error.message()))
}

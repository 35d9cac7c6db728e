//! A model that predicts, and where models come from.

use std::{fmt, sync::Arc};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    id::{Digest, ModelName, ModelRef, Version},
    package::ModelPackage,
    schema::Signature,
};

/// Something that turns a batch of inputs into a batch of outputs.
///
/// Prediction is computation: it is synchronous, has no side effect, and callers on an async
/// runtime run it on a worker pool.
pub trait Model: fmt::Debug + Send + Sync + 'static {
    /// The inputs it needs and the outputs it gives.
    fn signature(&self) -> &Signature;

    /// Predicts every row.
    ///
    /// `inputs` has at least the columns of the signature (see [`Signature::project_inputs`]); the
    /// answer has exactly the output columns and as many rows, in the same order. Row results do
    /// not depend on which other rows share the batch.
    ///
    /// # Errors
    /// `InvalidArgument` when the batch does not fit the signature.
    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch>;

    /// Resident size in bytes, an estimate; zero when unknown.
    fn memory_bytes(&self) -> u64 {
        0
    }
}

impl<T: Model + ?Sized> Model for Arc<T> {
    fn signature(&self) -> &Signature {
        (**self).signature()
    }
    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        (**self).predict(inputs)
    }
    fn memory_bytes(&self) -> u64 {
        (**self).memory_bytes()
    }
}

/// One immutable version of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelVersionId {
    /// Registered model.
    pub name: ModelName,
    /// Version number.
    pub version: Version,
    /// Digest of its package.
    pub digest: Digest,
}

/// Where a server gets its models; a registry, a directory, another registry over HTTP.
#[async_trait]
pub trait ModelSource: fmt::Debug + Send + Sync + 'static {
    /// Which version `reference` means now. Cheap enough to be asked every second.
    ///
    /// # Errors
    /// `NotFound` when the model, version or alias does not exist; `Unavailable` when the source
    /// cannot be reached.
    async fn resolve(&self, reference: &ModelRef) -> Result<ModelVersionId>;

    /// The package of one version, verified against its digest.
    ///
    /// # Errors
    /// `NotFound`, `DataLoss` when the stored bytes do not match the digest, `Unavailable`.
    async fn fetch(&self, id: &ModelVersionId) -> Result<ModelPackage>;
}

#[async_trait]
impl<T: ModelSource + ?Sized> ModelSource for Arc<T> {
    async fn resolve(&self, reference: &ModelRef) -> Result<ModelVersionId> {
        (**self).resolve(reference).await
    }
    async fn fetch(&self, id: &ModelVersionId) -> Result<ModelPackage> {
        (**self).fetch(id).await
    }
}

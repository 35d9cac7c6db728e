//! Bodies of predictions to tensors, and outputs to bare values.

use mlops_core::Result;

use crate::{
    protocol::{Key, Layout, Read, Shown, read, write},
    repository::LoadedVersion,
    server::TensorReply,
    tensor::Tensor,
};

const KEYS: &[Key] = &[("instances", Layout::Rows), ("inputs", Layout::Columns)];

/// Reads rows in an array, one row as an object, or KServe's two envelopes.
///
/// # Errors
/// As [`read`].
pub(super) fn read_body(body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
    let Read { tensors, shown } = read(body, KEYS, true, version)?;
    Ok((tensors, shown))
}

/// The bare value.
///
/// # Errors
/// As [`write`].
pub(super) fn write_value(reply: &TensorReply, shown: Shown) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    write(reply, shown, false, &mut out)?;
    Ok(out)
}

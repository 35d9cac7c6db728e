//! Parameters and moments as safetensors, by the path of each parameter in its module.

use mlops_core::Result;

use super::parameters::Parameters;
use crate::{
    checkpoint::Saved,
    weights::{self, WeightsFile},
};

/// Writes vectors that are laid out like `parameters`, each under a prefix.
pub(super) fn encode(parameters: &Parameters, vectors: &[(&str, &[f32])]) -> Result<Vec<u8>> {
    let named = vectors.iter().flat_map(|&(prefix, values)| {
        parameters
            .slots(values)
            .map(move |(slot, values)| (format!("{prefix}{}", slot.name), slot.shape.clone(), values))
    });
    weights::encode(named)
}

/// Whether the file `name` of a checkpoint has vectors under a prefix.
///
/// # Errors
/// `DataLoss` naming the file when it is no safetensors, or `FailedPrecondition` where the checkpoint is another fit's.
pub(super) fn has(saved: &Saved, name: &str, prefix: &str) -> Result<bool> {
    let file = WeightsFile::open(saved.file(name)?).map_err(|error| saved.misfit(name, error.message()))?;
    Ok(file.names().any(|name| name.starts_with(prefix)))
}

/// Reads one vector back from the file `name` of a checkpoint.
///
/// # Errors
/// Naming the file, when a parameter is missing, of another shape or not finite: `DataLoss`, or `FailedPrecondition`
/// where the checkpoint is another fit's.
pub(super) fn decode(saved: &Saved, name: &str, parameters: &Parameters, prefix: &str) -> Result<Vec<f32>> {
    let damaged = |error: mlops_core::Error| saved.misfit(name, error.message());
    let file = WeightsFile::open(saved.file(name)?).map_err(damaged)?;
    let mut values = Vec::with_capacity(parameters.len());
    for slot in parameters.layout() {
        values.extend(file.read(&format!("{prefix}{}", slot.name), &slot.shape).map_err(damaged)?);
    }
    Ok(values)
}

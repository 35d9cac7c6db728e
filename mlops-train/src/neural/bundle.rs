//! Parameters and moments as safetensors, by the path of each parameter in its module.

use mlops_core::{Error, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::parameters::Parameters;
use crate::checkpoint::Saved;

/// Writes vectors that are laid out like `parameters`, each under a prefix.
pub(super) fn encode(parameters: &Parameters, vectors: &[(&str, &[f32])]) -> Result<Vec<u8>> {
    let mut named: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (prefix, values) in vectors {
        for (slot, values) in parameters.slots(values) {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            named.push((format!("{prefix}{}", slot.name), slot.shape.clone(), bytes));
        }
    }
    let views = named
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| Error::internal(format!("parameters cannot be written as safetensors: {error}")))
}

/// Reads one vector back from the file `name` of a checkpoint.
///
/// # Errors
/// `DataLoss` naming the file when a parameter is missing, of another shape or not finite.
pub(super) fn decode(saved: &Saved, name: &str, parameters: &Parameters, prefix: &str) -> Result<Vec<f32>> {
    let file = SafeTensors::deserialize(saved.file(name)?)
        .map_err(|error| saved.damaged(name, &format!("it is no safetensors file: {error}")))?;
    let mut values = Vec::with_capacity(parameters.len());
    for slot in parameters.layout() {
        let tensor = format!("{prefix}{}", slot.name);
        match file.tensor(&tensor) {
            Ok(view) if view.dtype() == Dtype::F32 && view.shape() == slot.shape => {
                values.extend(view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            _ => return Err(saved.damaged(name, &format!("tensor {tensor:?} is missing or of another shape"))),
        }
    }
    if values.iter().any(|value| !value.is_finite()) {
        return Err(saved.damaged(name, "a number is not finite"));
    }
    Ok(values)
}

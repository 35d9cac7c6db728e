//! The file `weights.safetensors`: `layers.N.weight` of shape `[outputs, inputs]` and
//! `layers.N.bias` of shape `[outputs]`, in single precision. That is the layout of a PyTorch
//! `Linear`, so Python reads the file as it is.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::network::{Dense, Network};

/// Writes the weights.
pub(crate) fn encode(network: &Network) -> Result<Vec<u8>> {
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (index, layer) in network.layers().iter().enumerate() {
        let weight = transpose(&layer.weight, layer.inputs, layer.outputs);
        tensors.insert(format!("layers.{index}.weight"), (vec![layer.outputs, layer.inputs], to_bytes(&weight)));
        tensors.insert(format!("layers.{index}.bias"), (vec![layer.outputs], to_bytes(&layer.bias)));
    }
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| Error::internal(format!("weights cannot be written as safetensors: {error}")))
}

/// Reads the weights of a network with these numbers per layer.
///
/// # Errors
/// `DataLoss` when a tensor is missing, of another shape or type, or not finite.
pub(crate) fn decode(bytes: &[u8], widths: &[usize]) -> Result<Network> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::data_loss(format!("weights.safetensors is damaged: {error}")))?;
    let mut layers = Vec::with_capacity(widths.len());
    for (index, (&inputs, &outputs)) in widths.iter().zip(widths.iter().skip(1)).enumerate() {
        let weight = read(&file, &format!("layers.{index}.weight"), &[outputs, inputs])?;
        let bias = read(&file, &format!("layers.{index}.bias"), &[outputs])?;
        layers.push(Dense { inputs, outputs, weight: transpose(&weight, outputs, inputs), bias });
    }
    Network::new(layers)
}

fn read(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    match file.tensor(name) {
        Ok(view) if view.dtype() == Dtype::F32 && view.shape() == shape => {
            Ok(view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        }
        Ok(view) => Err(Error::data_loss(format!(
            "tensor {name:?} must be F32 of shape {shape:?}, found {:?} of shape {:?}",
            view.dtype(),
            view.shape()
        ))),
        Err(_) => Err(Error::data_loss(format!("weights.safetensors lacks tensor {name:?}"))),
    }
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A row-major table of `rows` by `columns` with both exchanged.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns.max(1)).take(rows).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_round_trip_and_write_the_same_bytes() {
        let network = Network::random(&[3, 4, 1], 1).unwrap();
        let bytes = encode(&network).unwrap();
        assert_eq!(bytes, encode(&network).unwrap());
        assert_eq!(decode(&bytes, &[3, 4, 1]).unwrap(), network);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("layers.0.weight").unwrap().shape(), [4, 3]);
    }

    #[test]
    fn damage_is_refused() {
        let bytes = encode(&Network::random(&[3, 4, 1], 1).unwrap()).unwrap();
        assert!(decode(&bytes, &[3, 5, 1]).unwrap_err().message().contains("layers.0.weight"));
        assert!(decode(&bytes, &[3, 4, 1, 1]).unwrap_err().message().contains("layers.2.weight"));
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], &[3, 4, 1]).is_err());
        }
    }
}

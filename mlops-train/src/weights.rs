//! Weights as safetensors: named tensors in single precision, the same bytes for the same numbers.

use mlops_core::{Error, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// Writes named tensors of given shapes.
///
/// # Errors
/// `Internal` when a shape does not fit its numbers or a name comes twice.
pub(crate) fn encode<'a>(tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>) -> Result<Vec<u8>> {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let named: Vec<(String, Vec<usize>, Vec<u8>)> =
        tensors.into_iter().map(|(name, shape, values)| (name, shape, bytes(values))).collect();
    let views = named
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| Error::internal(format!("weights cannot be written as safetensors: {error}")))
}

/// A file of named tensors.
#[derive(Debug)]
pub(crate) struct WeightsFile<'a>(SafeTensors<'a>);

impl<'a> WeightsFile<'a> {
    /// Looks at the header.
    ///
    /// # Errors
    /// `DataLoss` when the bytes are no safetensors.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self> {
        SafeTensors::deserialize(bytes)
            .map(Self)
            .map_err(|error| Error::data_loss(format!("it is no safetensors file: {error}")))
    }

    /// What tensors are called.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name)
    }

    /// The numbers of one tensor.
    ///
    /// # Errors
    /// `DataLoss` naming the tensor when it is missing, of another shape or type, or not finite.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let view = self.0.tensor(name).map_err(|_| Error::data_loss(format!("tensor {name:?} is missing")))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            let (dtype, found) = (view.dtype(), view.shape());
            return Err(Error::data_loss(format!(
                "tensor {name:?} must be F32 of shape {shape:?}, found {dtype:?} of shape {found:?}"
            )));
        }
        let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if values.iter().all(|value| value.is_finite()) {
            return Ok(values);
        }
        Err(Error::data_loss(format!("tensor {name:?} holds numbers that are not finite")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_round_trip_and_faults_name_them() {
        let tensors = || [("b".to_owned(), vec![2, 1], &[1.0_f32, -2.5][..]), ("a".to_owned(), vec![1], &[0.5][..])];
        let bytes = encode(tensors()).unwrap();
        assert_eq!(bytes, encode(tensors()).unwrap());
        let file = WeightsFile::open(&bytes).unwrap();
        assert_eq!(file.read("b", &[2, 1]).unwrap(), [1.0, -2.5]);
        for (name, shape) in [("b", &[2][..]), ("c", &[1])] {
            let error = file.read(name, shape).unwrap_err();
            assert!(error.message().contains(&format!("{name:?}")), "{error}");
        }
        let infinite = encode([("x".to_owned(), vec![1], &[f32::INFINITY][..])]).unwrap();
        assert!(WeightsFile::open(&infinite).unwrap().read("x", &[1]).unwrap_err().message().contains("finite"));
        assert!(WeightsFile::open(&bytes[..bytes.len() - 1]).is_err());
        assert!(encode([("x".to_owned(), vec![3], &[0.0][..])]).is_err());
    }
}

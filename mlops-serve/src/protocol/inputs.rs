//! The tensors of one request, checked against the metadata of the version that describes the model.
//!
//! Invariant: what [`Inputs::finish`] gives fits the metadata: every input once, none unknown, none missing, each of
//! the model's datatype and shape. How values are written on the wire is the adapter's business.

use arrow_array::new_null_array;
use mlops_core::{Error, Result};

use crate::{
    repository::LoadedVersion,
    tensor::{Tensor, TensorInfo, TensorType, element_count},
};

/// Collects the inputs of a request.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    version: &'a LoadedVersion,
    tensors: Vec<Tensor>,
}

impl<'a> Inputs<'a> {
    /// None yet.
    pub(crate) fn of(version: &'a LoadedVersion) -> Self {
        Self { version, tensors: Vec::with_capacity(version.inputs.len()) }
    }

    /// The description of input `name`.
    ///
    /// # Errors
    /// `InvalidArgument` when the model has no such input or it was given before.
    pub(crate) fn named(&self, name: &str) -> Result<&'a TensorInfo> {
        if self.tensors.iter().any(|tensor| tensor.name() == name) {
            return Err(Error::invalid_argument(format!("input {name:?} is given twice")));
        }
        self.version.inputs.iter().find(|info| info.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.version.inputs.iter().map(|info| info.name.as_str()).collect();
            Error::invalid_argument(format!("input {name:?} is not one of the model's inputs: {}", known.join(", ")))
        })
    }

    /// The description of an input whose request declares datatype and shape, and that shape.
    ///
    /// # Errors
    /// `InvalidArgument` when name, datatype or shape are not the model's.
    pub(crate) fn declared<D: TryInto<usize> + Copy>(
        &self,
        name: &str,
        datatype: &str,
        shape: &[D],
    ) -> Result<(&'a TensorInfo, Vec<usize>)> {
        let info = self.named(name)?;
        let data_type: TensorType = datatype.parse()?;
        if data_type != info.data_type {
            return Err(Error::invalid_argument(format!(
                "input {name:?} must be {}, found {data_type}",
                info.data_type
            )));
        }
        let shape = shape.iter().map(|dim| (*dim).try_into()).collect::<std::result::Result<Vec<usize>, _>>();
        let shape = shape.map_err(|_| {
            Error::invalid_argument(format!("shape of input {name:?} has a dimension below 0 or too large"))
        })?;
        check_shape(info, &shape)?;
        Ok((info, shape))
    }

    /// Takes the values of a described input.
    pub(crate) fn push(&mut self, tensor: Tensor) {
        self.tensors.push(tensor);
    }

    /// Inputs that were left out: optional ones stay out, nullable ones become null in every row (no protocol here
    /// has a null tensor of its own), any other is an error.
    ///
    /// # Errors
    /// `InvalidArgument` naming the input that is missing.
    pub(crate) fn finish(mut self) -> Result<Vec<Tensor>> {
        let rows = self.tensors.first().map(Tensor::rows);
        for info in &self.version.inputs {
            if self.tensors.iter().any(|tensor| tensor.name() == info.name)
                || self.version.optional_input.as_ref() == Some(&info.name)
            {
                continue;
            }
            let (true, Some(rows)) = (info.nullable, rows) else {
                return Err(Error::invalid_argument(format!("input {:?} is missing", info.name)));
            };
            let shape: Vec<usize> = info.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(rows)).collect();
            let count = element_count(&info.name, &shape)?;
            let values = new_null_array(&info.data_type.storage(), count);
            self.tensors.push(Tensor::new(&info.name, info.data_type, shape, values)?);
        }
        Ok(self.tensors)
    }
}

/// Whether a tensor of `shape` fits the description.
///
/// # Errors
/// `InvalidArgument` naming both shapes.
pub(crate) fn check_shape(info: &TensorInfo, shape: &[usize]) -> Result<()> {
    if info.admits(shape) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("input {:?} has shape {shape:?}, the model takes {:?}", info.name, info.shape)))
}

/// The description of output `name`.
///
/// # Errors
/// `InvalidArgument` when the model has no such output.
pub(crate) fn known_output<'a>(version: &'a LoadedVersion, name: &str) -> Result<&'a TensorInfo> {
    version
        .outputs
        .iter()
        .find(|info| info.name == name)
        .ok_or_else(|| Error::invalid_argument(format!("output {name:?} is not one of the model's outputs")))
}

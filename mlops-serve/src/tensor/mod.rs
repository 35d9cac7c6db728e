//! Tensors as they travel between a protocol and a model.
//!
//! Invariant: the values of a [`Tensor`] are one flat Arrow array, row-major, whose length is the product
//! of the shape and whose type is the storage type of its [`TensorType`].

mod batch;
mod kind;

use arrow_array::{Array, ArrayRef};
use mlops_core::{DataType, Error, Result, ResultExt as _, TensorSpec};

pub(crate) use batch::{check_batch, empty_outputs, from_batch, to_column, to_field_column};
pub use kind::TensorType;

/// What a model says of one input or output: name, element type, shape with -1 for a variable dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Tensor name.
    pub name: String,
    /// Element type.
    pub data_type: TensorType,
    /// Dimensions; -1 is any length.
    pub shape: Vec<i64>,
    /// Whether single values may be null in JSON.
    pub nullable: bool,
}

impl TensorInfo {
    /// A tensor without nulls.
    #[must_use]
    pub fn new(name: impl Into<String>, data_type: TensorType, shape: impl Into<Vec<i64>>) -> Self {
        Self { name: name.into(), data_type, shape: shape.into(), nullable: false }
    }

    /// The tensor that carries a column of a core signature; its first dimension is the rows.
    #[must_use]
    pub fn from_spec(spec: &TensorSpec) -> Self {
        Self {
            name: spec.name.clone(),
            data_type: TensorType::from_core(spec.data_type),
            shape: spec.oip_shape(),
            nullable: spec.nullable,
        }
    }

    /// The column that the tensor carries, where its first dimension is the rows and no other varies.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the tensor when another varies, `Unimplemented` for a type without a column.
    pub(crate) fn to_spec(&self) -> Result<TensorSpec> {
        let row_shape = match self.shape.split_first() {
            Some((-1, row)) => row.iter().map(|dim| usize::try_from(*dim).ok()).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let (name, shape) = (&self.name, &self.shape);
        let row_shape = row_shape.ok_or_else(|| {
            Error::failed_precondition(format!(
                "tensor {name:?} has shape {shape:?}; the rows, and only they, may vary"
            ))
            .with("tensor", name)
        })?;
        let data_type = DataType::from_oip(self.data_type.name()).context(format!("tensor {name:?}"))?;
        Ok(TensorSpec::tensor(name, data_type, row_shape))
    }

    /// Whether `shape` has this rank and these fixed dimensions.
    #[must_use]
    pub fn admits(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(&want, &found)| want < 0 || usize::try_from(want) == Ok(found))
    }
}

/// A named, shaped, typed block of values.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::arrow_array::Float32Array;
/// use mlops_serve::{Tensor, TensorType};
///
/// let values = Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0]));
/// let tensor = Tensor::new("x", TensorType::Fp32, [2, 2], values)?;
/// assert_eq!(tensor.rows(), 2);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tensor {
    name: String,
    data_type: TensorType,
    shape: Vec<usize>,
    values: ArrayRef,
}

impl Tensor {
    /// Checks the invariant and keeps the parts.
    ///
    /// # Errors
    /// `InvalidArgument` when the number or type of values does not fit shape and type.
    pub fn new(
        name: impl Into<String>,
        data_type: TensorType,
        shape: impl Into<Vec<usize>>,
        values: ArrayRef,
    ) -> Result<Self> {
        let (name, shape) = (name.into(), shape.into());
        let expected = element_count(&name, &shape)?;
        if values.len() != expected {
            return Err(Error::invalid_argument(format!(
                "tensor {name:?} of shape {shape:?} needs {expected} elements, found {}",
                values.len()
            )));
        }
        if !data_type.is_stored_as(values.data_type()) {
            return Err(Error::invalid_argument(format!(
                "tensor {name:?} of type {data_type} is stored as {}, found {}",
                data_type.storage(),
                values.data_type()
            )));
        }
        Ok(Self { name, data_type, shape, values })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The element type.
    #[must_use]
    pub fn data_type(&self) -> TensorType {
        self.data_type
    }

    /// The dimensions.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The flat values, row-major.
    #[must_use]
    pub fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// The first dimension; one for a scalar.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// `rows` rows from row `from` on, without copying.
    ///
    /// # Errors
    /// `InvalidArgument` when there are not so many.
    pub(crate) fn slice_rows(&self, from: usize, rows: usize) -> Result<Self> {
        if from.checked_add(rows).is_none_or(|end| end > self.rows()) || self.shape.is_empty() {
            return Err(Error::invalid_argument(format!("tensor {:?} has no {rows} rows from row {from}", self.name)));
        }
        let width = element_count(&self.name, self.shape.get(1..).unwrap_or_default())?;
        let shape: Vec<usize> = std::iter::once(rows).chain(self.shape.iter().skip(1).copied()).collect();
        Self::new(self.name.as_str(), self.data_type, shape, self.values.slice(from * width, rows * width))
    }

    /// The same tensor under another name.
    #[must_use]
    pub fn renamed(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

/// The product of the dimensions.
///
/// # Errors
/// `InvalidArgument` when it does not fit in memory addresses.
pub(crate) fn element_count(name: &str, shape: &[usize]) -> Result<usize> {
    if shape.contains(&0) {
        return Ok(0);
    }
    let product = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
    product.ok_or_else(|| Error::invalid_argument(format!("the elements of tensor {name:?} exceed the address space")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int32Array;

    use super::*;

    #[test]
    fn shape_type_and_count_must_agree() {
        let values = || Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef;
        let refused =
            |shape: &[usize], data_type| Tensor::new("t", data_type, shape, values()).unwrap_err().to_string();
        assert!(refused(&[2], TensorType::Int32).contains("needs 2 elements, found 3"));
        assert!(refused(&[3], TensorType::Fp32).contains("stored as Float32, found Int32"));
        assert!(refused(&[usize::MAX, 2], TensorType::Int32).contains("exceed"));
        assert_eq!(Tensor::new("t", TensorType::Int32, [3], values()).unwrap().rows(), 3);
    }
}

//! Values that flow between operators: a shape and flat, row-major elements.
//!
//! Invariant: the number of elements is the product of the shape. Cloning and reshaping share the elements.

mod broadcast;
mod cast;
mod data;
mod index;

use mlops_core::{DataType, Error, Result};
use smallvec::{SmallVec, smallvec};

pub(crate) use broadcast::{binary, broadcast_indices, broadcast_shape};
pub(crate) use cast::cast;
pub(crate) use data::each_data;
pub use data::{Data, Element, Text};
pub(crate) use index::{axis_of, strides, transposed};

/// Dimensions, which are few.
pub(crate) type Shape = SmallVec<[usize; 4]>;

/// A typed block of values of any rank.
///
/// ```
/// use mlops_onnx::Tensor;
///
/// let rows = Tensor::new([2, 3], vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// assert_eq!(rows.shape(), [2, 3]);
/// assert_eq!(rows.values::<f32>()?[4], 5.0);
/// assert!(Tensor::new([4], vec![1_i64]).is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Data,
}

impl Tensor {
    /// Checks the invariant and keeps the parts.
    ///
    /// # Errors
    /// `InvalidArgument` when the shape needs another number of elements.
    pub fn new(shape: impl AsRef<[usize]>, data: impl Into<Data>) -> Result<Self> {
        let (shape, data) = (Shape::from_slice(shape.as_ref()), data.into());
        let count = shape.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
        if count == Some(data.len()) || (shape.contains(&0) && data.is_empty()) {
            return Ok(Self { shape, data });
        }
        Err(Error::invalid_argument(format!("shape {shape:?} does not hold {} elements", data.len())))
    }

    /// One dimension.
    pub(crate) fn vector(data: impl Into<Data>) -> Self {
        let data = data.into();
        Self { shape: smallvec![data.len()], data }
    }

    /// The dimensions; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The element type.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        self.data.data_type()
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements, when they are of type `T`.
    ///
    /// # Errors
    /// `InvalidArgument` naming both types.
    pub fn values<T: Element>(&self) -> Result<&[T]> {
        T::of(&self.data).ok_or_else(|| {
            Error::invalid_argument(format!("a tensor of {} is expected, found {}", T::TYPE, self.data_type()))
        })
    }

    /// The elements by value, copied only when they are shared.
    pub(crate) fn into_data(self) -> Data {
        self.data
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// `InvalidArgument` when the shape needs another number of elements.
    pub(crate) fn reshaped(&self, shape: impl AsRef<[usize]>) -> Result<Self> {
        Self::new(shape, self.data.clone())
    }

    /// Rows and columns when read as a matrix: a vector is one row, more dimensions are refused.
    pub(crate) fn matrix(&self) -> Result<(usize, usize)> {
        match self.shape.as_slice() {
            [] => Ok((1, 1)),
            [columns] => Ok((1, *columns)),
            [rows, columns] => Ok((*rows, *columns)),
            shape => Err(Error::invalid_argument(format!("rows of features are expected, found shape {shape:?}"))),
        }
    }

    /// The elements converted to `T`, borrowed when they are of that type already.
    pub(crate) fn converted<T: Element>(&self) -> Result<std::borrow::Cow<'_, [T]>> {
        if let Some(values) = T::of(&self.data) {
            return Ok(values.into());
        }
        let data = cast(&self.data, T::TYPE)?;
        T::of(&data).map(|values| values.to_vec().into()).ok_or_else(|| Error::internal("a cast gave another type"))
    }

    /// Small integers: axes, shapes, indices.
    pub(crate) fn to_ints(&self) -> Result<Vec<i64>> {
        match self.data_type() {
            DataType::Int64 | DataType::Int32 => Ok(self.converted::<i64>()?.into_owned()),
            other => Err(Error::invalid_argument(format!("integers are expected, found {other}"))),
        }
    }

    /// The elements at these places, `block` at a time, in a new shape.
    pub(crate) fn gathered(&self, shape: impl AsRef<[usize]>, places: &[usize], block: usize) -> Result<Self> {
        let data = each_data!(&self.data, values => data::take(values, places, block).map(Data::from));
        let missing = || Error::invalid_argument(format!("an index lies outside shape {:?}", self.shape));
        Self::new(shape, data.ok_or_else(missing)?)
    }

    /// Bytes that the elements take; text counts its pointers only.
    pub(crate) fn bytes(&self) -> u64 {
        let size = each_data!(&self.data, values => size_of_val(values.as_slice()));
        u64::try_from(size).unwrap_or(u64::MAX)
    }
}

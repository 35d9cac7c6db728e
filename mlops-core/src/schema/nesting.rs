//! Flat values as the rows of a column with dimensions of its own.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray};
use arrow_schema::DataType;

use crate::Result;

/// `flat`, row-major, as an array of `data_type`: itself, or the innermost values of nested lists of a fixed size. Shares
/// the values and the type's own fields.
///
/// # Errors
/// `InvalidArgument` when the values are of another type, or not a whole number of lists.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{TensorSpec, arrow_array::{Array, Float32Array}, nest};
///
/// let field = TensorSpec::tensor("x", mlops_core::DataType::Float32, [3]).to_field();
/// let rows = nest(Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])), field.data_type())?;
/// assert_eq!(rows.len(), 2);
/// assert!(nest(Arc::new(Float32Array::from(vec![1.0])), field.data_type()).is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
pub fn nest(flat: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::FixedSizeList(element, width) = data_type else { return Ok(flat) };
    let inner = nest(flat, element.data_type())?;
    Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(element), *width, inner, None)?))
}

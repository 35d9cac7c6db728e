//! Columns to elements and back.
//!
//! A missing number is not-a-number to the model; a missing text or integer has no such form and is refused.

use std::sync::Arc;

use mlops_core::{
    DataType, Error, Result, TensorSpec,
    arrow_array::{
        Array, ArrayRef, BooleanArray, Float32Array, Float64Array, PrimitiveArray, StringArray,
        cast::AsArray,
        types::{
            ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
            UInt16Type, UInt32Type, UInt64Type,
        },
    },
    arrow_schema::Field,
    nest,
};

use crate::{
    Tensor,
    tensor::{Data, Text},
};

/// The elements of a column of `spec`, row by row.
pub(super) fn to_tensor(spec: &TensorSpec, column: &ArrayRef) -> Result<Data> {
    let mut values = Arc::clone(column);
    while let Some(list) = values.as_fixed_size_list_opt() {
        let width = usize::try_from(list.value_length()).unwrap_or(0);
        if list.null_count() > 0 {
            return Err(missing(spec));
        }
        values = list.values().slice(list.offset() * width, list.len() * width);
    }
    if values.null_count() > 0 {
        return match spec.data_type {
            DataType::Float32 => {
                let floats: &Float32Array = values.as_primitive();
                Ok(floats.iter().map(|value| value.unwrap_or(f32::NAN)).collect::<Vec<_>>().into())
            }
            DataType::Float64 => {
                let floats: &Float64Array = values.as_primitive();
                Ok(floats.iter().map(|value| value.unwrap_or(f64::NAN)).collect::<Vec<_>>().into())
            }
            _ => Err(missing(spec)),
        };
    }
    elements(spec, &values)
}

fn missing(spec: &TensorSpec) -> Error {
    Error::invalid_argument(format!("column {:?} of {} has missing values; fill them in", spec.name, spec.data_type))
}

fn elements(spec: &TensorSpec, values: &ArrayRef) -> Result<Data> {
    fn copied<T: ArrowPrimitiveType>(values: &ArrayRef) -> Option<Vec<T::Native>> {
        Some(values.as_primitive_opt::<T>()?.values().to_vec())
    }
    let data = match spec.data_type {
        DataType::Float32 => copied::<Float32Type>(values).map(Data::from),
        DataType::Float64 => copied::<Float64Type>(values).map(Data::from),
        DataType::Int64 => copied::<Int64Type>(values).map(Data::from),
        DataType::Int32 => copied::<Int32Type>(values).map(Data::from),
        DataType::Int16 => copied::<Int16Type>(values).map(Data::from),
        DataType::Int8 => copied::<Int8Type>(values).map(Data::from),
        DataType::UInt64 => copied::<UInt64Type>(values).map(Data::from),
        DataType::UInt32 => copied::<UInt32Type>(values).map(Data::from),
        DataType::UInt16 => copied::<UInt16Type>(values).map(Data::from),
        DataType::UInt8 => copied::<UInt8Type>(values).map(Data::from),
        DataType::Bool => values.as_boolean_opt().map(|values| values.values().iter().collect::<Vec<bool>>().into()),
        DataType::String => {
            let texts = values.as_string_opt::<i32>();
            texts.map(|texts| texts.iter().map(|text| Text::from(text.unwrap_or(""))).collect::<Vec<_>>().into())
        }
        _ => None,
    };
    data.ok_or_else(|| {
        Error::unimplemented(format!("column {:?} of {} is not an input of an ONNX model", spec.name, spec.data_type))
    })
}

/// The column of `spec` that a tensor makes; `field` is the spec's.
pub(super) fn to_array(spec: &TensorSpec, field: &Field, tensor: Tensor, rows: usize) -> Result<ArrayRef> {
    let expected = spec.row_shape.iter().product::<usize>().checked_mul(rows);
    if Some(tensor.len()) != expected {
        return Err(Error::invalid_argument(format!(
            "output {:?} has shape {:?} for {rows} rows of {:?}; the model mixes rows",
            spec.name,
            tensor.shape(),
            spec.row_shape
        )));
    }
    fn array<T: ArrowPrimitiveType>(values: Arc<Vec<T::Native>>) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::new(Arc::unwrap_or_clone(values).into(), None))
    }
    let flat: ArrayRef = match tensor.into_data() {
        Data::Float32(values) => array::<Float32Type>(values),
        Data::Float64(values) => array::<Float64Type>(values),
        Data::Int64(values) => array::<Int64Type>(values),
        Data::Int32(values) => array::<Int32Type>(values),
        Data::Int16(values) => array::<Int16Type>(values),
        Data::Int8(values) => array::<Int8Type>(values),
        Data::UInt64(values) => array::<UInt64Type>(values),
        Data::UInt32(values) => array::<UInt32Type>(values),
        Data::UInt16(values) => array::<UInt16Type>(values),
        Data::UInt8(values) => array::<UInt8Type>(values),
        Data::Bool(values) => Arc::new(BooleanArray::from(Arc::unwrap_or_clone(values))),
        Data::String(values) => Arc::new(StringArray::from_iter_values(values.iter())),
    };
    nest(flat, field.data_type())
}

//! Tensors to columns of a record batch and back, by the specs of a signature.
//!
//! Values are shared, not copied; only text is checked (for UTF-8) on its way in. Inputs were validated
//! against the metadata before; outputs come from a model and are checked here.

use std::{fmt, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, cast::AsArray,
    new_empty_array, types::TimestampMicrosecondType,
};
use arrow_schema::Field;
use mlops_core::{DataType, Error, Result, Signature, TensorSpec, nest};

use super::{Tensor, TensorType};

/// The column of `spec` that `tensor` carries.
///
/// # Errors
/// As [`to_field_column`].
pub(crate) fn to_column(spec: &TensorSpec, tensor: &Tensor) -> Result<ArrayRef> {
    to_field_column(spec, &spec.to_field(), tensor)
}

/// The same where the field of the spec is there already.
///
/// # Errors
/// `InvalidArgument` when text is not UTF-8 or the values do not fit the row shape.
pub(crate) fn to_field_column(spec: &TensorSpec, field: &Field, tensor: &Tensor) -> Result<ArrayRef> {
    let flat: ArrayRef = match spec.data_type {
        DataType::String => {
            let bytes: &BinaryArray = tensor.values().as_binary();
            let text = StringArray::try_from_binary(bytes.clone()).map_err(|_| {
                Error::invalid_argument(format!("input {:?} is text and has a value that is not UTF-8", spec.name))
            })?;
            Arc::new(text)
        }
        DataType::Timestamp => {
            let micros: &Int64Array = tensor.values().as_primitive();
            Arc::new(micros.reinterpret_cast::<TimestampMicrosecondType>().with_timezone("UTC"))
        }
        _ => Arc::clone(tensor.values()),
    };
    nest(flat, field.data_type())
}

/// The outputs of `signature` as tensors.
///
/// # Errors
/// As [`check_batch`].
pub(crate) fn from_batch(signature: &Signature, batch: &RecordBatch, rows: usize) -> Result<Vec<Tensor>> {
    check_rows(batch, rows)?;
    let schema = signature.output_schema();
    signature.outputs().iter().zip(schema.fields()).map(|(spec, field)| from_column(spec, field, batch)).collect()
}

/// Whether a batch has the outputs of `signature`.
///
/// # Errors
/// `Internal` when the model broke its contract: a missing column, another type, another row count, a null.
pub(crate) fn check_batch(signature: &Signature, batch: &RecordBatch, rows: usize) -> Result<()> {
    check_rows(batch, rows)?;
    let schema = signature.output_schema();
    let mut outputs = signature.outputs().iter().zip(schema.fields());
    outputs.try_for_each(|(spec, field)| flat(spec, field, batch).map(drop))
}

fn check_rows(batch: &RecordBatch, rows: usize) -> Result<()> {
    if batch.num_rows() == rows {
        return Ok(());
    }
    Err(Error::internal(format!("the model answered {} rows to {rows}", batch.num_rows())))
}

fn broken(spec: &TensorSpec, found: impl fmt::Display) -> Error {
    Error::internal(format!("output {:?} of the model {found}", spec.name))
}

/// The values of a column that is as expected, without the lists around them.
fn flat(spec: &TensorSpec, expected: &Field, batch: &RecordBatch) -> Result<ArrayRef> {
    let column = batch.column_by_name(&spec.name).ok_or_else(|| broken(spec, "is missing"))?;
    if column.data_type() != expected.data_type() {
        let (want, found) = (expected.data_type(), column.data_type());
        return Err(broken(spec, format_args!("must be {want}, found {found}")));
    }
    let mut values = Arc::clone(column);
    let mut nulls = values.null_count();
    while let Some(list) = values.as_fixed_size_list_opt() {
        values = Arc::clone(list.values());
        nulls += values.null_count();
    }
    if nulls > 0 {
        return Err(broken(spec, format_args!("has {nulls} nulls, which Open Inference cannot express")));
    }
    Ok(values)
}

fn from_column(spec: &TensorSpec, expected: &Field, batch: &RecordBatch) -> Result<Tensor> {
    let values = flat(spec, expected, batch)?;
    let data_type = TensorType::from_core(spec.data_type);
    let values: ArrayRef = match spec.data_type {
        DataType::String => {
            let text: &StringArray = values.as_string();
            Arc::new(BinaryArray::from(text.clone()))
        }
        DataType::Timestamp => {
            let time: &TimestampMicrosecondArray = values.as_primitive();
            Arc::new(time.reinterpret_cast::<arrow_array::types::Int64Type>())
        }
        _ => values,
    };
    let shape: Vec<usize> = std::iter::once(batch.num_rows()).chain(spec.row_shape.iter().copied()).collect();
    Tensor::new(&spec.name, data_type, shape, values).map_err(|error| broken(spec, error.message()))
}

/// A batch of no rows with the output columns of `signature`.
pub(crate) fn empty_outputs(signature: &Signature) -> RecordBatch {
    let schema = signature.output_schema();
    let columns = schema.fields().iter().map(|field| new_empty_array(field.data_type())).collect();
    RecordBatch::try_new(Arc::clone(&schema), columns).unwrap_or_else(|_| RecordBatch::new_empty(schema))
}

#[cfg(test)]
mod tests {
    use arrow_array::Float32Array;

    use super::*;

    #[test]
    fn a_tensor_survives_the_batch() {
        let spec = TensorSpec::tensor("x", DataType::Float32, [2, 2]);
        let values = Arc::new(Float32Array::from_iter_values([1., 2., 3., 4., 5., 6., 7., 8.]));
        let tensor = Tensor::new("x", TensorType::Fp32, [2, 2, 2], Arc::<Float32Array>::clone(&values)).unwrap();
        let column = to_column(&spec, &tensor).unwrap();
        assert_eq!(column.data_type(), spec.to_field().data_type());
        let signature = Signature::new([], [spec]).unwrap();
        let batch = RecordBatch::try_new(signature.output_schema(), vec![column]).unwrap();
        let back = from_batch(&signature, &batch, 2).unwrap();
        assert_eq!(back[0].shape(), [2, 2, 2]);
        assert_eq!(back[0].values().as_ref(), values.as_ref() as &dyn Array);
        assert!(from_batch(&signature, &batch, 3).unwrap_err().message().contains("2 rows to 3"));
    }

    #[test]
    fn text_must_be_utf8_and_time_travels_as_integers() {
        let bytes = Tensor::new("t", TensorType::Bytes, [1], Arc::new(BinaryArray::from(vec![&b"\xff"[..]]))).unwrap();
        let error = to_column(&TensorSpec::column("t", DataType::String), &bytes).unwrap_err();
        assert!(error.message().contains("not UTF-8"));
        let micros = Tensor::new("t", TensorType::Int64, [1], Arc::new(Int64Array::from(vec![7]))).unwrap();
        let spec = TensorSpec::column("t", DataType::Timestamp);
        let column = to_column(&spec, &micros).unwrap();
        assert_eq!(column.data_type(), spec.to_field().data_type());
    }
}

//! A model's contract: its inputs and outputs by name, type and shape.
//!
//! Invariant: names are unique and not empty, every shape starts with the row dimension (-1) and
//! the remaining dimensions are fixed and positive, so every tensor has exactly one Arrow form:
//! a plain column for rank one, nested fixed-size lists beyond.

use std::{collections::HashSet, sync::Arc};

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType as ArrowType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::DataType;
use crate::error::{Error, Result};

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Column or tensor name.
    pub name: String,
    /// Element type.
    pub data_type: DataType,
    /// Dimensions of one row; empty for a plain column, `[30]` for a vector of thirty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub row_shape: Vec<usize>,
    /// Whether a row may lack a value.
    #[serde(default)]
    pub nullable: bool,
}

impl TensorSpec {
    /// A plain, required column.
    #[must_use]
    pub fn column(name: impl Into<String>, data_type: DataType) -> Self {
        Self { name: name.into(), data_type, row_shape: Vec::new(), nullable: false }
    }

    /// A tensor with fixed dimensions per row.
    #[must_use]
    pub fn tensor(name: impl Into<String>, data_type: DataType, row_shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), data_type, row_shape: row_shape.into(), nullable: false }
    }

    /// The same, with nulls allowed.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// The shape in Open Inference form: -1 for rows, then the row dimensions. A plain column is
    /// `[-1]`.
    #[must_use]
    pub fn oip_shape(&self) -> Vec<i64> {
        let row = self.row_shape.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX));
        std::iter::once(-1).chain(row).collect()
    }

    /// The Arrow field that carries it.
    #[must_use]
    pub fn to_field(&self) -> Field {
        let element = self.data_type.to_arrow();
        let data_type = self.row_shape.iter().rev().fold(element, |inner, &dim| {
            let width = i32::try_from(dim).unwrap_or(i32::MAX);
            ArrowType::FixedSizeList(Arc::new(Field::new_list_field(inner, true)), width)
        });
        Field::new(&self.name, data_type, self.nullable)
    }

    /// Reads an Arrow field; nested fixed-size lists become row dimensions.
    ///
    /// # Errors
    /// `Unimplemented` when the element type has no counterpart.
    pub fn from_field(field: &Field) -> Result<Self> {
        let mut row_shape = Vec::new();
        let mut data_type = field.data_type();
        while let ArrowType::FixedSizeList(inner, width) = data_type {
            row_shape.push(usize::try_from(*width).unwrap_or(0));
            data_type = inner.data_type();
        }
        let data_type = DataType::from_arrow(data_type)
            .map_err(|error| Error::new(error.kind(), format!("column {:?}: {}", field.name(), error.message())))?;
        Ok(Self { name: field.name().clone(), data_type, row_shape, nullable: field.is_nullable() })
    }
}

/// Inputs and outputs of a model, in order.
///
/// ```
/// use mlops_core::{DataType, Signature, TensorSpec};
///
/// let signature = Signature::new(
///     [TensorSpec::column("hour", DataType::Int64), TensorSpec::tensor("embedding", DataType::Float32, [4])],
///     [TensorSpec::column("score", DataType::Float64)],
/// )?;
/// assert_eq!(signature.inputs()[1].oip_shape(), [-1, 4]);
/// assert_eq!(signature.input_schema().field(0).name(), "hour");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Signature {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    /// Made once, so that batches of the model share it and are known by it.
    #[serde(skip_serializing)]
    input_schema: SchemaRef,
    #[serde(skip_serializing)]
    output_schema: SchemaRef,
}

#[derive(Deserialize)]
struct Unchecked {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

impl TryFrom<Unchecked> for Signature {
    type Error = Error;
    fn try_from(unchecked: Unchecked) -> Result<Self> {
        Self::new(unchecked.inputs, unchecked.outputs)
    }
}

fn check_specs(side: &str, specs: &[TensorSpec]) -> Result<()> {
    let mut seen = HashSet::new();
    for spec in specs {
        if spec.name.is_empty() {
            return Err(Error::invalid_argument(format!("an {side} has an empty name")));
        }
        if !seen.insert(spec.name.as_str()) {
            return Err(Error::invalid_argument(format!("{side} {:?} appears twice", spec.name)));
        }
        if spec.row_shape.iter().any(|&dim| dim == 0 || i32::try_from(dim).is_err()) {
            return Err(Error::invalid_argument(format!(
                "{side} {:?} has row shape {:?}; each dimension must be from 1 to {}",
                spec.name,
                spec.row_shape,
                i32::MAX
            )));
        }
    }
    Ok(())
}

impl Signature {
    /// Checks and keeps both sides.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty or repeated name, a zero or oversized dimension, or no
    /// output at all.
    pub fn new(
        inputs: impl IntoIterator<Item = TensorSpec>,
        outputs: impl IntoIterator<Item = TensorSpec>,
    ) -> Result<Self> {
        let (inputs, outputs): (Vec<_>, Vec<_>) = (inputs.into_iter().collect(), outputs.into_iter().collect());
        check_specs("input", &inputs)?;
        check_specs("output", &outputs)?;
        if outputs.is_empty() {
            return Err(Error::invalid_argument("a signature needs at least one output"));
        }
        let schema =
            |specs: &[TensorSpec]| Arc::new(Schema::new(specs.iter().map(TensorSpec::to_field).collect::<Vec<_>>()));
        let (input_schema, output_schema) = (schema(&inputs), schema(&outputs));
        Ok(Self { inputs, outputs, input_schema, output_schema })
    }

    /// The inputs in order.
    #[must_use]
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// The outputs in order.
    #[must_use]
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// The Arrow schema of a batch of inputs.
    #[must_use]
    pub fn input_schema(&self) -> SchemaRef {
        Arc::clone(&self.input_schema)
    }

    /// The Arrow schema of a batch of outputs.
    #[must_use]
    pub fn output_schema(&self) -> SchemaRef {
        Arc::clone(&self.output_schema)
    }

    /// Picks this model's inputs out of `batch`, in order; other columns are left behind.
    ///
    /// # Errors
    /// `InvalidArgument` naming the column that is missing, of another type, or has nulls where
    /// none are allowed.
    pub fn project_inputs(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if Arc::ptr_eq(batch.schema_ref(), &self.input_schema) {
            return self
                .inputs
                .iter()
                .zip(batch.columns())
                .try_for_each(|(spec, column)| no_nulls(spec, column))
                .map(|()| batch.clone());
        }
        let mut columns = Vec::with_capacity(self.inputs.len());
        for (spec, field) in self.inputs.iter().zip(self.input_schema.fields()) {
            let Some(column) = batch.column_by_name(&spec.name) else {
                return Err(Error::invalid_argument(format!("input column {:?} is missing", spec.name)));
            };
            if column.data_type() != field.data_type() {
                return Err(Error::invalid_argument(format!(
                    "input column {:?} must be {}, found {}",
                    spec.name,
                    field.data_type(),
                    column.data_type()
                )));
            }
            no_nulls(spec, column)?;
            columns.push(Arc::clone(column));
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.input_schema(), columns, &options)?)
    }
}

fn no_nulls(spec: &TensorSpec, column: &dyn Array) -> Result<()> {
    if spec.nullable || column.null_count() == 0 {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "input column {:?} has {} nulls; the model allows none",
        spec.name,
        column.null_count()
    )))
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Float64Array, Int64Array};

    use super::*;

    fn signature() -> Signature {
        Signature::new(
            [TensorSpec::column("a", DataType::Float64), TensorSpec::column("b", DataType::Int64).nullable()],
            [TensorSpec::column("score", DataType::Float64)],
        )
        .unwrap()
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
    }

    #[test]
    fn fields_round_trip_with_their_shape() {
        let spec = TensorSpec::tensor("image", DataType::UInt8, [2, 3]).nullable();
        assert_eq!(TensorSpec::from_field(&spec.to_field()).unwrap(), spec);
        assert_eq!(spec.oip_shape(), [-1, 2, 3]);
    }

    #[test]
    fn json_is_checked_like_the_constructor() {
        let json = serde_json::to_string(&signature()).unwrap();
        assert_eq!(serde_json::from_str::<Signature>(&json).unwrap(), signature());
        let twice = json.replace("\"b\"", "\"a\"");
        assert!(serde_json::from_str::<Signature>(&twice).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn projection_names_the_column_at_fault() {
        let a = || Arc::new(Float64Array::from(vec![1.0])) as ArrayRef;
        let b = || Arc::new(Int64Array::from(vec![None])) as ArrayRef;
        let check = |columns, expected: &str| {
            let error = signature().project_inputs(&batch(columns)).unwrap_err();
            assert!(error.message().contains(expected), "{error}");
        };
        check(vec![("a", a())], "\"b\" is missing");
        check(vec![("a", b()), ("b", b())], "\"a\" must be Float64, found Int64");
        check(vec![("a", Arc::new(Float64Array::from(vec![None::<f64>]))), ("b", b())], "has 1 nulls");
        let projected = signature().project_inputs(&batch(vec![("x", a()), ("b", b()), ("a", a())])).unwrap();
        assert_eq!(projected.schema().field(0).name(), "a");
        assert_eq!(projected.num_columns(), 2);
    }
}

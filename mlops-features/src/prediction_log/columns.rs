//! The columns of the log, and which predictions have them.

use std::sync::Arc;

use arrow_array::Array as _;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use mlops_core::{Error, PredictionBatch, Result};

use super::{AT, MODEL, PROPENSITY, REQUEST_ID, ROW, VARIANT, VERSION};
use crate::{definition::first_duplicate, time::column};

/// Longest request id that is kept, as long as labels may name.
const REQUEST_ID_BYTES_MAX: usize = 1024;

/// A column of a prediction, and where it usually is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Input(usize),
    Output(usize),
}

/// What a log keeps of predictions.
#[derive(Debug)]
pub(super) struct Columns {
    inputs: SchemaRef,
    outputs: SchemaRef,
    schema: SchemaRef,
}

impl Columns {
    /// # Errors
    /// `InvalidArgument` when a name occurs twice.
    pub(super) fn new(inputs: SchemaRef, outputs: SchemaRef) -> Result<Self> {
        let schema = Arc::new(Schema::new(own().into_iter().chain(theirs(&inputs, &outputs)).collect::<Vec<_>>()));
        if let Some(twice) = first_duplicate(schema.fields().iter().map(|field| field.name().as_str())) {
            return Err(Error::invalid_argument(format!(
                "prediction log: column \"{twice}\" would occur twice; inputs, outputs and the log's own columns need distinct names"
            )));
        }
        Ok(Self { inputs, outputs, schema })
    }

    /// Where a column comes from that is not the log's own: the inputs or the outputs; none for one of an earlier model.
    pub(super) fn side(&self, name: &str) -> Option<Side> {
        let place = |schema: &SchemaRef| schema.column_with_name(name).map(|(place, _)| place);
        place(&self.inputs).map(Side::Input).or_else(|| place(&self.outputs).map(Side::Output))
    }

    /// Of the log's table.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Whether a prediction has as many rows of each side, and an id of a length that is kept.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub(super) fn check_rows(prediction: &PredictionBatch) -> Result<()> {
        let (rows, answers) = (prediction.inputs.num_rows(), prediction.outputs.num_rows());
        if answers != rows {
            return Err(Error::invalid_argument(format!(
                "a prediction has {rows} rows of inputs and {answers} of outputs"
            )));
        }
        if prediction.request_id.len() > REQUEST_ID_BYTES_MAX {
            let bytes = prediction.request_id.len();
            return Err(Error::invalid_argument(format!(
                "a request id of {bytes} bytes is too long for the log, which keeps {REQUEST_ID_BYTES_MAX}"
            )));
        }
        Ok(())
    }

    /// Whether a prediction has these columns.
    ///
    /// # Errors
    /// `InvalidArgument` naming the column that is missing or differs.
    pub(super) fn check(&self, prediction: &PredictionBatch) -> Result<()> {
        for (schema, part) in [(&self.inputs, &prediction.inputs), (&self.outputs, &prediction.outputs)] {
            for field in schema.fields() {
                let (found, wanted) = (column(part, field.name())?.data_type(), field.data_type());
                if !found.equals_datatype(wanted) && !found.equals_datatype(&kept(wanted)) {
                    return Err(Error::invalid_argument(format!(
                        "column \"{}\" of a prediction must be {wanted}; it is {found}",
                        field.name()
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The log's own columns.
fn own() -> Vec<FieldRef> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    [
        (REQUEST_ID, DataType::Utf8),
        (ROW, DataType::Int64),
        (MODEL, DataType::Utf8),
        (VERSION, DataType::Int64),
        (VARIANT, DataType::Utf8),
        (PROPENSITY, DataType::Float64),
        (AT, time),
    ]
    .into_iter()
    .map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)))
    .collect()
}

/// Columns of inputs and outputs as the table keeps them.
fn theirs(inputs: &Schema, outputs: &Schema) -> Vec<FieldRef> {
    let fields = inputs.fields().iter().chain(outputs.fields());
    fields.map(|field| Arc::new(Field::new(field.name(), kept(field.data_type()), true))).collect()
}

/// The type that Delta keeps values of `data_type` in: lists have any size there.
fn kept(data_type: &DataType) -> DataType {
    match data_type {
        DataType::FixedSizeList(element, _) | DataType::List(element) => {
            DataType::List(Arc::new(Field::new("element", kept(element.data_type()), true)))
        }
        other => other.clone(),
    }
}

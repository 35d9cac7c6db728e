//! The columns of the log, and many predictions as its rows at once: one array per column whatever the number of
//! predictions, made when they are written rather than when they are answered.

use std::{collections::VecDeque, sync::Arc};

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray, builder::StringBuilder,
};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow_select::concat::concat;
use mlops_core::{Error, PredictionBatch, Result};

use super::{AT, PROPENSITY, REQUEST_ID, ROW};
use crate::{definition::first_duplicate, time::column};

/// Longest request id that is kept, as long as labels may name.
const REQUEST_ID_BYTES_MAX: usize = 1024;

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

    /// Predictions that were [checked](Columns::check) as rows of a table with `schema`.
    ///
    /// # Errors
    /// What keeps the columns from being one table.
    pub(super) fn rows(&self, predictions: &VecDeque<PredictionBatch>, schema: &SchemaRef) -> Result<RecordBatch> {
        let columns = schema.fields().iter().map(|field| match field.name().as_str() {
            REQUEST_ID => Ok(texts(predictions, |prediction| &prediction.request_id)),
            ROW => Ok(Arc::new(Int64Array::from_iter_values(predictions.iter().flat_map(places))) as ArrayRef),
            "model" => Ok(texts(predictions, |prediction| prediction.model.as_str())),
            "version" => {
                let version = |prediction: &PredictionBatch| i64::try_from(prediction.version.0).unwrap_or(i64::MAX);
                Ok(Arc::new(Int64Array::from_iter_values(each(predictions, version))) as ArrayRef)
            }
            "variant" => Ok(texts(predictions, |prediction| &prediction.variant)),
            PROPENSITY => {
                Ok(Arc::new(Float64Array::from_iter(each(predictions, |prediction| prediction.propensity))) as ArrayRef)
            }
            AT => {
                let times = each(predictions, |prediction| prediction.at.as_micros());
                let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
                Ok(Arc::new(times) as ArrayRef)
            }
            name => self.side(name, predictions, field),
        });
        Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_>>()?)?)
    }

    /// A column of the inputs or outputs.
    fn side(&self, name: &str, predictions: &VecDeque<PredictionBatch>, field: &Field) -> Result<ArrayRef> {
        let input = self.inputs.column_with_name(name).is_some();
        let part = |prediction: &PredictionBatch| {
            Ok(Arc::clone(column(if input { &prediction.inputs } else { &prediction.outputs }, name)?))
        };
        let mut parts: Vec<ArrayRef> = predictions.iter().map(part).collect::<Result<_>>()?;
        let same = parts.windows(2).all(|pair| matches!(pair, [a, b] if a.data_type() == b.data_type()));
        if !same {
            parts = parts.iter().map(|part| cast(part, field.data_type())).collect::<std::result::Result<_, _>>()?;
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        let whole = concat(&parts)?;
        Ok(if whole.data_type() == field.data_type() { whole } else { cast(&whole, field.data_type())? })
    }
}

/// The log's own columns.
fn own() -> Vec<FieldRef> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    [
        (REQUEST_ID, DataType::Utf8),
        (ROW, DataType::Int64),
        ("model", DataType::Utf8),
        ("version", DataType::Int64),
        ("variant", DataType::Utf8),
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

/// A value of each prediction, for each of its rows.
fn each<'a, T: Copy + 'a>(
    predictions: &'a VecDeque<PredictionBatch>,
    value: impl Fn(&'a PredictionBatch) -> T + 'a,
) -> impl Iterator<Item = T> + 'a {
    predictions.iter().flat_map(move |prediction| std::iter::repeat_n(value(prediction), prediction.inputs.num_rows()))
}

fn texts<'a>(
    predictions: &'a VecDeque<PredictionBatch>,
    text: impl Fn(&'a PredictionBatch) -> &'a str + 'a,
) -> ArrayRef {
    let mut texts = StringBuilder::new();
    each(predictions, text).for_each(|text| texts.append_value(text));
    Arc::new(texts.finish())
}

/// The places of a prediction's rows in it.
fn places(prediction: &PredictionBatch) -> impl Iterator<Item = i64> + use<> {
    0..i64::try_from(prediction.inputs.num_rows()).unwrap_or(i64::MAX)
}

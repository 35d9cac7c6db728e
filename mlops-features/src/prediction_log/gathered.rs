//! Predictions as rows of the log's table, gathered as they are answered.

use std::{fmt, sync::Arc};

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    builder::{Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder},
};
use arrow_cast::cast;
use arrow_schema::{DataType, Schema, SchemaRef};
use mlops_core::{PredictionBatch, Result};

use super::{
    AT, MODEL, PROPENSITY, REQUEST_ID, ROW, VARIANT, VERSION,
    columns::{Columns, Side},
    growing::{Growing, growing},
};
use crate::time::column;

/// Rows that grow.
pub(super) struct Gathered {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    /// Of which the rows are.
    predictions: u64,
}

impl fmt::Debug for Gathered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathered").field("rows", &self.rows).finish_non_exhaustive()
    }
}

enum Column {
    RequestId(StringBuilder),
    Row(Int64Builder),
    Model(StringBuilder),
    Version(Int64Builder),
    Variant(StringBuilder),
    Propensity(Float64Builder),
    At(TimestampMicrosecondBuilder),
    /// Of the inputs or outputs, of this type.
    Theirs(Side, String, DataType, Box<dyn Growing>),
    /// Of an earlier model.
    Absent(Box<dyn Growing>),
}

impl Gathered {
    /// No rows yet, of a table with `schema`.
    pub(super) fn new(columns: &Columns, schema: &SchemaRef) -> Self {
        let column = |name: &str, data_type: &DataType| match name {
            REQUEST_ID => Column::RequestId(StringBuilder::new()),
            ROW => Column::Row(Int64Builder::new()),
            MODEL => Column::Model(StringBuilder::new()),
            VERSION => Column::Version(Int64Builder::new()),
            VARIANT => Column::Variant(StringBuilder::new()),
            PROPENSITY => Column::Propensity(Float64Builder::new()),
            AT => Column::At(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            name => match columns.side(name) {
                Some(side) => Column::Theirs(side, name.to_owned(), data_type.clone(), growing(data_type)),
                None => Column::Absent(growing(data_type)),
            },
        };
        let columns = schema.fields().iter().map(|field| column(field.name(), field.data_type())).collect();
        Self { schema: Arc::clone(schema), columns, rows: 0, predictions: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// How many predictions the rows are of.
    pub(super) fn predictions(&self) -> u64 {
        self.predictions
    }

    /// Bytes of inputs and outputs.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |column: &Column| match column {
            Column::Theirs(_, _, _, values) | Column::Absent(values) => values.bytes(),
            _ => 0,
        };
        self.columns.iter().map(bytes).fold(0, usize::saturating_add)
    }

    /// Whether a prediction still fits; with no rows yet, whether it fits at all.
    ///
    /// # Errors
    /// `InvalidArgument` for a column that it lacks.
    pub(super) fn has_room(&self, prediction: &PredictionBatch) -> Result<bool> {
        let rows = prediction.inputs.num_rows();
        for column in &self.columns {
            let texts = |have: &StringBuilder, text: &str| {
                let more = text.len().checked_mul(rows).and_then(|more| more.checked_add(have.values_slice().len()));
                more.is_some_and(|sum| i32::try_from(sum).is_ok())
            };
            let room = match column {
                Column::RequestId(have) => texts(have, &prediction.request_id),
                Column::Model(have) => texts(have, prediction.model.as_str()),
                Column::Variant(have) => texts(have, &prediction.variant),
                Column::Theirs(side, name, _, values) => values.has_room(side.of(prediction, name)?),
                _ => true,
            };
            if !room {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies a prediction that was [checked](Columns::check) and [has room](Gathered::has_room), or nothing of it. When
    /// copying fails midway there are no rows afterwards, for some columns have it then and others do not.
    ///
    /// # Errors
    /// What keeps its values from being the table's.
    pub(super) fn push(&mut self, prediction: &PredictionBatch) -> Result<()> {
        let others = self.of_other_types(prediction)?;
        if let Err(error) = self.copy(prediction, others) {
            // Of columns of different lengths no rows can be made; taking them empties each.
            drop(self.take());
            return Err(error);
        }
        let rows = prediction.inputs.num_rows();
        self.rows = self.rows.saturating_add(rows);
        self.predictions = self.predictions.saturating_add(u64::from(rows > 0));
        Ok(())
    }

    /// Copies a prediction whose values of other types than the table's are `others`.
    fn copy(&mut self, prediction: &PredictionBatch, others: Vec<ArrayRef>) -> Result<()> {
        let rows = prediction.inputs.num_rows();
        let mut others = others.into_iter();
        let texts = |texts: &mut StringBuilder, text: &str| (0..rows).for_each(|_| texts.append_value(text));
        for column in &mut self.columns {
            match column {
                Column::RequestId(ids) => texts(ids, &prediction.request_id),
                Column::Row(places) => (0_i64..).take(rows).for_each(|place| places.append_value(place)),
                Column::Model(names) => texts(names, prediction.model.as_str()),
                Column::Version(versions) => {
                    versions.append_value_n(i64::try_from(prediction.version.0).unwrap_or(i64::MAX), rows);
                }
                Column::Variant(variants) => texts(variants, &prediction.variant),
                Column::Propensity(chances) => match prediction.propensity {
                    Some(chance) => chances.append_value_n(chance, rows),
                    None => chances.append_nulls(rows),
                },
                Column::At(times) => times.append_value_n(prediction.at.as_micros(), rows),
                Column::Theirs(side, name, data_type, values) => {
                    let found = side.of(prediction, name)?;
                    match if is_kept_in(found.data_type(), data_type) { None } else { others.next() } {
                        None => values.append(found, 0, rows)?,
                        Some(other) => values.append(&other, 0, rows)?,
                    }
                }
                Column::Absent(nulls) => nulls.append_nulls(rows),
            }
        }
        Ok(())
    }

    /// Values that the table keeps in another type, in that.
    fn of_other_types(&self, prediction: &PredictionBatch) -> Result<Vec<ArrayRef>> {
        let mut others = Vec::new();
        for column in &self.columns {
            if let Column::Theirs(side, name, data_type, _) = column {
                let found = side.of(prediction, name)?;
                if !is_kept_in(found.data_type(), data_type) {
                    others.push(cast(found, data_type)?);
                }
            }
        }
        Ok(others)
    }

    /// The rows so far; there are none afterwards, whatever is answered.
    ///
    /// # Errors
    /// What keeps them from being rows of the table.
    pub(super) fn take(&mut self) -> Result<RecordBatch> {
        (self.rows, self.predictions) = (0, 0);
        let columns = self.columns.iter_mut().map(|column| -> Result<ArrayRef> {
            Ok(match column {
                Column::RequestId(texts) | Column::Model(texts) | Column::Variant(texts) => Arc::new(texts.finish()),
                Column::Row(numbers) | Column::Version(numbers) => Arc::new(numbers.finish()),
                Column::Propensity(chances) => Arc::new(chances.finish()),
                Column::At(times) => Arc::new(times.finish()),
                Column::Theirs(_, _, _, values) | Column::Absent(values) => values.finish()?,
            })
        });
        // All of them, so that none keeps rows that the others have given away.
        let columns: Vec<Result<ArrayRef>> = columns.collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.into_iter().collect::<Result<_>>()?)?)
    }
}

impl Side {
    fn of<'a>(&self, prediction: &'a PredictionBatch, name: &str) -> Result<&'a ArrayRef> {
        let (part, place) = match self {
            Self::Input(place) => (&prediction.inputs, *place),
            Self::Output(place) => (&prediction.outputs, *place),
        };
        let there = |schema: &Schema| schema.fields().get(place).is_some_and(|field| field.name() == name);
        match part.columns().get(place).filter(|_| there(part.schema_ref())) {
            Some(found) => Ok(found),
            None => column(part, name),
        }
    }
}

/// Whether values of `found` are copied into a column of `kept` as they are: lists of a fixed size are lists there.
fn is_kept_in(found: &DataType, kept: &DataType) -> bool {
    match (found, kept) {
        (DataType::List(found) | DataType::FixedSizeList(found, _), DataType::List(kept)) => {
            is_kept_in(found.data_type(), kept.data_type())
        }
        (found, kept) => found == kept,
    }
}

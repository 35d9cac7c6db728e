//! A view's aggregations resolved against the table's schema.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch, cast::AsArray};
use arrow_schema::{DataType, Schema};
use mlops_core::{Digest, Error, Result, ResultExt};

use super::{
    function::{Stretch, aggregate},
    tile::Parts,
};
use crate::{
    definition::{Aggregation, FeatureView, Function},
    time::column,
    value::{Value, cell, encode},
};

/// One aggregation with the position of its column among the plan's columns.
#[derive(Debug, Clone)]
pub(crate) struct PlannedAggregation {
    pub(crate) name: Arc<str>,
    pub(super) function: Function,
    pub(crate) column: usize,
    pub(super) integer: bool,
    pub(crate) window: i64,
    pub(crate) output: DataType,
}

impl PlannedAggregation {
    /// The value over the cells of its column in a window that is cut into stretches, oldest first.
    pub(crate) fn evaluate(&self, window: &[impl Stretch]) -> Result<Value> {
        aggregate(self.function, self.integer, window).context(format!("feature \"{}\"", self.name))
    }

    /// Whether tiles spare it looking at events.
    pub(super) const fn reads_tiles(&self) -> bool {
        use Function as F;
        !matches!(self.function, F::Last | F::First | F::LastN(_))
    }
}

/// Which columns of an event are kept and what is computed from them.
#[derive(Debug, Clone)]
pub(crate) struct WindowPlan {
    pub(crate) columns: Vec<Arc<str>>,
    pub(crate) column_types: Vec<DataType>,
    pub(crate) aggregations: Vec<PlannedAggregation>,
    event_id: Option<Arc<str>>,
    retraction: Option<Arc<str>>,
}

impl WindowPlan {
    pub(crate) fn resolve(view: &FeatureView, schema: &Schema) -> Result<Self> {
        let (mut columns, mut column_types): (Vec<Arc<str>>, Vec<DataType>) = (Vec::new(), Vec::new());
        let mut plan_one = |aggregation: &Aggregation| {
            let field = schema.field_with_name(&aggregation.column).map_err(|_| {
                Error::invalid_argument(format!("table has no column \"{}\" to aggregate", aggregation.column))
            })?;
            let position = columns.iter().position(|name| *name == aggregation.column).unwrap_or_else(|| {
                columns.push(Arc::clone(&aggregation.column));
                column_types.push(field.data_type().clone());
                columns.len() - 1
            });
            let input = field.data_type();
            Ok::<_, Error>(PlannedAggregation {
                name: Arc::clone(&aggregation.name),
                function: aggregation.function,
                column: position,
                integer: matches!(input, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64),
                window: aggregation.window_micros(),
                output: aggregation.function.output_type(input).context(format!("feature \"{}\"", aggregation.name))?,
            })
        };
        let aggregations = view.aggregations().iter().map(&mut plan_one).collect::<Result<_>>()?;
        let (event_id, retraction) = (view.event_id().map(Into::into), view.retraction().map(Into::into));
        Ok(Self { columns, column_types, aggregations, event_id, retraction })
    }

    pub(crate) fn window_max(&self) -> i64 {
        self.aggregations.iter().map(|aggregation| aggregation.window).max().unwrap_or(0)
    }

    /// What the tiles of the view's events keep.
    pub(crate) fn parts(&self) -> Parts {
        let functions = self.aggregations.iter().map(|aggregation| (aggregation.column, aggregation.function));
        Parts::of(self.columns.len(), functions)
    }

    /// For every row of `batch` whether it takes an event back; empty when no row can.
    pub(crate) fn retractions(&self, batch: &RecordBatch) -> Result<Vec<bool>> {
        let Some(name) = &self.retraction else { return Ok(Vec::new()) };
        let column = column(batch, name)?;
        let flags = column.as_boolean_opt().ok_or_else(|| {
            Error::invalid_argument(format!("column \"{name}\" must be Boolean; it is {}", column.data_type()))
        })?;
        Ok(flags.iter().map(|flag| flag == Some(true)).collect())
    }

    /// For every row of `batch`, what tells its event from others of the same entity and time.
    pub(crate) fn identities(&self, batch: &RecordBatch) -> Result<Vec<u64>> {
        let names = self.event_id.as_ref().map_or(self.columns.as_slice(), std::slice::from_ref);
        let columns = names.iter().map(|name| column(batch, name)).collect::<Result<Vec<_>>>()?;
        (0..batch.num_rows()).map(|row| identity(columns.iter().map(|column| column.as_ref()), row)).collect()
    }
}

/// 64 bits of a digest over one row of `columns`.
fn identity<'a>(columns: impl Iterator<Item = &'a dyn Array>, row: usize) -> Result<u64> {
    let mut bytes = Vec::with_capacity(32);
    for column in columns {
        encode(&cell(column, row)?, &mut bytes);
    }
    let digest = Digest::of(&bytes);
    let head = digest.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    Ok(u64::from_le_bytes(head))
}

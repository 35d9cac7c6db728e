//! The latest row of every entity in a range of event time: what materialization needs of a view without windows.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use mlops_core::{Error, Result, Timestamp};

use crate::{
    definition::EVENT_TIMESTAMP,
    join::{Bound, JoinSettings, JoinView, Knowledge, Moments, PointInTimeJoin},
    time::{column, micros},
};

/// Asks for the latest row of every entity of a view with event time in `[start, end)`; ties are as in
/// [`crate::join`]. The view's time to live and bound say nothing here.
#[derive(Debug, Clone)]
pub struct Latest {
    pub(crate) view: JoinView,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    settings: JoinSettings,
}

/// What the winner's event time is called while it is beside the moment that was asked for.
const EVENT: &str = "\u{0}event";

impl Latest {
    /// Of `view`, which has keys.
    ///
    /// # Errors
    /// `InvalidArgument` when the range is empty, the view has no keys, or a column is missing, wrongly typed or there
    /// twice.
    pub fn new(view: JoinView, start: Timestamp, end: Timestamp) -> Result<Self> {
        if start >= end {
            return Err(Error::invalid_argument(format!("the range from {start} to {end} is empty")));
        }
        let view = view.with_ttl(std::time::Duration::ZERO).with_bound(Bound::Exclusive).with_event_timestamp_as(EVENT);
        let latest = Self { view, start, end, settings: JoinSettings::default() };
        latest.schema()?;
        Ok(latest)
    }

    /// How it runs in this process.
    #[must_use]
    pub fn with_settings(mut self, settings: JoinSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The columns of the answer: keys by their names in a spine, `event_timestamp`, features.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        let empty = self.empty_spine()?;
        let keys = empty.fields().len() - 1;
        let joined = PointInTimeJoin::new(RecordBatch::new_empty(empty)).with_view(self.view.clone()).schema()?;
        Ok(Arc::new(Schema::new(self.pick(keys, joined.fields()))))
    }

    /// A spine's columns: the keys, then a time.
    fn empty_spine(&self) -> Result<SchemaRef> {
        let source = self.view.rows.schema();
        let missing = |name: &str| Error::invalid_argument(format!("the source has no column \"{name}\""));
        let field = |name: &str| source.field_with_name(name).map_err(|_| missing(name));
        let both = self.view.spine_keys.iter().zip(&self.view.source_keys);
        let keys = both.map(|(spine, source)| Ok(field(source)?.clone().with_name(spine.as_ref()).with_nullable(true)));
        let mut fields = keys.collect::<Result<Vec<Field>>>()?;
        if fields.is_empty() {
            let name = &self.view.name;
            return Err(Error::invalid_argument(format!("view \"{name}\" has no keys, so it has no entities")));
        }
        fields.push(field(&self.view.timestamp)?.clone().with_name(EVENT_TIMESTAMP).with_nullable(true));
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Of joined columns - keys, moment, features, event time - those of the answer.
    fn pick(&self, keys: usize, joined: &arrow_schema::Fields) -> Vec<Field> {
        let (of_keys, rest) = joined.split_at(keys);
        let features = rest.iter().skip(1).take(self.view.features.len());
        let event = rest.last().map(|event| event.as_ref().clone().with_name(EVENT_TIMESTAMP));
        let of_keys = of_keys.iter().map(|key| key.as_ref().clone());
        of_keys.chain(event).chain(features.map(|feature| feature.as_ref().clone())).collect()
    }

    pub(super) fn run(&self) -> Result<RecordBatch> {
        let moment = Moments::At(self.end);
        let join = PointInTimeJoin::of_entities([self.view.clone()], moment, Knowledge::Event, self.settings.clone())?;
        let joined = join.run()?;
        let since = self.start.as_micros();
        let inside: BooleanArray =
            micros(&joined, EVENT)?.into_iter().map(|event| Some(event.is_some_and(|event| event >= since))).collect();
        let joined = filter_record_batch(&joined, &inside)?;
        let schema = self.schema()?;
        let place = |field: &Arc<Field>| {
            let name = if field.name() == EVENT_TIMESTAMP { EVENT } else { field.name() };
            column(&joined, name).cloned()
        };
        let columns = schema.fields().iter().map(place).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

//! Windows for every row of a spine, from events that stream past.
//!
//! Of the events only those are kept that a window of the spine can hold. When they do not fit into the memory of the
//! settings, the spine is cut - by entity, then by time - and the sources are read once for each part.

use std::{
    ops::RangeInclusive,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::{
    concat::{concat, concat_batches},
    filter::filter_record_batch,
    take::take,
};
use mlops_core::{Error, Result, ResultExt, Timestamp};

use crate::{
    definition::{EVENT_TIMESTAMP, FeatureView, first_duplicate},
    join::{
        JoinSettings, KeyIndex, Knowledge, check_key_types,
        rows::{BatchRows, FeatureRows, ParquetRows, Request},
        slice_bytes,
    },
    online::ResolvedView,
    time::{Ticks, micros},
    window::history_columns,
    workers::spread,
};

/// Asks for the windows of a view at the rows of a spine.
#[derive(Debug, Clone)]
pub struct WindowJoin {
    pub(crate) spine: RecordBatch,
    pub(crate) timestamp: Arc<str>,
    pub(crate) view: Arc<ResolvedView>,
    pub(crate) rows: Arc<dyn FeatureRows>,
    pub(crate) wanted: Vec<Arc<str>>,
    pub(crate) knowledge: Knowledge,
    /// Events that were recorded later are not there, in microseconds.
    pub(crate) known_by: Option<i64>,
    settings: JoinSettings,
}

/// What a cell of an event takes while windows are evaluated, and an event beside its cells.
const CELL_BYTES: usize = 40;
const EVENT_BYTES: usize = 64;

/// Events that a spine's windows can hold, or that there are too many.
enum Events {
    All(RecordBatch),
    TooMany,
}

type NamedColumns = Vec<(Field, ArrayRef)>;

impl WindowJoin {
    /// All windows of `view` over events in memory, in order of ingestion, all of `schema`.
    ///
    /// # Errors
    /// `InvalidArgument` when the view does not fit `schema`.
    pub fn new(spine: RecordBatch, view: FeatureView, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        Self::over(spine, view, Arc::new(BatchRows::new(schema, batches)))
    }

    /// All windows of `view` over the events of Parquet files, in order of ingestion.
    ///
    /// # Errors
    /// As [`WindowJoin::new`] and [`crate::JoinView::parquet`].
    pub fn parquet(spine: RecordBatch, view: FeatureView, files: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        Self::over(spine, view, Arc::new(ParquetRows::open(files)?))
    }

    fn over(spine: RecordBatch, view: FeatureView, rows: Arc<dyn FeatureRows>) -> Result<Self> {
        // How much an online state keeps has no meaning here.
        let view = ResolvedView::new(view, rows.schema(), usize::MAX)?;
        Ok(Self::of(spine, Arc::new(view), rows))
    }

    pub(crate) fn of(spine: RecordBatch, view: Arc<ResolvedView>, rows: Arc<dyn FeatureRows>) -> Self {
        let wanted = view.plan.aggregations.iter().map(|aggregation| Arc::clone(&aggregation.name)).collect();
        let (timestamp, knowledge, settings) = (EVENT_TIMESTAMP.into(), Knowledge::default(), JoinSettings::default());
        Self { spine, timestamp, view, rows, wanted, knowledge, known_by: None, settings }
    }

    /// Only these windows, in this order.
    ///
    /// # Errors
    /// `NotFound` for a name that is no window of the view.
    pub fn with_features(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        let known = |name: &str| self.view.plan.aggregations.iter().find(|known| known.name.as_ref() == name);
        let find = |name: &str| {
            let unknown = || Error::not_found(format!("view \"{}\" has no window \"{name}\"", self.view.view.name()));
            Ok(Arc::clone(&known(name).ok_or_else(unknown)?.name))
        };
        self.wanted = names.into_iter().map(|name| find(name.as_ref())).collect::<Result<_>>()?;
        Ok(self)
    }

    /// The spine's time is in `column`.
    #[must_use]
    pub fn with_timestamp(mut self, column: impl AsRef<str>) -> Self {
        self.timestamp = column.as_ref().into();
        self
    }

    /// Which events may be seen.
    #[must_use]
    pub fn with_knowledge(mut self, knowledge: Knowledge) -> Self {
        self.knowledge = knowledge;
        self
    }

    /// No event counts that was recorded after `time`, or whose creation time is null. A view without a creation time has
    /// all its events.
    #[must_use]
    pub fn with_known_by(mut self, time: Timestamp) -> Self {
        self.known_by = self.view.view.created().map(|_| time.as_micros());
        self
    }

    /// How it runs in this process.
    #[must_use]
    pub fn with_settings(mut self, settings: JoinSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Refuses keys of different types on the two sides and names that would occur twice.
    pub(crate) fn check(&self) -> Result<()> {
        let keys = self.view.view.entity().join_keys();
        check_key_types(self.spine.schema_ref(), self.rows.schema(), keys, keys).context(self.name())?;
        match first_duplicate(self.wanted.iter().map(AsRef::as_ref)) {
            Some(twice) => Err(Error::invalid_argument(format!("window \"{twice}\" is asked for twice"))),
            None => Ok(()),
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("feature view \"{}\"", self.view.view.name())
    }

    /// A batch of the columns `columns`, as many rows as the spine has.
    pub(crate) fn answer(&self, columns: NamedColumns) -> Result<RecordBatch> {
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(self.spine.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }

    /// Which events the windows of `spine` can hold, in microseconds; none when no row of it has a time.
    pub(crate) fn reach(&self, spine: &RecordBatch) -> Result<Option<RangeInclusive<i64>>> {
        let times = micros(spine, &self.timestamp)?;
        let (first, last) = (times.iter().flatten().min(), times.iter().flatten().max());
        let range = |(first, last): (&i64, &i64)| {
            // The window (t - w, t] begins one tick later.
            first.saturating_sub(self.view.plan.window_max()).saturating_add(1)..=*last
        };
        Ok(first.zip(last).map(range))
    }

    pub(super) fn run(&self) -> Result<RecordBatch> {
        self.check()?;
        self.answer(self.columns(&self.spine)?)
    }

    fn columns(&self, spine: &RecordBatch) -> Result<NamedColumns> {
        match self.events(spine)? {
            Events::All(events) => {
                let wanted: Vec<&str> = self.wanted.iter().map(AsRef::as_ref).collect();
                let (view, plan) = (&self.view.view, &self.view.plan);
                let mut columns =
                    history_columns(spine, &self.timestamp, &events, view, plan, self.knowledge, &wanted)?;
                columns.sort_by_key(|(field, _)| wanted.iter().position(|name| name == field.name()));
                Ok(columns)
            }
            Events::TooMany => {
                let (before, after) = self.halves(spine)?;
                let (first, second) = (filter_record_batch(spine, &before)?, filter_record_batch(spine, &after)?);
                together(&before, self.columns(&first)?, self.columns(&second)?)
            }
        }
    }

    /// The events that a window of `spine` can hold, unless they do not fit into memory.
    fn events(&self, spine: &RecordBatch) -> Result<Events> {
        let view = &self.view.view;
        let (index, _) = KeyIndex::build(spine, view.entity().join_keys())?;
        let schema = self.rows.schema();
        let needed = self.view.needed_columns();
        let columns = needed.iter().map(|name| Ok(schema.index_of(name)?)).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(schema.project(&columns)?);
        let Some(reach) = self.reach(spine)? else { return Ok(Events::All(RecordBatch::new_empty(schema))) };
        let (threads, memory) = self.shares(&columns);
        let held = AtomicUsize::new(0);
        let plan = &self.view.plan;
        let cells = EVENT_BYTES + CELL_BYTES * plan.columns.len() + plan.parts().bytes_per_event();
        let fits = |more: usize| held.fetch_add(more, Ordering::Relaxed) + more <= memory;
        let parts: Vec<usize> = (0..self.rows.parts().len()).filter(|part| self.may_hold(*part, &reach)).collect();
        let found = spread(threads, &parts, |part| {
            let request = Request { columns: &columns, rows: None, batch_rows: self.settings.batch_rows };
            let mut kept = Vec::new();
            for batch in self.rows.read(*part, request)? {
                let batch = batch?;
                let groups = index.lookup(&batch, view.entity().join_keys())?;
                let times = micros(&batch, view.timestamp())?;
                let inside = groups
                    .iter()
                    .zip(times)
                    .map(|(group, time)| Some(group.is_some() && time.is_some_and(|time| reach.contains(&time))));
                let mut inside = inside.collect::<BooleanArray>();
                if let Some((by, name)) = self.known_by.zip(view.created()) {
                    let created = micros(&batch, name)?;
                    let known = |(inside, at): (Option<bool>, Option<i64>)| Some(inside? && at? <= by);
                    inside = inside.iter().zip(created).map(|both| Some(known(both) == Some(true))).collect();
                }
                let batch = filter_record_batch(&batch, &inside)?;
                // What is put together is held twice for a while.
                if !fits(2 * slice_bytes(&batch) + cells * batch.num_rows()) {
                    break;
                }
                kept.push(batch);
            }
            Ok(kept)
        });
        let found = found.context(self.name())?;
        if held.into_inner() > memory {
            return Ok(Events::TooMany);
        }
        Ok(Events::All(concat_batches(&schema, found.iter().flatten())?))
    }

    /// Threads, whose readers of `columns` get at most half of the memory, and what is left for events.
    fn shares(&self, columns: &[usize]) -> (usize, usize) {
        let most = self.settings.memory_bytes_max;
        // What is decoded is held once more while it is filtered.
        let row: usize = columns.iter().map(|column| 2 * self.rows.value_bytes(*column)).sum();
        let thread = self.settings.batch_rows.saturating_mul(row).saturating_add(self.rows.buffer_bytes(columns));
        let threads = self.settings.threads_wanted().min(most / 2 / thread.max(1)).max(1);
        (threads, most - threads.saturating_mul(thread).min(most / 2))
    }

    /// Whether part `part` can hold an event within `reach`.
    fn may_hold(&self, part: usize, reach: &RangeInclusive<i64>) -> bool {
        let schema = self.rows.schema();
        let Ok(place) = schema.index_of(self.view.view.timestamp()) else { return true };
        let DataType::Timestamp(unit, _) = schema.field(place).data_type() else { return true };
        let Some((min, max)) = self.rows.time_range(part, place) else { return true };
        let factor = Ticks::Nanos.factor(*unit);
        let nanos = |micros: i64| i128::from(micros) * 1_000;
        let (min, max) = (i128::from(min) * i128::from(factor), i128::from(max) * i128::from(factor));
        min < nanos(*reach.end()) + 1_000 && max >= nanos(*reach.start())
    }

    /// Two parts of `spine` that share as few events as can be: other entities, or the same one at other times.
    fn halves(&self, spine: &RecordBatch) -> Result<(BooleanArray, BooleanArray)> {
        let (index, groups) = KeyIndex::build(spine, self.view.view.entity().join_keys())?;
        let first = if index.len() > 1 {
            let middle = index.len() as u32 / 2;
            groups.iter().map(|group| Some(group.is_none_or(|group| group < middle))).collect::<BooleanArray>()
        } else {
            let times = micros(spine, &self.timestamp)?;
            let mut moments: Vec<i64> = times.iter().flatten().copied().collect();
            moments.sort_unstable();
            moments.dedup();
            let middle = moments.get(moments.len() / 2).filter(|_| moments.len() > 1).ok_or_else(|| {
                Error::resource_exhausted(format!(
                    "memory_bytes_max is {}; the events of one window of {} need more",
                    self.settings.memory_bytes_max,
                    self.name()
                ))
            })?;
            times.iter().map(|time| Some(time.is_none_or(|time| time < *middle))).collect()
        };
        let second = first.iter().map(|first| first.map(|first| !first)).collect();
        Ok((first, second))
    }
}

/// The columns of both parts in the order of the whole, whose rows of the first part are `is_first`.
fn together(is_first: &BooleanArray, first: NamedColumns, second: NamedColumns) -> Result<NamedColumns> {
    let (mut of_first, mut of_second) = (0, is_first.true_count() as u32);
    let place = |is_first: Option<bool>| {
        let next = if is_first == Some(true) { &mut of_first } else { &mut of_second };
        *next += 1;
        *next - 1
    };
    let places: UInt32Array = is_first.iter().map(place).collect::<Vec<u32>>().into();
    let both = first.into_iter().zip(second);
    let one = |((field, first), (_, second)): ((Field, ArrayRef), (Field, ArrayRef))| {
        Ok((field, take(&concat(&[first.as_ref(), second.as_ref()])?, &places, None)?))
    };
    both.map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow_array::{Float64Array, Int64Array, TimestampMillisecondArray};
    use proptest::prelude::*;

    use super::*;
    use crate::{Aggregation, Entity, Function};

    fn batch(keys: &[i64], times: &[i64], values: &[f64]) -> RecordBatch {
        let times = TimestampMillisecondArray::from(times.to_vec());
        let columns: [(&str, ArrayRef, bool); 3] = [
            ("k", Arc::new(Int64Array::from(keys.to_vec())), true),
            (EVENT_TIMESTAMP, Arc::new(times), true),
            ("v", Arc::new(Float64Array::from(values.to_vec())), true),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn join(spine: &RecordBatch, events: &RecordBatch, part: usize, settings: JoinSettings) -> WindowJoin {
        let width = Duration::from_millis(20);
        let view = FeatureView::builder("w", Entity::new("k", ["k"]).unwrap(), "t")
            .with_aggregation(Aggregation::new("sum", Function::Sum, "v", width))
            .with_aggregation(Aggregation::new("count", Function::Count, "v", width))
            .build()
            .unwrap();
        let rows = events.num_rows();
        let parts = (0..rows).step_by(part).map(|at| events.slice(at, part.min(rows - at))).collect();
        WindowJoin::new(spine.clone(), view, events.schema(), parts).unwrap().with_settings(settings)
    }

    proptest! {
        #[test]
        fn memory_threads_and_batches_change_nothing(
            events in proptest::collection::vec((0_i64..4, 0_i64..60, -1e9..1e9_f64), 0..200),
            spine in proptest::collection::vec((0_i64..5, 0_i64..70), 0..60),
            memory in 600_usize..20_000, threads in 1_usize..4, batch_rows in 1_usize..50, part in 1_usize..80,
        ) {
            let (keys, (times, values)): (Vec<i64>, (Vec<i64>, Vec<f64>)) = events.into_iter().map(|(k, t, v)| (k, (t, v))).unzip();
            let events = batch(&keys, &times, &values);
            let (keys, times): (Vec<i64>, Vec<i64>) = spine.into_iter().unzip();
            let spine = batch(&keys, &times, &vec![0.0; keys.len()]).project(&[0, 1]).unwrap();
            let whole = join(&spine, &events, 1_000, JoinSettings::default()).run().unwrap();
            let settings = JoinSettings { threads, memory_bytes_max: memory, batch_rows };
            match join(&spine, &events, part, settings).run() {
                Ok(found) => prop_assert_eq!(found, whole),
                Err(error) => prop_assert!(error.message().contains("the events of one window"), "{}", error),
            }
        }
    }

    #[test]
    fn what_cannot_fit_is_said() {
        let events = batch(&[1; 100], &[5; 100], &[1.0; 100]);
        let spine = events.slice(0, 2).project(&[0, 1]).unwrap();
        let settings = JoinSettings { memory_bytes_max: 2_000, ..JoinSettings::default() };
        let error = join(&spine, &events, 10, settings).run().unwrap_err();
        assert_eq!(error.kind(), mlops_core::ErrorKind::ResourceExhausted);
        assert!(error.message().contains("memory_bytes_max is 2000"), "{error}");
    }
}

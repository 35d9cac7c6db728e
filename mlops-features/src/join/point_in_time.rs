//! The join over Arrow batches: checks, keys and times to integers, search, gather.

use std::{sync::Arc, time::Duration};

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use arrow_select::{concat::concat_batches, take::take};
use mlops_core::{Error, Result, ResultExt};

use super::{
    KeyIndex, Knowledge,
    kernel::{Side, winners},
};
use crate::{
    definition::{EVENT_TIMESTAMP, first_duplicate},
    time::{Ticks, column, ticks},
};

/// How a join runs. None of this changes its result.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct JoinSettings {
    /// Threads that work on views side by side; at least 1.
    pub threads: usize,
    /// Most bytes of input that one join takes; more is `ResourceExhausted` before any work.
    pub input_bytes_max: usize,
}

impl Default for JoinSettings {
    fn default() -> Self {
        Self { threads: 1, input_bytes_max: 64 << 30 }
    }
}

/// One source of features for a join.
#[derive(Debug, Clone)]
pub struct JoinView {
    name: Arc<str>,
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
    spine_keys: Vec<Arc<str>>,
    source_keys: Vec<Arc<str>>,
    timestamp: Arc<str>,
    created: Option<Arc<str>>,
    features: Vec<(Arc<str>, Arc<str>)>,
    ttl: Option<Duration>,
    event_timestamp: Option<Arc<str>>,
}

impl JoinView {
    /// Source rows `batches` in order of ingestion, all of `schema`, with no keys (global) and no features yet.
    #[must_use]
    pub fn new(name: impl AsRef<str>, schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self {
            name: name.as_ref().into(),
            batches,
            schema,
            spine_keys: Vec::new(),
            source_keys: Vec::new(),
            timestamp: EVENT_TIMESTAMP.into(),
            created: None,
            features: Vec::new(),
            ttl: None,
            event_timestamp: None,
        }
    }

    /// Also compares column `spine` of the spine with column `source` of the source.
    #[must_use]
    pub fn with_key(mut self, spine: impl AsRef<str>, source: impl AsRef<str>) -> Self {
        self.spine_keys.push(spine.as_ref().into());
        self.source_keys.push(source.as_ref().into());
        self
    }

    /// Event time is in `column` instead of `event_timestamp`.
    #[must_use]
    pub fn with_timestamp(mut self, column: impl AsRef<str>) -> Self {
        self.timestamp = column.as_ref().into();
        self
    }

    /// Creation time is in `column`.
    #[must_use]
    pub fn with_created(mut self, column: impl AsRef<str>) -> Self {
        self.created = Some(column.as_ref().into());
        self
    }

    /// Takes column `source` under the name `output`.
    #[must_use]
    pub fn with_feature(mut self, source: impl AsRef<str>, output: impl AsRef<str>) -> Self {
        self.features.push((source.as_ref().into(), output.as_ref().into()));
        self
    }

    /// A winner older than `ttl` counts as no match; zero means any age.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = (!ttl.is_zero()).then_some(ttl);
        self
    }

    /// Adds the winner's event time as column `output`.
    #[must_use]
    pub fn with_event_timestamp_as(mut self, output: impl AsRef<str>) -> Self {
        self.event_timestamp = Some(output.as_ref().into());
        self
    }

    fn outputs(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|(_, output)| output.as_ref()).chain(self.event_timestamp.as_deref())
    }
}

/// A point-in-time join of a spine with one or more views. The rules are at the head of [this module](super).
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray, cast::AsArray, types::Int64Type};
/// use mlops_features::{JoinView, PointInTimeJoin};
///
/// let times = |t: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(t).with_timezone("UTC")) as ArrayRef;
/// let ints = |v: Vec<i64>| Arc::new(Int64Array::from(v)) as ArrayRef;
/// let spine = RecordBatch::try_from_iter([("k", ints(vec![1, 1])), ("event_timestamp", times(vec![5, 15]))])?;
/// let source = RecordBatch::try_from_iter([
///     ("k", ints(vec![1, 1])), ("event_timestamp", times(vec![10, 5])), ("v", ints(vec![20, 10])),
/// ])?;
/// let view = JoinView::new("a", source.schema(), vec![source]).with_key("k", "k").with_feature("v", "v");
/// let joined = PointInTimeJoin::new(spine).with_view(view).run()?;
/// assert_eq!(joined.column(2).as_primitive::<Int64Type>().values(), &[10, 20]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PointInTimeJoin {
    spine: RecordBatch,
    timestamp: Arc<str>,
    views: Vec<JoinView>,
    knowledge: Knowledge,
    settings: JoinSettings,
}

impl PointInTimeJoin {
    /// A join of `spine`, whose time is in `event_timestamp`, with nothing yet.
    #[must_use]
    pub fn new(spine: RecordBatch) -> Self {
        Self {
            spine,
            timestamp: EVENT_TIMESTAMP.into(),
            views: Vec::new(),
            knowledge: Knowledge::default(),
            settings: JoinSettings::default(),
        }
    }

    /// The spine's time is in `column`.
    #[must_use]
    pub fn with_timestamp(mut self, column: impl AsRef<str>) -> Self {
        self.timestamp = column.as_ref().into();
        self
    }

    /// Adds a view; its columns follow those of the views before it.
    #[must_use]
    pub fn with_view(mut self, view: JoinView) -> Self {
        self.views.push(view);
        self
    }

    /// Which source rows may be seen.
    #[must_use]
    pub fn with_knowledge(mut self, knowledge: Knowledge) -> Self {
        self.knowledge = knowledge;
        self
    }

    /// How the join runs.
    #[must_use]
    pub fn with_settings(mut self, settings: JoinSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Joins. CPU-bound: call it from a blocking thread when on an async runtime.
    ///
    /// # Errors
    /// `InvalidArgument` for a missing column, keys of different types on the two sides, a time column that is no
    /// timestamp, or output names that clash; `ResourceExhausted` when the input exceeds the settings.
    pub fn run(&self) -> Result<RecordBatch> {
        self.check()?;
        let per_view = self.columns_of_views()?;
        let mut fields: Vec<_> = self.spine.schema_ref().fields().iter().cloned().collect();
        let mut columns = self.spine.columns().to_vec();
        for (field, column) in per_view.into_iter().flatten() {
            fields.push(Arc::new(field));
            columns.push(column);
        }
        let schema = Schema::new_with_metadata(fields, self.spine.schema_ref().metadata().clone());
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(self.spine.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)?)
    }

    fn check(&self) -> Result<()> {
        let spine = self.spine.schema_ref().fields().iter().map(|field| field.name().as_str());
        let outputs = self.views.iter().flat_map(JoinView::outputs);
        if let Some(twice) = first_duplicate(spine.chain(outputs)) {
            return Err(Error::invalid_argument(format!(
                "column \"{twice}\" would occur twice in the joined table; rename the feature or drop the spine column"
            )));
        }
        let batches = self.views.iter().flat_map(|view| &view.batches).chain([&self.spine]);
        let bytes: usize = batches.map(RecordBatch::get_array_memory_size).sum();
        if bytes > self.settings.input_bytes_max {
            return Err(Error::resource_exhausted(format!(
                "the join's input is {bytes} bytes; input_bytes_max is {}; join the spine in parts",
                self.settings.input_bytes_max
            )));
        }
        Ok(())
    }

    /// The new columns of every view, views spread over the threads.
    fn columns_of_views(&self) -> Result<Vec<Vec<(Field, ArrayRef)>>> {
        let threads = self.settings.threads.clamp(1, self.views.len().max(1));
        if threads == 1 {
            return self.views.iter().map(|view| self.columns_of(view)).collect();
        }
        let share = self.views.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let work = |views: &[JoinView]| views.iter().map(|view| self.columns_of(view)).collect::<Result<Vec<_>>>();
            let running: Vec<_> = self.views.chunks(share).map(|views| scope.spawn(move || work(views))).collect();
            let mut all = Vec::with_capacity(self.views.len());
            for thread in running {
                all.extend(thread.join().map_err(|_| Error::internal("a join thread panicked"))??);
            }
            Ok(all)
        })
    }

    fn columns_of(&self, view: &JoinView) -> Result<Vec<(Field, ArrayRef)>> {
        self.try_columns_of(view).context(format!("feature view \"{}\"", view.name))
    }

    fn try_columns_of(&self, view: &JoinView) -> Result<Vec<(Field, ArrayRef)>> {
        let source = concat_needed(view)?;
        let rows = UInt32Array::from(self.winners_in(view, &source)?);
        let features = view.features.iter().map(|(from, to)| (from, to.as_ref()));
        let time = view.event_timestamp.as_deref().map(|to| (&view.timestamp, to));
        let gather = |(from, to): (&Arc<str>, &str)| {
            let values = column(&source, from)?;
            let taken = match source.num_rows() {
                0 => new_null_array(values.data_type(), rows.len()),
                _ => take(values, &rows, None)?,
            };
            let field = source.schema_ref().field_with_name(from)?.clone();
            Ok((field.with_name(to).with_nullable(true), taken))
        };
        features.chain(time).map(gather).collect()
    }

    fn winners_in(&self, view: &JoinView, source: &RecordBatch) -> Result<Vec<Option<u32>>> {
        if source.num_rows() > u32::MAX as usize {
            return Err(Error::resource_exhausted("a source has at most 4,294,967,295 rows; join a time range of it"));
        }
        check_key_types(&self.spine, source, &view.spine_keys, &view.source_keys)?;
        let (spine_time, source_time) = (column(&self.spine, &self.timestamp)?, column(source, &view.timestamp)?);
        let created = view.created.as_deref().map(|name| column(source, name)).transpose()?;
        let times = [Some(spine_time), Some(source_time), created];
        let unit = Ticks::for_types(times.into_iter().flatten().map(|column| column.data_type()));
        let created = match (created, &view.created) {
            (Some(values), Some(name)) => ticks(name, values.as_ref(), unit)?,
            _ => Vec::new(),
        };
        let (index, groups) = KeyIndex::build(&self.spine, &view.spine_keys)?;
        let spine = Side { group: groups, time: ticks(&self.timestamp, spine_time.as_ref(), unit)? };
        let source = Side {
            group: index.lookup(source, &view.source_keys)?,
            time: ticks(&view.timestamp, source_time.as_ref(), unit)?,
        };
        let ttl =
            view.ttl.map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX).saturating_mul(unit.per_micro()));
        Ok(winners(&spine, &source, &created, index.len(), self.knowledge, ttl))
    }
}

/// The source's needed columns in one batch.
fn concat_needed(view: &JoinView) -> Result<RecordBatch> {
    let features = view.features.iter().map(|(from, _)| from);
    let needed = view.source_keys.iter().chain([&view.timestamp]).chain(&view.created).chain(features);
    let mut indices = Vec::new();
    for name in needed {
        let index = view.schema.index_of(name).map_err(|_| {
            Error::invalid_argument(format!(
                "source column \"{name}\" is missing; the source has {}",
                names(&view.schema)
            ))
        })?;
        if !indices.contains(&index) {
            indices.push(index);
        }
    }
    let schema = Arc::new(view.schema.project(&indices)?);
    let batches: Vec<_> = view.batches.iter().map(|batch| batch.project(&indices)).collect::<Result<_, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

fn names(schema: &Schema) -> String {
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.join(", ")
}

/// Refuses keys that could only fail to match because their types differ.
pub(crate) fn check_key_types(
    spine: &RecordBatch,
    source: &RecordBatch,
    spine_keys: &[Arc<str>],
    source_keys: &[Arc<str>],
) -> Result<()> {
    for (left, right) in spine_keys.iter().zip(source_keys) {
        let (left_type, right_type) = (column(spine, left)?.data_type(), column(source, right)?.data_type());
        if left_type != right_type {
            return Err(Error::invalid_argument(format!(
                "join key \"{left}\" is {left_type} in the spine but \"{right}\" is {right_type} in the source; cast one of them"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        Int32Array, Int64Array, StringArray, TimestampMillisecondArray, cast::AsArray, types::Int64Type,
    };

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn times(values: Vec<i64>) -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from(values))
    }

    #[test]
    fn keys_of_different_types_are_an_error_not_a_miss() {
        let spine = batch(vec![("k", Arc::new(Int32Array::from(vec![1]))), ("event_timestamp", times(vec![1]))]);
        let source = batch(vec![("k", Arc::new(Int64Array::from(vec![1]))), ("event_timestamp", times(vec![1]))]);
        let view = JoinView::new("a", source.schema(), vec![source]).with_key("k", "k");
        let error = PointInTimeJoin::new(spine).with_view(view).run().unwrap_err();
        assert!(error.message().contains("Int32") && error.message().contains("Int64"), "{error}");
    }

    #[test]
    fn a_clash_of_names_is_an_error() {
        let spine = batch(vec![("v", Arc::new(Int64Array::from(vec![1]))), ("event_timestamp", times(vec![1]))]);
        let view = JoinView::new("a", spine.schema(), vec![spine.clone()]).with_feature("v", "v");
        assert!(PointInTimeJoin::new(spine).with_view(view).run().unwrap_err().message().contains("\"v\""));
    }

    #[test]
    fn threads_and_batching_do_not_change_the_result() {
        let n = 500_i64;
        let keys =
            |shift: i64| Arc::new(Int64Array::from_iter_values((0..n).map(|i| (i * 7 + shift) % 11))) as ArrayRef;
        let text = Arc::new(StringArray::from_iter_values((0..n).map(|i| format!("{}", i % 3)))) as ArrayRef;
        let spine =
            batch(vec![("k", keys(0)), ("j", Arc::clone(&text)), ("event_timestamp", times((0..n).rev().collect()))]);
        let value = Arc::new(Int64Array::from_iter_values(0..n)) as ArrayRef;
        let source = batch(vec![
            ("k", keys(3)),
            ("j", text),
            ("event_timestamp", times((0..n).map(|i| i * 13 % 97).collect())),
            ("v", value),
        ]);
        let run = |threads: usize, rows: usize| {
            let mut join =
                PointInTimeJoin::new(spine.clone()).with_settings(JoinSettings { threads, ..JoinSettings::default() });
            for name in ["a", "b", "c"] {
                let pieces = (0..500).step_by(rows).map(|at| source.slice(at, rows.min(500 - at))).collect();
                let view = JoinView::new(name, source.schema(), pieces).with_key("k", "k").with_key("j", "j");
                join = join.with_view(view.with_feature("v", name));
            }
            join.run().unwrap()
        };
        let plain = run(1, 500);
        assert!(plain.column(3).as_primitive::<Int64Type>().null_count() < 500);
        assert_eq!(plain, run(3, 7));
        assert_eq!(plain, run(2, 100));
    }
}

//! Labels for the rows of a spine: windows that reach forward, as far as they can be known.
//!
//! A window `(t, t + w]` is the window `(u - w, u]` of the moment `u = t + w`, so labels are computed by the kernel of
//! features over a spine that is moved by `w`. A row whose window is not closed has no moment, and so no value.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use mlops_core::{Error, Result, ResultExt, Timestamp};

use super::keys_and_times;
use crate::{
    definition::{LabelView, all_faults},
    engine::{ComputeEngine, WindowJoin},
    join::{JoinSettings, rows::FeatureRows},
    online::ResolvedView,
    time::micros,
};

/// Label views by name, and by name and version where they have one.
pub(crate) type LabelViews = BTreeMap<Arc<str>, Arc<ResolvedLabels>>;

/// A label view with everything that is known once its table is.
#[derive(Debug)]
pub(crate) struct ResolvedLabels {
    pub(crate) view: LabelView,
    /// The view of windows that the labels are computed as.
    pub(crate) outcomes: Arc<ResolvedView>,
}

/// Labels that are asked for, and the outcomes that they are made of.
pub(super) struct LabelJoin {
    pub(super) labels: Arc<ResolvedLabels>,
    pub(super) wanted: Vec<Arc<str>>,
    pub(super) rows: Arc<dyn FeatureRows>,
    /// What was recorded later is not seen.
    pub(super) known_by: Timestamp,
}

impl ResolvedLabels {
    /// Checks `view` against the schema of its table.
    pub(crate) fn new(view: LabelView, schema: &SchemaRef) -> Result<Self> {
        // How much an online state keeps has no meaning here.
        let outcomes = ResolvedView::new(view.outcomes().clone(), schema, usize::MAX);
        let outcomes = Arc::new(outcomes.context(format!("label view \"{}\"", view.name()))?);
        Ok(Self { view, outcomes })
    }

    /// Refuses a label that the view does not have.
    pub(crate) fn check(&self, label: &str) -> Result<()> {
        if self.view.label_names().any(|known| known == label) {
            return Ok(());
        }
        let names: Vec<_> = self.view.label_names().collect();
        let (view, names) = (self.view.name(), names.join(", "));
        Err(Error::not_found(format!("label view \"{view}\" has no label \"{label}\"; it has {names}")))
    }

    /// The latest moment whose outcomes a spine that ends at `last` can need.
    pub(super) fn reach(&self, last: Timestamp) -> Timestamp {
        last + self.view.outcomes().window_max()
    }
}

impl LabelJoin {
    /// The labels beside `spine`, whose time is in column `timestamp`.
    pub(super) async fn columns(
        &self,
        spine: &RecordBatch,
        timestamp: &str,
        settings: &JoinSettings,
        engine: &dyn ComputeEngine,
    ) -> Result<Vec<(FieldRef, ArrayRef)>> {
        let keys = self.labels.view.entity().join_keys();
        if keys.iter().any(|key| key.as_ref() == timestamp) {
            let fault = format!("join key \"{timestamp}\" is also the time of the spine");
            all_faults(&format!("label view \"{}\"", self.labels.view.name()), &[fault])?;
        }
        let narrow = keys_and_times(spine, keys.iter(), timestamp)?;
        let mut columns = Vec::new();
        for (window, names) in self.by_window() {
            let moved = self.moved(&narrow, timestamp, window)?;
            let outcomes = Arc::clone(&self.labels.outcomes);
            let join = WindowJoin::of(moved, outcomes, Arc::clone(&self.rows)).with_features(names)?;
            let join = join.with_timestamp(timestamp).with_known_by(self.known_by).with_settings(settings.clone());
            let found = engine.windows(&join).await?;
            columns.extend(found.schema_ref().fields().iter().cloned().zip(found.columns().iter().cloned()));
        }
        Ok(columns)
    }

    /// The labels that are asked for by the length of their windows in microseconds.
    fn by_window(&self) -> BTreeMap<i64, Vec<&Arc<str>>> {
        let mut by_window: BTreeMap<i64, Vec<&Arc<str>>> = BTreeMap::new();
        for label in self.labels.view.labels().iter().filter(|label| self.wanted.contains(&label.name)) {
            by_window.entry(label.window_micros()).or_default().push(&label.name);
        }
        by_window
    }

    /// `spine` with each time at the end of the window that begins there; null where that is not closed.
    fn moved(&self, spine: &RecordBatch, timestamp: &str, window: i64) -> Result<RecordBatch> {
        let delay = i64::try_from(self.labels.view.delay().as_micros()).unwrap_or(i64::MAX);
        let closed = |end: &i64| end.checked_add(delay).is_some_and(|known| known <= self.known_by.as_micros());
        let end = |time: Option<i64>| time?.checked_add(window).filter(closed);
        let ends: TimestampMicrosecondArray = micros(spine, timestamp)?.into_iter().map(end).collect();
        let place = spine.schema_ref().index_of(timestamp)?;
        let mut columns = spine.columns().to_vec();
        let mut fields: Vec<FieldRef> = spine.schema_ref().fields().iter().cloned().collect();
        if let Some((column, field)) = columns.get_mut(place).zip(fields.get_mut(place)) {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            (*column, *field) = (Arc::new(ends.with_timezone("UTC")), Arc::new(Field::new(timestamp, utc, true)));
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow_array::{BooleanArray, Int64Array, cast::AsArray, types::Int64Type};
    use proptest::prelude::*;

    use super::*;
    use crate::{Aggregation, Entity, Function, LocalEngine, join::rows::BatchRows};

    /// Key, time, id, when it was recorded, whether it takes one back.
    type Outcome = (i64, i64, i64, Option<i64>, bool);

    fn micros_column(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
        Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    }

    fn outcomes(rows: &[Outcome]) -> RecordBatch {
        let ints = |of: fn(&Outcome) -> i64| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Int64Array>()) };
        let back: BooleanArray = rows.iter().map(|row| Some(row.4)).collect();
        let columns: [(&str, ArrayRef, bool); 5] = [
            ("k", ints(|row| row.0), true),
            ("event_timestamp", micros_column(rows.iter().map(|row| Some(row.1))), true),
            ("id", ints(|row| row.2), true),
            ("seen", micros_column(rows.iter().map(|row| row.3)), true),
            ("back", Arc::new(back), true),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn view(delay: u64) -> LabelView {
        let label = |name, function, window| Aggregation::new(name, function, "id", Duration::from_micros(window));
        LabelView::builder("l", Entity::new("e", ["k"]).unwrap(), "outcomes")
            .with_created("seen")
            .with_event_id("id")
            .with_retraction("back")
            .with_delay(Duration::from_micros(delay))
            .with_label(label("count_10", Function::Count, 10))
            .with_label(label("first_10", Function::First, 10))
            .with_label(label("sum_25", Function::Sum, 25))
            .build()
            .unwrap()
    }

    fn labels(rows: &[Outcome], spine: &RecordBatch, delay: u64, known_by: i64) -> BTreeMap<String, ArrayRef> {
        let outcomes = outcomes(rows);
        let half = rows.len() / 2;
        let parts = vec![outcomes.slice(0, half), outcomes.slice(half, rows.len() - half)];
        let labels = Arc::new(ResolvedLabels::new(view(delay), &outcomes.schema()).unwrap());
        let wanted = labels.view.label_names().map(Arc::from).collect();
        let rows = Arc::new(BatchRows::new(outcomes.schema(), parts));
        let join = LabelJoin { labels, wanted, rows, known_by: Timestamp::from_micros(known_by) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let settings = JoinSettings::default();
        let columns = join.columns(spine, "event_timestamp", &settings, &LocalEngine);
        let columns = runtime.block_on(columns).unwrap();
        columns.into_iter().map(|(field, column)| (field.name().clone(), column)).collect()
    }

    fn spine(rows: &[(Option<i64>, Option<i64>)]) -> RecordBatch {
        let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        let columns = [("k", keys, true), ("event_timestamp", micros_column(rows.iter().map(|row| row.1)), true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    /// What the definition says, row by row: ids of the outcomes after `t` up to `t + window` that were known by then
    /// and not taken back, oldest first; none when the window cannot be judged yet.
    fn expected(rows: &[Outcome], key: i64, t: i64, window: i64, delay: i64, known_by: i64) -> Option<Vec<i64>> {
        if t + window + delay > known_by {
            return None;
        }
        let known: Vec<&Outcome> = rows.iter().filter(|row| row.3.is_some_and(|seen| seen <= known_by)).collect();
        let gone = |row: &Outcome| known.iter().any(|back| back.4 && (back.0, back.1, back.2) == (row.0, row.1, row.2));
        let inside = |row: &&&Outcome| row.0 == key && !row.4 && t < row.1 && row.1 <= t + window && !gone(row);
        let mut found: Vec<&Outcome> = known.iter().filter(inside).copied().collect();
        found.sort_by_key(|row| row.1);
        Some(found.iter().map(|row| row.2).collect())
    }

    proptest! {
        #[test]
        fn labels_are_what_the_definition_says(
            rows in proptest::collection::vec((0_i64..3, 0_i64..60, 0_i64..4, proptest::option::weighted(0.9, 0_i64..90), any::<bool>()), 0..60),
            asked in proptest::collection::vec((proptest::option::weighted(0.9, 0_i64..4), proptest::option::weighted(0.9, -5_i64..70)), 0..40),
            delay in 0_u64..15, known_by in 0_i64..100,
        ) {
            let found = labels(&rows, &spine(&asked), delay, known_by);
            let int = |name: &str, row: usize| {
                let column = found[name].as_primitive::<Int64Type>();
                (!arrow_array::Array::is_null(column, row)).then(|| column.value(row))
            };
            for (row, (key, time)) in asked.iter().enumerate() {
                let of = |window| {
                    let (key, time) = key.zip(*time)?;
                    expected(&rows, key, time, window, i64::try_from(delay).unwrap(), known_by)
                };
                prop_assert_eq!(int("count_10", row), of(10).map(|ids| ids.len() as i64));
                prop_assert_eq!(int("first_10", row), of(10).and_then(|ids| ids.first().copied()));
                prop_assert_eq!(int("sum_25", row), of(25).and_then(|ids| ids.into_iter().reduce(|sum, id| sum + id)));
            }
        }
    }

    #[test]
    fn edges_of_the_window_and_of_what_is_known() {
        let rows = [(1, 100, 7, Some(101), false), (1, 110, 8, Some(200), false)];
        let of = |time, known_by| {
            let found = labels(&rows, &spine(&[(Some(1), Some(time))]), 0, known_by);
            found["count_10"].as_primitive::<Int64Type>().iter().next().unwrap()
        };
        assert_eq!(of(100, 1_000), Some(1), "an outcome at t itself is the past, one at t + window the future");
        assert_eq!(of(99, 1_000), Some(1));
        assert_eq!(of(101, 1_000), Some(1));
        assert_eq!(of(110, 1_000), Some(0), "nothing came, and the window has closed");
        assert_eq!(of(100, 109), None, "the window is open");
        assert_eq!(of(100, 110), Some(0), "closed, but the outcome was recorded later");
        assert_eq!(of(100, 200), Some(1));
    }

    #[test]
    fn times_at_the_end_of_time_are_never_closed() {
        let found = labels(&[], &spine(&[(Some(1), Some(i64::MAX)), (Some(1), Some(i64::MIN))]), 5, i64::MAX);
        let counts: Vec<_> = found["count_10"].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(counts, [None, Some(0)]);
    }
}

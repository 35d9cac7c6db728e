//! Runs in which an engine finds the latest row of every entity, and only those are written.
//!
//! Of a view without windows the online store keeps nothing else, so what is served afterwards is the same; the reading
//! and comparing is the engine's.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema};
use mlops_core::{Error, Result, Timestamp};

use super::{MaterializeReceipt, Materializer, Run, TICK};
use crate::{
    engine::{ComputeEngine, Latest},
    join::JoinView,
    online::ResolvedView,
    table::Scan,
};

/// What columns of an answer are called, so that none is called as a key or as another.
const COLUMN: &str = "\u{0}column ";
const CREATED: &str = "\u{0}created";

impl Materializer {
    /// Has `engine` find the latest row of every entity, of views that have join keys and no windows: one question for
    /// a run of any length, of whose answer the online store gets one row for each entity. Receipts count these rows, so
    /// they are not compared with the number of the table's rows. Views with windows are kept as the events that their
    /// windows hold, and are read here as without an engine; so is what [`Materializer::catch_up`] applies.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<dyn ComputeEngine>) -> Self {
        self.engine = Some(engine);
        self
    }

    /// The engine, if it can do all of `run`.
    pub(super) fn engine_of(&self, run: &Run) -> Option<&Arc<dyn ComputeEngine>> {
        let (view, plan) = (&run.view.view, &run.view.plan);
        let latest_alone = plan.aggregations.is_empty() && !view.entity().join_keys().is_empty();
        // The end of an engine's range is exclusive, and there is none after the last moment.
        self.engine.as_ref().filter(|_| latest_alone && run.until < Timestamp::MAX)
    }

    /// Applies the latest rows with `after < event time <= until`, as one chunk.
    pub(super) async fn compute(
        &self,
        engine: &dyn ComputeEngine,
        run: &Run,
        after: Option<Timestamp>,
    ) -> Result<MaterializeReceipt> {
        let latest = engine.latest(&question(run, after).await?).await?;
        let batch = rows(&run.view, &latest)?;
        let watermark = run.moves_watermark.then_some(run.until);
        let (rows, skipped) = self.write(&run.view, &batch, watermark).await?;
        if let Some(marker) = &run.marker {
            self.mark(marker, run.until).await?;
        }
        self.report(run, rows, run.until, (1, 1));
        self.receipt(run, after, (rows, skipped)).await
    }
}

/// What `run` asks of an engine. Answers have the view's keys, event times, columns, and when rows became known.
async fn question(run: &Run, after: Option<Timestamp>) -> Result<Latest> {
    let view = &run.view.view;
    let scan = Scan::latest().at_version(run.version).with_columns(run.view.needed_columns());
    let rows = run.table.rows(&scan.with_time(view.timestamp(), after, Some(run.until))).await?;
    let mut source = JoinView::of(view.name(), Arc::new(rows)).with_timestamp(view.timestamp());
    for key in view.entity().join_keys() {
        source = source.with_key(key, key);
    }
    for column in view.columns() {
        source = source.with_feature(column, format!("{COLUMN}{column}"));
    }
    if let Some(created) = view.created() {
        source = source.with_created(created).with_feature(created, CREATED);
    }
    let start = after.map_or(Timestamp::MIN, |after| after + TICK);
    Latest::new(source, start, run.until + TICK)
}

/// `latest` under the names that the view's table has for its columns.
fn rows(view: &ResolvedView, latest: &RecordBatch) -> Result<RecordBatch> {
    let definition = &view.view;
    let keys = definition.entity().join_keys().iter().map(AsRef::as_ref);
    let columns = definition.columns().iter().map(AsRef::as_ref);
    let names = keys.chain([definition.timestamp()]).chain(columns).chain(definition.created());
    let (mut fields, mut arrays) = (Vec::<Field>::new(), Vec::<ArrayRef>::new());
    for (index, name) in names.enumerate() {
        // One column of the table may be several of these.
        if fields.iter().any(|known| known.name() == name) {
            continue;
        }
        let lost = || Error::internal(format!("an engine's answer has no column for \"{name}\""));
        arrays.push(Arc::clone(latest.columns().get(index).ok_or_else(lost)?));
        fields.push(latest.schema_ref().field(index).clone().with_name(name));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

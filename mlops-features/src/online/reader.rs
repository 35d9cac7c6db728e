//! Reading features for serving: one snapshot, time to live applied, aggregates evaluated at the time asked about.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::Schema;
use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Error, FeatureReader, FeatureRef, Result, Timestamp};

use super::{
    EntityKey, OnlineFeatures, OnlineStore, ReadKeys, ReadPlan, ResolvedView,
    answer::{Sighting, Sightings},
    key::entity_keys,
    plan::PlannedView,
    record::Stored,
    writer::ROWS_IN_PLACE_MAX,
};
use crate::{
    cell::{Cell, ColumnBuilder},
    definition::first_duplicate,
    on_demand::{Expansion, OnDemandViews},
    window::AggregateState,
};

/// Reads features from an online store.
///
/// The latest row counts when its event is at or before the time asked about and within the view's time to live;
/// windows count the events in `(as_of - window, as_of]`. An entity that was never seen has null columns and empty
/// windows, so its counts are 0, as offline; an entity with a null key has nulls throughout.
#[derive(Debug, Clone)]
pub struct OnlineReader {
    store: Arc<dyn OnlineStore>,
    views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
    on_demand: Arc<OnDemandViews>,
}

impl OnlineReader {
    pub(crate) fn new(
        store: Arc<dyn OnlineStore>,
        views: Arc<BTreeMap<Arc<str>, Arc<ResolvedView>>>,
        on_demand: Arc<OnDemandViews>,
    ) -> Self {
        Self { store, views, on_demand }
    }

    /// Compiles a question that will be asked more than once.
    ///
    /// # Errors
    /// `NotFound` for an unknown view or feature.
    pub fn plan(&self, features: &[FeatureRef]) -> Result<ReadPlan> {
        ReadPlan::new(&self.views, &self.on_demand, features)
    }

    /// The features of `plan` for each row of `entities`, which has the views' join keys and the request data of
    /// on-demand views, as they stand at `as_of`. All views are read in one call to the store, so all values are of one
    /// moment.
    ///
    /// # Errors
    /// `InvalidArgument` for a missing or wrongly typed join key or request data, `FailedPrecondition` when this
    /// program lacks the code of an on-demand view, and the errors of that code and of [`OnlineStore::read`].
    pub async fn read(&self, plan: &ReadPlan, entities: &RecordBatch, as_of: Timestamp) -> Result<OnlineFeatures> {
        if let Some(on_demand) = &plan.on_demand {
            on_demand.check_request(entities.schema_ref())?;
        }
        let (mut reads, mut rows) = (Vec::with_capacity(plan.views.len()), Vec::with_capacity(plan.views.len()));
        for PlannedView { view, .. } in &plan.views {
            let found = entity_keys(entities, view.view.entity().join_keys(), &view.key_types)?;
            let keys: Vec<EntityKey> = found.iter().flatten().cloned().collect();
            rows.push(found.into_iter().map(|key| key.is_some()));
            reads.push(ReadKeys { table: Arc::clone(&view.online), keys });
        }
        let records = self.store.read(reads).await?;
        let builder = |field: &Arc<_>| ColumnBuilder::new(arrow_schema::Field::data_type(field), entities.num_rows());
        let mut columns = plan.stored.iter().map(builder).collect::<Result<Vec<_>>>()?;
        let mut views = Vec::with_capacity(plan.views.len());
        for ((planned, known), records) in plan.views.iter().zip(rows).zip(&records) {
            let mut records = records.iter();
            let mut seen = Sightings::default();
            for has_key in known {
                let record = if has_key { records.next().and_then(Option::as_ref) } else { None };
                planned.row(has_key, record, as_of.as_micros(), &mut columns, &mut seen)?;
            }
            views.push(seen);
        }
        let columns = columns.into_iter().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let columns = match &plan.on_demand {
            None => columns,
            Some(on_demand) => compute(on_demand, columns, entities).await?,
        };
        Ok(OnlineFeatures { columns, sources: plan.sources.clone(), views })
    }
}

/// The asked columns of the stored ones, elsewhere when there are many rows.
async fn compute(on_demand: &Arc<Expansion>, stored: Vec<ArrayRef>, entities: &RecordBatch) -> Result<Vec<ArrayRef>> {
    if entities.num_rows() <= ROWS_IN_PLACE_MAX {
        return on_demand.finish(&stored, entities);
    }
    let (on_demand, entities) = (Arc::clone(on_demand), entities.clone());
    let work = move || on_demand.finish(&stored, &entities);
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("computing features on demand panicked"))?
}

impl PlannedView {
    /// Appends one entity's cells to the columns of its features.
    fn row(
        &self,
        has_key: bool,
        record: Option<&Bytes>,
        as_of: i64,
        columns: &mut [ColumnBuilder],
        seen: &mut Sightings,
    ) -> Result<()> {
        let mut stored = record.map(|bytes| Stored::open(bytes)).transpose()?;
        if !self.cells.is_empty() {
            let latest = stored.as_ref().and_then(|stored| stored.latest).map(|latest| latest.time);
            let sighting = self.sighting(latest, as_of);
            seen.rows.push(sighting);
            let alive = matches!(sighting, Sighting::Alive(_));
            self.push_cells(stored.as_mut().filter(|_| alive), columns)?;
            if let Some(stored) = stored.as_mut().filter(|_| !alive && !self.windows.is_empty()) {
                // The events lie behind the cells.
                stored.cells().try_for_each(|cell| cell.map(drop))?;
            }
        } else if let Some(stored) = &mut stored {
            stored.cells().try_for_each(|cell| cell.map(drop))?;
        }
        if self.windows.is_empty() {
            return Ok(());
        }
        let state = stored.map(Stored::events).transpose()?.unwrap_or_default();
        self.push_windows(has_key, &state, as_of, columns, seen)
    }

    fn sighting(&self, latest: Option<i64>, as_of: i64) -> Sighting {
        match latest.filter(|time| *time <= as_of) {
            None => Sighting::Never,
            Some(time) if self.ttl.is_some_and(|ttl| time < as_of.saturating_sub(ttl)) => Sighting::Expired(time),
            Some(time) => Sighting::Alive(time),
        }
    }

    /// Walks the cells of the newest row once, picking those that are features; nulls when there is no row.
    fn push_cells(&self, stored: Option<&mut Stored<'_>>, columns: &mut [ColumnBuilder]) -> Result<()> {
        let mut wanted = self.cells.iter().peekable();
        if let Some(stored) = stored {
            for (at, cell) in stored.cells().enumerate() {
                let cell = cell?;
                while let Some((_, feature)) = wanted.next_if(|(wanted, _)| *wanted == at) {
                    push(columns, *feature, cell.clone())?;
                }
            }
        }
        wanted.try_for_each(|(_, feature)| push(columns, *feature, Cell::Null))
    }

    fn push_windows(
        &self,
        has_key: bool,
        state: &AggregateState<'_>,
        as_of: i64,
        columns: &mut [ColumnBuilder],
        seen: &mut Sightings,
    ) -> Result<()> {
        seen.windows.push(state.newest(as_of)?.map_or(Sighting::Never, Sighting::Alive));
        let values = if has_key { state.evaluate(&self.view.plan, as_of)? } else { Vec::new() };
        self.windows.iter().try_for_each(|(window, feature)| {
            push(columns, *feature, values.get(*window).map_or(Cell::Null, Cell::from))
        })
    }
}

fn push(columns: &mut [ColumnBuilder], feature: usize, cell: Cell<'_>) -> Result<()> {
    columns.get_mut(feature).map_or(Ok(()), |column| column.push(cell))
}

#[async_trait]
impl FeatureReader for OnlineReader {
    async fn get_online(
        &self,
        features: &[FeatureRef],
        entities: &RecordBatch,
        as_of: Timestamp,
    ) -> Result<RecordBatch> {
        let names = entities.schema_ref().fields().iter().map(|field| field.name().as_str());
        if let Some(twice) = first_duplicate(names.chain(features.iter().map(FeatureRef::feature))) {
            return Err(Error::invalid_argument(format!("column \"{twice}\" would occur twice in the answer")));
        }
        let plan = self.plan(features)?;
        let found = self.read(&plan, entities, as_of).await?;
        let fields: Vec<_> = entities.schema_ref().fields().iter().chain(&plan.fields).cloned().collect();
        let columns = [entities.columns(), found.columns()].concat();
        let options = RecordBatchOptions::new().with_row_count(Some(entities.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }
}

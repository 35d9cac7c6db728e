//! Spines without a list of entities: every entity that a service's views have, at a time or whenever a value changes.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use mlops_core::{Error, FeatureRef, Result};

use super::{DeltaOfflineStore, HistoricalOptions, delta::rows_of};
use crate::{
    Knowledge, PointInTimeJoin,
    definition::{EVENT_TIMESTAMP, FeatureService, FeatureView},
    join::{JoinView, Moments},
};

impl DeltaOfflineStore {
    /// A spine for [`OfflineStore::get_historical_opts`](super::OfflineStore::get_historical_opts) of the same `options`:
    /// a row for every entity of the views of `service`, which all have the same join keys, at the `moments` that are
    /// asked for. Join keys come first, then the time in the options' column; rows are ordered by key and time.
    ///
    /// Of windows only events make moments: that one leaves a window makes none. What was committed in between is in the
    /// training set and not in the spine, unless the options name versions or a time to read as of.
    ///
    /// # Errors
    /// `InvalidArgument` for views with different keys or none, `NotFound` for an unknown view or version,
    /// `ResourceExhausted` when the entities do not fit into the memory of the join's settings, and those of reading.
    pub async fn all_entities(
        &self,
        service: &FeatureService,
        moments: Moments,
        options: &HistoricalOptions,
    ) -> Result<RecordBatch> {
        self.entities_of(service.features(), moments, options).await
    }

    pub(crate) async fn entities_of(
        &self,
        features: &[FeatureRef],
        moments: Moments,
        options: &HistoricalOptions,
    ) -> Result<RecordBatch> {
        let (after, last) = match moments {
            Moments::At(time) => (None, time),
            // By when a row becomes known it may have happened long before.
            Moments::Changes { after, until } => ((options.knowledge == Knowledge::Event).then_some(after), until),
        };
        let (mut views, mut versions) = (Vec::new(), BTreeMap::new());
        for (view, _) in self.grouped(features)? {
            let (table, version) = self.version(&view, options, &mut versions).await?;
            let rows = rows_of(table, version, &view, Some((after, last))).await?;
            views.push(source(&view.view, JoinView::of(view.view.name(), Arc::new(rows))));
        }
        let (knowledge, settings) = (options.knowledge, self.settings.clone());
        let work = move || Ok(PointInTimeJoin::of_entities(views, moments, knowledge, settings)?.spine().clone());
        let spine: Result<RecordBatch> =
            tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("looking for entities panicked"))?;
        renamed(&spine?, &options.timestamp)
    }
}

/// Who is in `view` and when, without its features.
fn source(view: &FeatureView, mut source: JoinView) -> JoinView {
    source = source.with_timestamp(view.timestamp());
    for key in view.entity().join_keys() {
        source = source.with_key(key, key);
    }
    match view.created() {
        Some(created) => source.with_created(created),
        None => source,
    }
}

/// `spine` with its time called `timestamp`.
fn renamed(spine: &RecordBatch, timestamp: &str) -> Result<RecordBatch> {
    let field = |field: &Arc<Field>| {
        let name = if field.name() == EVENT_TIMESTAMP { timestamp } else { field.name() };
        field.as_ref().clone().with_name(name)
    };
    let fields: Vec<_> = spine.schema_ref().fields().iter().map(field).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), spine.columns().to_vec())?)
}

//! The table of runs: one row for each, with a column for each metric, param and tag.
//!
//! Invariant: the columns are those that the runs had when the export began; what is logged meanwhile under other keys is
//! left out. They are named as `mlflow.search_runs` names those of its data frame.

use std::{collections::BTreeSet, sync::Arc};

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use mlops_core::{Error, Result};

use super::batches::{BatchSource, batch, time_type, times};
use crate::{
    search::{Page, PageRequest, Search},
    tracking::{ExperimentId, RunRecord, TrackingStore, record::status_name},
};

/// Most columns of the table; take fewer with [`Search::with_columns`].
pub const COLUMNS_MAX: usize = 10_000;
/// Most cells of a batch, which bounds its memory.
const CELLS_MAX: usize = 1 << 20;
const RUNS_PER_BATCH: usize = 1_000;

/// The runs that match, in the order of the search: `run_id`, `run_name`, `experiment_id`, `user`, `status`,
/// `lifecycle_stage`, `artifact_uri`, `start_time`, `end_time`, then `metrics.KEY` (the latest value), `params.KEY` and
/// `tags.KEY` by key. The page of the search plays no part.
///
/// ```
/// use std::sync::Arc;
/// use mlops_registry::{
///     CreateRun, Search, SqlTrackingStore, TrackingStore, TrackingStoreExt, export::{self, BatchSource},
/// };
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = Arc::new(SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await?)).build().await?);
/// let experiment = store.ensure_experiment("fraud").await?;
/// let run = store.create_run(CreateRun::new(experiment)).await?;
/// store.log_params(&run.id, &[("lr".into(), "0.1".into())]).await?;
///
/// let mut table = export::runs(store, &[experiment], &Search::new()).await?;
/// let batch = table.next().await?.unwrap();
/// assert_eq!(batch.num_rows(), 1);
/// assert!(batch.column_by_name("params.lr").is_some());
/// assert!(table.next().await?.is_none());
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// `ResourceExhausted` when there are more than [`COLUMNS_MAX`] columns, otherwise as [`TrackingStore::search_runs`].
pub async fn runs(store: Arc<dyn TrackingStore>, experiments: &[ExperimentId], search: &Search) -> Result<RunBatches> {
    let mut batches = RunBatches {
        store,
        experiments: experiments.to_vec(),
        search: Search { page: PageRequest { max_results: Some(RUNS_PER_BATCH), token: None }, ..search.clone() },
        columns: Vec::new(),
        schema: Arc::new(Schema::empty()),
        ended: false,
    };
    let keys = batches.keys().await?;
    batches.columns = own_columns().into_iter().chain(keys.into_iter().map(Column::Logged)).collect();
    batches.schema = Arc::new(Schema::new(batches.columns.iter().map(Column::field).collect::<Vec<_>>()));
    let rows = (CELLS_MAX / batches.columns.len().max(1)).clamp(1, RUNS_PER_BATCH);
    batches.search.page = PageRequest { max_results: Some(rows), token: None };
    Ok(batches)
}

/// What [`runs`] gives.
#[derive(Debug)]
pub struct RunBatches {
    store: Arc<dyn TrackingStore>,
    experiments: Vec<ExperimentId>,
    search: Search,
    columns: Vec<Column>,
    schema: SchemaRef,
    ended: bool,
}

#[derive(Debug)]
enum Column {
    Text(&'static str, fn(&RunRecord) -> String),
    Started,
    Ended,
    Logged(Key),
}

/// Ordered as the columns are.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Metric(String),
    Param(String),
    Tag(String),
}

fn own_columns() -> Vec<Column> {
    let stage = |run: &RunRecord| if run.deleted { "deleted" } else { "active" }.to_owned();
    vec![
        Column::Text("run_id", |run| run.id.to_string()),
        Column::Text("run_name", |run| run.name.clone()),
        Column::Text("experiment_id", |run| run.experiment.to_string()),
        Column::Text("user", |run| run.user.clone()),
        Column::Text("status", |run| status_name(run.status).to_owned()),
        Column::Text("lifecycle_stage", stage),
        Column::Text("artifact_uri", |run| run.artifact_uri.clone()),
        Column::Started,
        Column::Ended,
    ]
}

impl Column {
    fn field(&self) -> Field {
        match self {
            Self::Text(name, _) => Field::new(*name, DataType::Utf8, false),
            Self::Started => Field::new("start_time", time_type(), false),
            Self::Ended => Field::new("end_time", time_type(), true),
            Self::Logged(Key::Metric(key)) => Field::new(format!("metrics.{key}"), DataType::Float64, true),
            Self::Logged(Key::Param(key)) => Field::new(format!("params.{key}"), DataType::Utf8, true),
            Self::Logged(Key::Tag(key)) => Field::new(format!("tags.{key}"), DataType::Utf8, true),
        }
    }

    fn values(&self, runs: &[Arc<RunRecord>]) -> ArrayRef {
        match self {
            Self::Text(_, text) => Arc::new(StringArray::from_iter_values(runs.iter().map(|run| text(run)))),
            Self::Started => times(runs.iter().map(|run| Some(run.started))),
            Self::Ended => times(runs.iter().map(|run| run.ended)),
            Self::Logged(Key::Metric(key)) => {
                let values = runs.iter().map(|run| run.metrics.get(key).map(|metric| metric.value));
                Arc::new(values.collect::<Float64Array>())
            }
            Self::Logged(Key::Param(key)) => {
                Arc::new(runs.iter().map(|run| run.params.get(key)).collect::<StringArray>())
            }
            Self::Logged(Key::Tag(key)) => Arc::new(runs.iter().map(|run| run.tags.get(key)).collect::<StringArray>()),
        }
    }
}

impl RunBatches {
    async fn page(&self, token: Option<String>) -> Result<Page<Arc<RunRecord>>> {
        let page = PageRequest { token, ..self.search.page.clone() };
        self.store.search_runs(&self.experiments, &Search { page, ..self.search.clone() }).await
    }

    /// The columns that the keys of all runs make.
    async fn keys(&self) -> Result<BTreeSet<Key>> {
        let (mut keys, mut token) = (BTreeSet::new(), None);
        loop {
            let page = self.page(token).await?;
            for run in page.items {
                keys.extend(run.metrics.keys().cloned().map(Key::Metric));
                keys.extend(run.params.keys().cloned().map(Key::Param));
                keys.extend(run.tags.keys().cloned().map(Key::Tag));
                if COLUMNS_MAX < keys.len() {
                    return Err(Error::resource_exhausted(format!(
                        "the runs have more than {COLUMNS_MAX} metrics, params and tags; choose some of them"
                    )));
                }
            }
            token = page.next_page_token;
            if token.is_none() {
                return Ok(keys);
            }
        }
    }
}

#[async_trait]
impl BatchSource for RunBatches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while !self.ended {
            let page = self.page(self.search.page.token.clone()).await?;
            self.ended = page.next_page_token.is_none();
            self.search.page.token = page.next_page_token;
            if !page.items.is_empty() {
                let columns = self.columns.iter().map(|column| column.values(&page.items)).collect();
                return batch(&self.schema, columns).map(Some);
            }
        }
        Ok(None)
    }
}

//! The table of points: `run_id`, `key`, `step`, `timestamp`, `value`.
//!
//! Invariant: a batch has points of one metric of one run, in the order of [`TrackingStore::metric_history`]; no point is
//! left out or repeated.

use std::{collections::VecDeque, sync::Arc};

use arrow_array::{Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use mlops_core::{Result, RunId};

use super::batches::{BatchSource, batch, time_type, times};
use crate::{
    search::{PageRequest, Search},
    tracking::{ExperimentId, TrackingStore},
};

const POINTS_PER_BATCH: usize = 10_000;
const RUNS_PER_PAGE: usize = 100;

/// Whose points are wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryScope {
    /// All metrics of these runs, in this order.
    Runs(Vec<RunId>),
    /// The runs that match, in the order of the search, and of them the metrics among its columns. Its page plays no part.
    Search(Vec<ExperimentId>, Box<Search>),
}

/// All points of some runs.
#[must_use]
pub fn history(store: Arc<dyn TrackingStore>, scope: HistoryScope) -> HistoryBatches {
    let field = |name: &str, kind| Field::new(name, kind, false);
    let schema = Arc::new(Schema::new(vec![
        field("run_id", DataType::Utf8),
        field("key", DataType::Utf8),
        field("step", DataType::Int64),
        field("timestamp", time_type()),
        field("value", DataType::Float64),
    ]));
    let page = PageRequest { max_results: Some(RUNS_PER_PAGE), token: None };
    let (runs, search) = match scope {
        HistoryScope::Runs(runs) => (runs.into(), None),
        HistoryScope::Search(experiments, search) => (VecDeque::new(), Some((experiments, Search { page, ..*search }))),
    };
    HistoryBatches { store, schema, runs, search, metrics: VecDeque::new(), token: None }
}

/// What [`history`] gives.
#[derive(Debug)]
pub struct HistoryBatches {
    store: Arc<dyn TrackingStore>,
    schema: SchemaRef,
    runs: VecDeque<RunId>,
    search: Option<(Vec<ExperimentId>, Search)>,
    /// Metrics whose points come next; the first is being read from the token on.
    metrics: VecDeque<(RunId, String)>,
    token: Option<String>,
}

impl HistoryBatches {
    /// Finds metrics to read, unless there are none left.
    async fn refill(&mut self) -> Result<bool> {
        while self.metrics.is_empty() {
            if let Some(run) = self.runs.pop_front() {
                let keys = self.store.run(&run).await?.metrics.into_keys();
                self.metrics.extend(keys.map(|key| (run.clone(), key)));
                continue;
            }
            let Some((experiments, search)) = &mut self.search else { return Ok(false) };
            let page = self.store.search_runs(experiments, search).await?;
            for run in page.items {
                self.metrics.extend(run.metrics.keys().map(|key| (run.id.clone(), key.clone())));
            }
            search.page.token = page.next_page_token;
            if search.page.token.is_none() {
                self.search = None;
            }
        }
        Ok(true)
    }
}

#[async_trait]
impl BatchSource for HistoryBatches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.refill().await? {
            let Some((run, key)) = self.metrics.front() else { continue };
            let page = PageRequest { max_results: Some(POINTS_PER_BATCH), token: self.token.clone() };
            let page = self.store.metric_history(run, key, &page).await?;
            let points = page.items;
            let columns = vec![
                Arc::new(StringArray::from_iter_values(points.iter().map(|_| run.as_str()))) as _,
                Arc::new(StringArray::from_iter_values(points.iter().map(|_| key.as_str()))) as _,
                Arc::new(Int64Array::from_iter_values(points.iter().map(|point| point.step))) as _,
                times(points.iter().map(|point| Some(point.timestamp))),
                Arc::new(Float64Array::from_iter_values(points.iter().map(|point| point.value))) as _,
            ];
            self.token = page.next_page_token;
            if self.token.is_none() {
                self.metrics.pop_front();
            }
            if !points.is_empty() {
                return batch(&self.schema, columns).map(Some);
            }
        }
        Ok(None)
    }
}

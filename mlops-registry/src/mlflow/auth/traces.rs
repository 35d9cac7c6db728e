//! A store of traces that asks first.
//!
//! Invariant: a trace is its experiment's; what would change one that exists asks for the experiment in which it is,
//! whatever the request says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use mlops_core::{Action, Error, Result, RunId};

use super::guard::{Guard, experiment};
use crate::{
    ExperimentId, Page, Search, TraceStore, TrackingStore,
    traces::{
        Assessment, AssessmentUpdate, CreateAssessment, Span, TRACE_IDS_MAX, TraceInfo, TraceSelection,
        otlp::ResourceSpans,
    },
};

#[derive(Debug)]
pub(in crate::mlflow) struct GuardedTraces {
    pub(in crate::mlflow) inner: Arc<dyn TraceStore>,
    /// Knows of which experiment the runs are that traces are linked to.
    pub(in crate::mlflow) tracking: Arc<dyn TrackingStore>,
    pub(in crate::mlflow) guard: Arc<Guard>,
}

impl GuardedTraces {
    /// Asks for the traces that exist, and gives how many they are.
    async fn check_known(&self, action: Action, ids: &[String]) -> Result<usize> {
        let mut known = BTreeMap::new();
        for ids in ids.chunks(TRACE_IDS_MAX) {
            known.extend(self.inner.experiments_of(ids).await?);
        }
        self.guard.check_experiments(action, known.values().copied()).await?;
        Ok(known.len())
    }

    /// Asks for one trace, which must exist: who may not write must not learn from the difference.
    async fn check(&self, action: Action, id: &str) -> Result<()> {
        match self.check_known(action, &[id.to_owned()]).await? {
            0 => Err(Error::not_found(format!("Trace with ID '{id}' not found.")).with("trace", id)),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl TraceStore for GuardedTraces {
    async fn start(&self, info: TraceInfo) -> Result<TraceInfo> {
        self.guard.check_experiment(Action::Write, info.experiment).await?;
        self.check_known(Action::Write, std::slice::from_ref(&info.id)).await?;
        self.inner.start(info).await
    }

    async fn add_spans(&self, experiment: ExperimentId, spans: Vec<ResourceSpans>) -> Result<Vec<String>> {
        self.guard.check_experiment(Action::Write, experiment).await?;
        let ids: BTreeSet<String> =
            spans.iter().flat_map(|of_resource| &of_resource.spans).map(Span::mlflow_trace_id).collect();
        self.check_known(Action::Write, &ids.into_iter().collect::<Vec<_>>()).await?;
        self.inner.add_spans(experiment, spans).await
    }

    async fn traces(&self, ids: &[String]) -> Result<Vec<TraceInfo>> {
        let found = self.inner.traces(ids).await?;
        self.guard.check_experiments(Action::Read, found.iter().map(|info| info.experiment)).await?;
        Ok(found)
    }

    async fn experiments_of(&self, ids: &[String]) -> Result<BTreeMap<String, ExperimentId>> {
        self.check_known(Action::Read, ids).await?;
        self.inner.experiments_of(ids).await
    }

    async fn spans(&self, ids: &[String]) -> Result<BTreeMap<String, Vec<Span>>> {
        self.check_known(Action::Read, ids).await?;
        self.inner.spans(ids).await
    }

    async fn search(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<TraceInfo>> {
        // Unlike in a search for runs, MLflow refuses whoever may not read all of them.
        self.guard.check_experiments(Action::Read, experiments.iter().copied()).await?;
        self.inner.search(experiments, search).await
    }

    async fn set_tags(&self, id: &str, tags: &[(String, String)]) -> Result<()> {
        self.check(Action::Write, id).await?;
        self.inner.set_tags(id, tags).await
    }

    async fn delete_tag(&self, id: &str, key: &str) -> Result<()> {
        self.check(Action::Write, id).await?;
        self.inner.delete_tag(id, key).await
    }

    async fn delete(&self, id: ExperimentId, selection: &TraceSelection) -> Result<u64> {
        self.guard.check_experiment(Action::Delete, id).await?;
        let selected = format!("{selection:?}");
        self.guard
            .record(Action::Delete, experiment(id), [("call", "traces/delete".to_owned()), ("traces", selected)])
            .await?;
        self.inner.delete(id, selection).await
    }

    async fn link_to_run(&self, ids: &[String], run: &RunId) -> Result<()> {
        // A link is the run's: the traces stay as they are.
        self.check_known(Action::Read, ids).await?;
        let home = self.guard.home(&self.tracking, run).await?;
        self.guard.check_experiment(Action::Write, home.experiment).await?;
        self.inner.link_to_run(ids, run).await
    }

    async fn assess(&self, id: &str, assessment: CreateAssessment) -> Result<Assessment> {
        self.check(Action::Write, id).await?;
        self.inner.assess(id, assessment).await
    }

    async fn assessment(&self, id: &str, assessment: &str) -> Result<Assessment> {
        self.check(Action::Read, id).await?;
        self.inner.assessment(id, assessment).await
    }

    async fn update_assessment(&self, id: &str, assessment: &str, update: AssessmentUpdate) -> Result<Assessment> {
        self.check(Action::Write, id).await?;
        self.inner.update_assessment(id, assessment, update).await
    }

    async fn delete_assessment(&self, id: &str, assessment: &str) -> Result<()> {
        self.check(Action::Write, id).await?;
        self.inner.delete_assessment(id, assessment).await
    }
}

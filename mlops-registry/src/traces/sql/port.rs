//! The port, call by call.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mlops_core::{Result, RunId};

use super::SqlTraceStore;
use crate::{
    ExperimentId,
    search::{Page, Search},
    traces::{
        Assessment, AssessmentUpdate, CreateAssessment, Span, TraceInfo, TraceSelection, TraceStore,
        otlp::ResourceSpans,
    },
};

#[async_trait]
impl TraceStore for SqlTraceStore {
    async fn start(&self, info: TraceInfo) -> Result<TraceInfo> {
        self.put_info(info).await
    }

    async fn add_spans(&self, experiment: ExperimentId, spans: Vec<ResourceSpans>) -> Result<Vec<String>> {
        self.put_spans(experiment, &spans).await
    }

    async fn traces(&self, ids: &[String]) -> Result<Vec<TraceInfo>> {
        self.infos(ids).await
    }

    async fn experiments_of(&self, ids: &[String]) -> Result<BTreeMap<String, ExperimentId>> {
        self.homes(ids).await
    }

    async fn spans(&self, ids: &[String]) -> Result<BTreeMap<String, Vec<Span>>> {
        self.spans_of(ids).await
    }

    async fn search(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<TraceInfo>> {
        self.find(experiments, search).await
    }

    async fn set_tags(&self, id: &str, tags: &[(String, String)]) -> Result<()> {
        self.tag(id, tags).await
    }

    async fn delete_tag(&self, id: &str, key: &str) -> Result<()> {
        self.untag(id, key).await
    }

    async fn delete(&self, experiment: ExperimentId, selection: &TraceSelection) -> Result<u64> {
        self.remove(experiment, selection).await
    }

    async fn link_to_run(&self, ids: &[String], run: &RunId) -> Result<()> {
        self.link(ids, run).await
    }

    async fn assess(&self, id: &str, assessment: CreateAssessment) -> Result<Assessment> {
        self.add_assessment(id, assessment).await
    }

    async fn assessment(&self, id: &str, assessment: &str) -> Result<Assessment> {
        self.assessment_of(id, assessment).await
    }

    async fn update_assessment(&self, id: &str, assessment: &str, update: AssessmentUpdate) -> Result<Assessment> {
        self.change_assessment(id, assessment, update).await
    }

    async fn delete_assessment(&self, id: &str, assessment: &str) -> Result<()> {
        self.remove_assessment(id, assessment).await
    }
}

//! The port, call by call.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mlops_core::Result;

use super::SqlEvaluationStore;
use crate::{
    ExperimentId,
    evaluation::{
        CreateEvaluationDataset, CreateIssue, EvaluationDataset, EvaluationRecord, EvaluationStore, Issue, IssueUpdate,
        PutRecord, RegisterScorer, Scorer, Upserted,
    },
    search::{Page, PageRequest, Search},
};

#[async_trait]
impl EvaluationStore for SqlEvaluationStore {
    async fn create(&self, dataset: CreateEvaluationDataset) -> Result<EvaluationDataset> {
        self.insert(dataset).await
    }

    async fn dataset(&self, id: &str) -> Result<EvaluationDataset> {
        self.find_one(id).await
    }

    async fn search(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<EvaluationDataset>> {
        self.find(experiments, search).await
    }

    async fn delete(&self, id: &str) -> Result<()> {
        self.remove(id).await
    }

    async fn set_tags(&self, id: &str, tags: &BTreeMap<String, Option<String>>) -> Result<EvaluationDataset> {
        self.tag(id, tags).await
    }

    async fn put_records(&self, id: &str, records: Vec<PutRecord>) -> Result<Upserted> {
        self.upsert(id, &records).await
    }

    async fn records(&self, id: &str, page: &PageRequest) -> Result<Page<EvaluationRecord>> {
        self.list(id, page).await
    }

    async fn delete_records(&self, id: &str, records: &[String]) -> Result<u64> {
        self.remove_records(id, records).await
    }

    async fn move_experiments(
        &self,
        id: &str,
        add: &[ExperimentId],
        remove: &[ExperimentId],
    ) -> Result<EvaluationDataset> {
        self.change_experiments(id, add, remove).await
    }

    async fn register_scorer(&self, scorer: RegisterScorer) -> Result<Scorer> {
        self.add_scorer(scorer).await
    }

    async fn scorers(&self, experiments: &[ExperimentId]) -> Result<Vec<Scorer>> {
        self.latest_scorers(experiments).await
    }

    async fn scorer_versions(&self, experiment: ExperimentId, name: &str) -> Result<Vec<Scorer>> {
        self.versions_of(experiment, name).await
    }

    async fn scorer(&self, experiment: ExperimentId, name: &str, version: Option<u64>) -> Result<Scorer> {
        self.one_scorer(experiment, name, version).await
    }

    async fn delete_scorer(&self, experiment: ExperimentId, name: &str, version: Option<u64>) -> Result<()> {
        self.remove_scorer(experiment, name, version).await
    }

    async fn create_issue(&self, issue: CreateIssue) -> Result<Issue> {
        self.add_issue(issue).await
    }

    async fn issue(&self, id: &str) -> Result<Issue> {
        self.one_issue(id).await
    }

    async fn update_issue(&self, id: &str, update: IssueUpdate) -> Result<Issue> {
        self.change_issue(id, update).await
    }

    async fn search_issues(&self, experiment: Option<ExperimentId>, search: &Search) -> Result<Page<Issue>> {
        self.find_issues(experiment, search).await
    }
}

//! A store of evaluation datasets, scorers and issues that asks first.
//!
//! Invariant: a dataset may be read by whoever may read one of its experiments, and changed by whoever may change all
//! of them; one that is in none is everybody's who may make experiments. A scorer and an issue are their experiment's.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Action, Resource, Result};

use super::guard::{Guard, experiment};
use crate::{
    CreateEvaluationDataset, EvaluationDataset, EvaluationRecord, EvaluationStore, ExperimentId, Page, PageRequest,
    Search,
    access::EVERY,
    evaluation::{CreateIssue, Issue, IssueUpdate, PutRecord, RegisterScorer, Scorer, Upserted},
};

#[derive(Debug)]
pub(in crate::mlflow) struct GuardedEvaluation {
    pub(in crate::mlflow) inner: Arc<dyn EvaluationStore>,
    pub(in crate::mlflow) guard: Arc<Guard>,
}

impl GuardedEvaluation {
    async fn allows(&self, action: Action, experiments: &[ExperimentId]) -> Result<bool> {
        if experiments.is_empty() {
            return self.guard.allows(Action::Write, &Resource::new("experiment", EVERY)).await;
        }
        for id in experiments {
            let allowed = self.guard.allows(action, &experiment(*id)).await?;
            if allowed == (action == Action::Read) {
                return Ok(allowed);
            }
        }
        Ok(action != Action::Read)
    }

    async fn check_all(&self, action: Action, experiments: &[ExperimentId]) -> Result<()> {
        match self.allows(action, experiments).await? {
            true => Ok(()),
            false => Err(self.guard.refusal(action, "a dataset")),
        }
    }

    async fn check(&self, action: Action, id: &str) -> Result<EvaluationDataset> {
        let found = self.inner.dataset(id).await?;
        self.check_all(action, &found.experiments).await?;
        Ok(found)
    }
}

#[async_trait]
impl EvaluationStore for GuardedEvaluation {
    async fn create(&self, dataset: CreateEvaluationDataset) -> Result<EvaluationDataset> {
        self.check_all(Action::Write, &dataset.experiments).await?;
        self.inner.create(dataset).await
    }

    async fn dataset(&self, id: &str) -> Result<EvaluationDataset> {
        self.check(Action::Read, id).await
    }

    /// Those of the page that may be read; a page may be shorter than asked for.
    async fn search(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<EvaluationDataset>> {
        let readable = self.guard.readable_experiments(experiments).await?;
        if readable.is_empty() && !experiments.is_empty() {
            return Ok(Page { items: Vec::new(), next_page_token: None });
        }
        let mut page = self.inner.search(&readable, search).await?;
        let mut kept = Vec::with_capacity(page.items.len());
        for dataset in page.items {
            if self.allows(Action::Read, &dataset.experiments).await? {
                kept.push(dataset);
            }
        }
        page.items = kept;
        Ok(page)
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let found = self.check(Action::Delete, id).await?;
        let mut resources: Vec<Resource> = found.experiments.into_iter().map(experiment).collect();
        if resources.is_empty() {
            resources.push(Resource::new("dataset", id));
        }
        for resource in resources {
            let details = [("call", "datasets/delete".to_owned()), ("dataset_id", id.to_owned())];
            self.guard.record(Action::Delete, resource, details).await?;
        }
        self.inner.delete(id).await
    }

    async fn set_tags(&self, id: &str, tags: &BTreeMap<String, Option<String>>) -> Result<EvaluationDataset> {
        self.check(Action::Write, id).await?;
        self.inner.set_tags(id, tags).await
    }

    async fn put_records(&self, id: &str, records: Vec<PutRecord>) -> Result<Upserted> {
        self.check(Action::Write, id).await?;
        self.inner.put_records(id, records).await
    }

    async fn records(&self, id: &str, page: &PageRequest) -> Result<Page<EvaluationRecord>> {
        self.check(Action::Read, id).await?;
        self.inner.records(id, page).await
    }

    async fn delete_records(&self, id: &str, records: &[String]) -> Result<u64> {
        self.check(Action::Write, id).await?;
        self.inner.delete_records(id, records).await
    }

    async fn move_experiments(
        &self,
        id: &str,
        add: &[ExperimentId],
        remove: &[ExperimentId],
    ) -> Result<EvaluationDataset> {
        self.check(Action::Write, id).await?;
        for of in add {
            self.guard.check_experiment(Action::Write, *of).await?;
        }
        self.inner.move_experiments(id, add, remove).await
    }

    async fn register_scorer(&self, scorer: RegisterScorer) -> Result<Scorer> {
        self.guard.check_experiment(Action::Write, scorer.experiment).await?;
        self.inner.register_scorer(scorer).await
    }

    async fn scorers(&self, experiments: &[ExperimentId]) -> Result<Vec<Scorer>> {
        let mut readable = Vec::new();
        for scorer in self.inner.scorers(experiments).await? {
            if self.guard.allows(Action::Read, &experiment(scorer.experiment)).await? {
                readable.push(scorer);
            }
        }
        Ok(readable)
    }

    async fn scorer_versions(&self, of: ExperimentId, name: &str) -> Result<Vec<Scorer>> {
        self.guard.check_experiment(Action::Read, of).await?;
        self.inner.scorer_versions(of, name).await
    }

    async fn scorer(&self, of: ExperimentId, name: &str, version: Option<u64>) -> Result<Scorer> {
        self.guard.check_experiment(Action::Read, of).await?;
        self.inner.scorer(of, name, version).await
    }

    async fn delete_scorer(&self, of: ExperimentId, name: &str, version: Option<u64>) -> Result<()> {
        self.guard.check_experiment(Action::Delete, of).await?;
        let details = [("call", "scorers/delete".to_owned()), ("scorer", name.to_owned())];
        self.guard.record(Action::Delete, experiment(of), details).await?;
        self.inner.delete_scorer(of, name, version).await
    }

    async fn create_issue(&self, issue: CreateIssue) -> Result<Issue> {
        self.guard.check_experiment(Action::Write, issue.experiment).await?;
        self.inner.create_issue(issue).await
    }

    async fn issue(&self, id: &str) -> Result<Issue> {
        let found = self.inner.issue(id).await?;
        self.guard.check_experiment(Action::Read, found.content.experiment).await?;
        Ok(found)
    }

    async fn update_issue(&self, id: &str, update: IssueUpdate) -> Result<Issue> {
        let found = self.inner.issue(id).await?;
        self.guard.check_experiment(Action::Write, found.content.experiment).await?;
        self.inner.update_issue(id, update).await
    }

    async fn search_issues(&self, of: Option<ExperimentId>, search: &Search) -> Result<Page<Issue>> {
        if let Some(of) = of {
            self.guard.check_experiment(Action::Read, of).await?;
            return self.inner.search_issues(Some(of), search).await;
        }
        let next = async |page| self.inner.search_issues(None, &Search { page, ..search.clone() }).await;
        self.guard.readable(&search.page, |issue: &Issue| experiment(issue.content.experiment), next).await
    }
}

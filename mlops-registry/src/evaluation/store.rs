//! The port behind which evaluation datasets, scorers and issues are kept.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::Result;

use super::{
    CreateEvaluationDataset, CreateIssue, EvaluationDataset, EvaluationRecord, Issue, IssueUpdate, PutRecord,
    RegisterScorer, Scorer, Upserted,
};
use crate::{
    ExperimentId,
    search::{Page, PageRequest, Search},
};

/// Keeps evaluation datasets, scorers and issues. Every write is durable when it returns and either happens whole or
/// not at all.
///
/// The store knows no experiments; that they exist is for the caller to check. Errors common to all calls:
/// `Unavailable` when the store cannot be reached, `NotFound` for a dataset, scorer or issue that does not exist.
#[async_trait]
pub trait EvaluationStore: fmt::Debug + Send + Sync + 'static {
    /// Creates a dataset without records.
    ///
    /// # Errors
    /// `InvalidArgument` as [`CreateEvaluationDataset::check`].
    async fn create(&self, dataset: CreateEvaluationDataset) -> Result<EvaluationDataset>;

    /// One dataset.
    ///
    /// # Errors
    /// Only the common ones.
    async fn dataset(&self, id: &str) -> Result<EvaluationDataset>;

    /// Datasets that match and belong to one of the experiments, newest first unless ordered otherwise; without
    /// experiments, of any.
    ///
    /// # Errors
    /// `InvalidArgument` pointing at the place in the filter or order that is wrong.
    async fn search(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<EvaluationDataset>>;

    /// Deletes a dataset and its records for good. Deleting one that does not exist changes nothing.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete(&self, id: &str) -> Result<()>;

    /// Sets tags, and removes those whose value is none; removing one that is absent changes nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for a tag over a limit.
    async fn set_tags(&self, id: &str, tags: &BTreeMap<String, Option<String>>) -> Result<EvaluationDataset>;

    /// Puts records: new inputs make a new one, known ones add to theirs.
    ///
    /// # Errors
    /// `InvalidArgument` for more than 10,000 records, or tags over a limit.
    async fn put_records(&self, id: &str, records: Vec<PutRecord>) -> Result<Upserted>;

    /// Records in the order in which they were put first.
    ///
    /// # Errors
    /// `InvalidArgument` for a page token that is not ours.
    async fn records(&self, id: &str, page: &PageRequest) -> Result<Page<EvaluationRecord>>;

    /// Deletes records; how many.
    ///
    /// # Errors
    /// `InvalidArgument` for more than 10,000 ids.
    async fn delete_records(&self, id: &str, records: &[String]) -> Result<u64>;

    /// Adds the dataset to some experiments and takes it out of others.
    ///
    /// # Errors
    /// Only the common ones.
    async fn move_experiments(
        &self,
        id: &str,
        add: &[ExperimentId],
        remove: &[ExperimentId],
    ) -> Result<EvaluationDataset>;

    /// Registers a scorer, or the next version of one whose name the experiment has.
    ///
    /// # Errors
    /// `InvalidArgument` as [`RegisterScorer::check`].
    async fn register_scorer(&self, scorer: RegisterScorer) -> Result<Scorer>;

    /// The newest version of each scorer of the experiments, by experiment and name; without experiments, of any.
    ///
    /// # Errors
    /// `ResourceExhausted` for more than 10,000.
    async fn scorers(&self, experiments: &[ExperimentId]) -> Result<Vec<Scorer>>;

    /// The versions of a scorer, oldest first.
    ///
    /// # Errors
    /// `ResourceExhausted` for more than 10,000.
    async fn scorer_versions(&self, experiment: ExperimentId, name: &str) -> Result<Vec<Scorer>>;

    /// A version of a scorer; the newest unless one is named.
    ///
    /// # Errors
    /// Only the common ones.
    async fn scorer(&self, experiment: ExperimentId, name: &str, version: Option<u64>) -> Result<Scorer>;

    /// Deletes a version of a scorer for good; all of them unless one is named.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_scorer(&self, experiment: ExperimentId, name: &str, version: Option<u64>) -> Result<()>;

    /// Records an issue.
    ///
    /// # Errors
    /// `InvalidArgument` as [`CreateIssue::check`].
    async fn create_issue(&self, issue: CreateIssue) -> Result<Issue>;

    /// One issue.
    ///
    /// # Errors
    /// Only the common ones.
    async fn issue(&self, id: &str) -> Result<Issue>;

    /// Changes an issue.
    ///
    /// # Errors
    /// `InvalidArgument` for a field over a limit.
    async fn update_issue(&self, id: &str, update: IssueUpdate) -> Result<Issue>;

    /// Issues that match, of one experiment or of any: the worst first, and the newest of those.
    ///
    /// # Errors
    /// `InvalidArgument` pointing at the place in the filter that is wrong; it may name `status` and `source_run_id`.
    async fn search_issues(&self, experiment: Option<ExperimentId>, search: &Search) -> Result<Page<Issue>>;
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl<T: EvaluationStore + ?Sized> EvaluationStore for Arc<T> {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                (**self).$name($($arg),*).await
            })*
        }
    };
}

forward! {
    create(dataset: CreateEvaluationDataset) -> EvaluationDataset;
    dataset(id: &str) -> EvaluationDataset;
    search(experiments: &[ExperimentId], search: &Search) -> Page<EvaluationDataset>;
    delete(id: &str) -> ();
    set_tags(id: &str, tags: &BTreeMap<String, Option<String>>) -> EvaluationDataset;
    put_records(id: &str, records: Vec<PutRecord>) -> Upserted;
    records(id: &str, page: &PageRequest) -> Page<EvaluationRecord>;
    delete_records(id: &str, records: &[String]) -> u64;
    move_experiments(id: &str, add: &[ExperimentId], remove: &[ExperimentId]) -> EvaluationDataset;
    register_scorer(scorer: RegisterScorer) -> Scorer;
    scorers(experiments: &[ExperimentId]) -> Vec<Scorer>;
    scorer_versions(experiment: ExperimentId, name: &str) -> Vec<Scorer>;
    scorer(experiment: ExperimentId, name: &str, version: Option<u64>) -> Scorer;
    delete_scorer(experiment: ExperimentId, name: &str, version: Option<u64>) -> ();
    create_issue(issue: CreateIssue) -> Issue;
    issue(id: &str) -> Issue;
    update_issue(id: &str, update: IssueUpdate) -> Issue;
    search_issues(experiment: Option<ExperimentId>, search: &Search) -> Page<Issue>;
}

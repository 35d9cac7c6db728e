//! The port behind which experiments and runs are kept.

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Error, ErrorKind, Metric, Result, RunId};

use super::{
    record::{
        Batch, CreateExperiment, CreateRun, DatasetInput, Experiment, ExperimentId, RunHome, RunRecord, RunUpdate,
    },
    sample::{self, HistorySample, Paged},
};
use crate::{
    limits::{RUN_TAG_VALUE_MAX, SEARCH_EXPERIMENTS_MAX},
    search::{Columns, Page, PageRequest, RESULTS_MAX, Search, SearchColumns, View},
};

/// Keeps experiments and runs. Every write is durable when it returns and either happens whole or
/// not at all.
///
/// Errors common to all calls: `Unavailable` when the store cannot be reached. Writes to a run
/// that is deleted are `FailedPrecondition`, whatever names a run or experiment that does not
/// exist is `NotFound`.
#[async_trait]
pub trait TrackingStore: fmt::Debug + Send + Sync + 'static {
    /// Creates an experiment and gives its number.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, also by a deleted experiment; `InvalidArgument`
    /// when name, location or a tag exceeds [`crate::limits`].
    async fn create_experiment(&self, name: &str, options: CreateExperiment) -> Result<ExperimentId>;

    /// An experiment, deleted or not.
    ///
    /// # Errors
    /// `NotFound`.
    async fn experiment(&self, id: ExperimentId) -> Result<Experiment>;

    /// The experiment of that name, deleted or not; none when there is none.
    ///
    /// # Errors
    /// Only the common ones.
    async fn experiment_by_name(&self, name: &str) -> Result<Option<Experiment>>;

    /// Experiments that match, newest first unless ordered otherwise.
    ///
    /// # Errors
    /// `InvalidArgument` pointing at the place in the filter or order that is wrong.
    async fn search_experiments(&self, search: &Search) -> Result<Page<Experiment>>;

    /// Renames an active experiment.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, `FailedPrecondition` when it is deleted.
    async fn rename_experiment(&self, id: ExperimentId, name: &str) -> Result<()>;

    /// Marks an active experiment and all its runs as deleted.
    ///
    /// # Errors
    /// `NotFound` when there is no active experiment of that number.
    async fn delete_experiment(&self, id: ExperimentId) -> Result<()>;

    /// Undoes [`TrackingStore::delete_experiment`]; all its runs become active.
    ///
    /// # Errors
    /// `NotFound` when there is no deleted experiment of that number.
    async fn restore_experiment(&self, id: ExperimentId) -> Result<()>;

    /// Sets tags of an active experiment; a later value replaces an earlier one.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is deleted, `InvalidArgument` when over a limit.
    async fn set_experiment_tags(&self, id: ExperimentId, tags: &[(String, String)]) -> Result<()>;

    /// Removes a tag of an active experiment.
    ///
    /// # Errors
    /// `NotFound` when it has no such tag, `FailedPrecondition` when it is deleted.
    async fn delete_experiment_tag(&self, id: ExperimentId, key: &str) -> Result<()>;

    /// Creates a run with status `RUNNING`.
    ///
    /// # Errors
    /// `FailedPrecondition` when the experiment is deleted, `InvalidArgument` when name and name
    /// tag disagree or a tag is not acceptable.
    async fn create_run(&self, run: CreateRun) -> Result<RunRecord>;

    /// A run, deleted or not.
    ///
    /// # Errors
    /// `NotFound`.
    async fn run(&self, id: &RunId) -> Result<RunRecord>;

    /// Where runs belong, deleted or not, in any order. An id that no run has is left out.
    ///
    /// # Errors
    /// Only the common ones.
    async fn homes(&self, ids: &[RunId]) -> Result<Vec<RunHome>> {
        let mut found = Vec::new();
        for id in ids {
            match self.run(id).await {
                Ok(run) => found.push(RunHome::from(&run)),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Runs of the given experiments that match, newest start first unless ordered otherwise. A store may keep them too.
    ///
    /// # Errors
    /// `InvalidArgument` pointing at the place in the filter or order that is wrong.
    async fn search_runs(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<Arc<RunRecord>>>;

    /// How many runs of the given experiments match, whatever the page; the order plays no part.
    ///
    /// # Errors
    /// As [`TrackingStore::search_runs`].
    async fn count_runs(&self, experiments: &[ExperimentId], search: &Search) -> Result<u64> {
        let (none, mut count) = (Columns::Only(BTreeSet::new()), 0);
        let columns = SearchColumns { metrics: none.clone(), params: none.clone(), tags: none };
        let page = PageRequest { max_results: Some(RESULTS_MAX), token: None };
        let mut search = Search { page, columns, order_by: Vec::new(), ..search.clone() };
        loop {
            let found = self.search_runs(experiments, &search).await?;
            count += found.items.len() as u64;
            match found.next_page_token {
                Some(token) => search.page.token = Some(token),
                None => return Ok(count),
            }
        }
    }

    /// Changes status, end or name.
    ///
    /// # Errors
    /// Only the common ones.
    async fn update_run(&self, id: &RunId, update: RunUpdate) -> Result<RunRecord>;

    /// Marks a run as deleted; repeating it changes nothing.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_run(&self, id: &RunId) -> Result<()>;

    /// Undoes [`TrackingStore::delete_run`]; repeating it changes nothing.
    ///
    /// # Errors
    /// `NotFound`.
    async fn restore_run(&self, id: &RunId) -> Result<()>;

    /// Writes metrics, params and tags, all or none. Repeating a batch changes nothing: a metric
    /// point is identified by (key, timestamp, step, value). Values of params and tags over
    /// [`crate::limits`] are cut. Finished runs still take values.
    ///
    /// # Errors
    /// `NotFound` also when a point tells about a logged model that does not exist.
    /// `InvalidArgument` when a param has another value already, appears twice, a key is not
    /// acceptable, a timestamp is negative or the batch is too large.
    async fn log_batch(&self, id: &RunId, batch: &Batch) -> Result<()>;

    /// Removes a tag.
    ///
    /// # Errors
    /// `NotFound` when the run has no such tag.
    async fn delete_run_tag(&self, id: &RunId, key: &str) -> Result<()>;

    /// Appends an item to a tag that holds a list in JSON; the oldest items go when the tag is full, and what is no list
    /// counts as empty. Default: it reads, then writes, so an item that another appends in between is lost.
    /// [`SqlTrackingStore`](super::SqlTrackingStore) appends in one transaction and loses none.
    ///
    /// # Errors
    /// `InvalidArgument` when the item alone is too long for a tag or the key is not acceptable, `NotFound` when there is no
    /// such run, `FailedPrecondition` when it is deleted.
    async fn append_run_tag(&self, id: &RunId, key: &str, item: &serde_json::Value) -> Result<()> {
        let record = self.run(id).await?;
        let list = appended(record.tags.get(key).map(String::as_str), item)?;
        self.log_batch(id, &Batch { tags: vec![(key.to_owned(), list)], ..Batch::default() }).await
    }

    /// Every point of one metric by (timestamp, step, value); empty when run or metric are
    /// unknown.
    ///
    /// # Errors
    /// `InvalidArgument` for a page token that is not ours.
    async fn metric_history(&self, id: &RunId, key: &str, page: &PageRequest) -> Result<Page<Metric>>;

    /// A bounded number of points of one metric of each of several runs, by (step, timestamp, value), evenly chosen
    /// among its points: with the first and the last, or the last alone where one is asked for. A run that is unknown or
    /// lacks the metric has no points.
    ///
    /// # Errors
    /// `InvalidArgument` when there are too many runs or the sample asks for no points or for steps that end before they
    /// begin.
    async fn metric_history_sampled(
        &self,
        runs: &[RunId],
        sample: &HistorySample,
    ) -> Result<Vec<(RunId, Vec<Metric>)>> {
        sample::sampled(&Paged(self), runs, sample).await
    }

    /// At most so many points of one metric as the sample says that look like all of them, by step; see
    /// [`super::downsample`]. Values that are not finite are left out. Where one is asked for, it is the last.
    ///
    /// # Errors
    /// As [`TrackingStore::metric_history_sampled`].
    async fn metric_chart(&self, id: &RunId, sample: &HistorySample) -> Result<Vec<Metric>> {
        sample::chart(&Paged(self), id, sample).await
    }

    /// Links datasets to a run; linking one again changes nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when there are more than [`crate::limits::BATCH_DATASETS_MAX`], a name or digest is empty, or
    /// something is over its limit.
    async fn log_inputs(&self, id: &RunId, inputs: &[DatasetInput]) -> Result<()>;
}

/// A list in JSON with one item more, its oldest items left out where it would be longer than a tag.
pub(crate) fn appended(list: Option<&str>, item: &serde_json::Value) -> Result<String> {
    let mut items: Vec<serde_json::Value> = list.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default();
    items.push(item.clone());
    loop {
        let text = serde_json::Value::from(items.as_slice()).to_string();
        if text.chars().count() <= RUN_TAG_VALUE_MAX {
            return Ok(text);
        }
        if items.len() == 1 {
            // Cut in the middle it would be no JSON.
            return Err(Error::invalid_argument(format!(
                "an item of a list in a tag has {} characters; at most {RUN_TAG_VALUE_MAX} are allowed",
                text.chars().count()
            )));
        }
        items.remove(0);
    }
}

/// Hands all calls of [`TrackingStore`] to the macro `$callback`: those that write to a run on which [`super::tail`] tells,
/// and all others.
macro_rules! tracking_calls {
    ($callback:ident) => {
        $callback! {
            told {
                update_run(id: &RunId, update: RunUpdate) -> RunRecord;
                delete_run(id: &RunId) -> ();
                log_batch(id: &RunId, batch: &Batch) -> ();
                delete_run_tag(id: &RunId, key: &str) -> ();
                append_run_tag(id: &RunId, key: &str, item: &serde_json::Value) -> ();
            }
            others {
                create_experiment(name: &str, options: CreateExperiment) -> ExperimentId;
                experiment(id: ExperimentId) -> Experiment;
                experiment_by_name(name: &str) -> Option<Experiment>;
                search_experiments(search: &Search) -> Page<Experiment>;
                rename_experiment(id: ExperimentId, name: &str) -> ();
                delete_experiment(id: ExperimentId) -> ();
                restore_experiment(id: ExperimentId) -> ();
                set_experiment_tags(id: ExperimentId, tags: &[(String, String)]) -> ();
                delete_experiment_tag(id: ExperimentId, key: &str) -> ();
                create_run(run: CreateRun) -> RunRecord;
                run(id: &RunId) -> RunRecord;
                homes(ids: &[RunId]) -> Vec<RunHome>;
                search_runs(experiments: &[ExperimentId], search: &Search) -> Page<std::sync::Arc<RunRecord>>;
                count_runs(experiments: &[ExperimentId], search: &Search) -> u64;
                restore_run(id: &RunId) -> ();
                metric_history(id: &RunId, key: &str, page: &PageRequest) -> Page<Metric>;
                metric_history_sampled(runs: &[RunId], sample: &HistorySample) -> Vec<(RunId, Vec<Metric>)>;
                metric_chart(id: &RunId, sample: &HistorySample) -> Vec<Metric>;
                log_inputs(id: &RunId, inputs: &[DatasetInput]) -> ();
            }
        }
    };
}
pub(super) use tracking_calls;

macro_rules! forward {
    ($($group:ident { $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)* })*) => {
        #[async_trait]
        impl<T: TrackingStore + ?Sized> TrackingStore for Arc<T> {
            $($(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                (**self).$name($($arg),*).await
            })*)*
        }
    };
}

tracking_calls!(forward);

/// Conveniences over [`TrackingStore`].
#[async_trait]
pub trait TrackingStoreExt: TrackingStore {
    /// The number of the experiment of that name, created when absent.
    ///
    /// # Errors
    /// As [`TrackingStore::create_experiment`]; `FailedPrecondition` when it is deleted.
    async fn ensure_experiment(&self, name: &str) -> Result<ExperimentId> {
        for _ in 0..2 {
            if let Some(experiment) = self.experiment_by_name(name).await? {
                if experiment.deleted {
                    return Err(Error::failed_precondition(format!(
                        "experiment {name:?} is deleted; restore it or choose another name"
                    )));
                }
                return Ok(experiment.id);
            }
            match self.create_experiment(name, CreateExperiment::default()).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                outcome => return outcome,
            }
        }
        Err(Error::conflict(format!("experiment {name:?} is created and renamed by others; try again")))
    }

    /// Sets params; see [`TrackingStore::log_batch`].
    ///
    /// # Errors
    /// As [`TrackingStore::log_batch`].
    async fn log_params(&self, id: &RunId, params: &[(String, String)]) -> Result<()> {
        self.log_batch(id, &Batch { params: params.to_vec(), ..Batch::default() }).await
    }

    /// Sets tags; see [`TrackingStore::log_batch`].
    ///
    /// # Errors
    /// As [`TrackingStore::log_batch`].
    async fn set_run_tags(&self, id: &RunId, tags: &[(String, String)]) -> Result<()> {
        self.log_batch(id, &Batch { tags: tags.to_vec(), ..Batch::default() }).await
    }
}

impl<T: TrackingStore + ?Sized> TrackingStoreExt for T {}

/// A run, deleted or not, that has a tag with a value, in which there is no quote.
pub(crate) async fn run_tagged(
    store: &dyn TrackingStore,
    experiments: &[ExperimentId],
    tag: &str,
    value: &str,
) -> Result<Option<Arc<RunRecord>>> {
    let filter = format!("tags.`{tag}` = '{value}'");
    let search = Search::new().with_filter(filter).with_view(View::All).with_max_results(1);
    for experiments in experiments.chunks(SEARCH_EXPERIMENTS_MAX) {
        let found = store.search_runs(experiments, &search).await?.items;
        if !found.is_empty() {
            return Ok(found.into_iter().next());
        }
    }
    Ok(None)
}

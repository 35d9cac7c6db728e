//! The tracking store in front: every call goes on to the store behind, and what it wrote is told.

use async_trait::async_trait;
use mlops_core::{Metric, Result, RunId};

use super::{LiveTail, RunChange};
use crate::{
    search::{Page, PageRequest, Search},
    tracking::{
        Batch, CreateExperiment, CreateRun, DatasetInput, Experiment, ExperimentId, RunHome, RunRecord, RunUpdate,
        TrackingStore, sample::HistorySample,
    },
};

macro_rules! live_tail {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl TrackingStore for LiveTail {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                self.shared.store.$name($($arg),*).await
            })*

            async fn update_run(&self, id: &RunId, update: RunUpdate) -> Result<RunRecord> {
                let change = RunChange::of_update(&update);
                let record = self.shared.store.update_run(id, update).await?;
                self.shared.tell(id, || change);
                Ok(record)
            }

            async fn delete_run(&self, id: &RunId) -> Result<()> {
                self.shared.store.delete_run(id).await?;
                self.shared.tell(id, || RunChange { deleted: true, ..RunChange::default() });
                Ok(())
            }

            async fn log_batch(&self, id: &RunId, batch: &Batch) -> Result<()> {
                self.shared.store.log_batch(id, batch).await?;
                self.shared.tell(id, || RunChange::from(batch));
                Ok(())
            }

            async fn delete_run_tag(&self, id: &RunId, key: &str) -> Result<()> {
                self.shared.store.delete_run_tag(id, key).await?;
                self.shared.tell(id, || RunChange { removed_tags: vec![key.to_owned()], ..RunChange::default() });
                Ok(())
            }
        }
    };
}

live_tail! {
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
    search_runs(experiments: &[ExperimentId], search: &Search) -> Page<RunRecord>;
    count_runs(experiments: &[ExperimentId], search: &Search) -> u64;
    restore_run(id: &RunId) -> ();
    metric_history(id: &RunId, key: &str, page: &PageRequest) -> Page<Metric>;
    metric_history_sampled(runs: &[RunId], sample: &HistorySample) -> Vec<(RunId, Vec<Metric>)>;
    metric_chart(id: &RunId, sample: &HistorySample) -> Vec<Metric>;
    log_inputs(id: &RunId, inputs: &[DatasetInput]) -> ();
}

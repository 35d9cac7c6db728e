//! The tracking store in front: every call goes on to the store behind, and what it wrote is told.

use async_trait::async_trait;
use mlops_core::{Metric, Result, RunId};

use super::{LiveTail, RunChange};
use crate::{
    search::{Page, PageRequest, Search},
    tracking::{
        Batch, CreateExperiment, CreateRun, DatasetInput, Experiment, ExperimentId, RunHome, RunRecord, RunUpdate,
        TrackingStore, sample::HistorySample, store::tracking_calls,
    },
};

macro_rules! live_tail {
    (told { $($told:tt)* } others { $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)* }) => {
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

            async fn append_run_tag(&self, id: &RunId, key: &str, item: &serde_json::Value) -> Result<()> {
                self.shared.store.append_run_tag(id, key, item).await?;
                // The item is appended, whether or not the list can be read: those who watch find it when they look next.
                if self.shared.is_watched(id)
                    && let Ok(record) = self.shared.store.run(id).await
                    && let Some(list) = record.tags.get(key)
                {
                    let tags = vec![(key.to_owned(), list.clone())];
                    self.shared.tell(id, || RunChange { tags, ..RunChange::default() });
                }
                Ok(())
            }
        }
    };
}

tracking_calls!(live_tail);

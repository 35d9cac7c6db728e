//! Where rollouts are kept, so that a restart goes on where the last process stood.

pub mod conformance;
mod file;
mod memory;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{ModelName, Result};

use super::Rollout;

pub use file::FileRolloutStore;
pub use memory::MemoryRolloutStore;

/// Keeps the rollout of each model. The server writes it before it moves traffic.
///
/// One server writes; several that share a store must not roll out the same model.
#[async_trait]
pub trait RolloutStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps `rollout` in place of the one of its model. Durable when it returns, and all or nothing: whoever dies within
    /// leaves the old or the new one. Repeating it changes nothing.
    ///
    /// # Errors
    /// When it may not have been kept; the old or the new one then is.
    async fn save(&self, rollout: &Rollout) -> Result<()>;

    /// The rollouts that are kept, in order of the models' names.
    ///
    /// # Errors
    /// `DataLoss` when one cannot be read; `Unavailable` when the store cannot be reached.
    async fn list(&self) -> Result<Vec<Rollout>>;

    /// The same, each by itself, so that one that cannot be read does not hide the others.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be reached.
    async fn list_each(&self) -> Result<Vec<Result<Rollout>>> {
        Ok(self.list().await?.into_iter().map(Ok).collect())
    }

    /// Forgets the rollout of a model; nothing happens when there is none. Durable when it returns.
    ///
    /// # Errors
    /// When it could not be forgotten.
    async fn remove(&self, model: &ModelName) -> Result<()>;
}

#[async_trait]
impl<T: RolloutStore + ?Sized> RolloutStore for Arc<T> {
    async fn save(&self, rollout: &Rollout) -> Result<()> {
        (**self).save(rollout).await
    }
    async fn list(&self) -> Result<Vec<Rollout>> {
        (**self).list().await
    }
    async fn list_each(&self) -> Result<Vec<Result<Rollout>>> {
        (**self).list_each().await
    }
    async fn remove(&self, model: &ModelName) -> Result<()> {
        (**self).remove(model).await
    }
}

#[cfg(test)]
mod tests {
    use super::{conformance::rollout, *};

    #[tokio::test]
    async fn memory() {
        conformance::rollout_store(async || MemoryRolloutStore::default()).await;
    }

    #[tokio::test]
    async fn files() {
        let folder = tempfile::tempdir().unwrap();
        let opened = std::sync::atomic::AtomicUsize::new(0);
        conformance::rollout_store(async || {
            let number = opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            FileRolloutStore::open(folder.path().join(number.to_string())).unwrap()
        })
        .await;
        let long = rollout(&"x".repeat(250));
        let store = FileRolloutStore::open(folder.path().join("rollouts")).unwrap();
        store.save(&long).await.unwrap();
        let reopened = FileRolloutStore::open(folder.path().join("rollouts")).unwrap();
        assert!(reopened.list().await.unwrap().contains(&long));
    }

    #[tokio::test]
    async fn a_damaged_or_foreign_file_is_told_and_a_torn_write_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileRolloutStore::open(folder.path()).unwrap();
        store.save(&rollout("a")).await.unwrap();
        std::fs::write(folder.path().join("b.json.tmp"), "{\"form").unwrap();
        assert_eq!(store.list().await.unwrap(), [rollout("a")]);
        std::fs::write(folder.path().join("b.json"), "{\"form").unwrap();
        let error = store.list().await.unwrap_err();
        assert_eq!(error.kind(), mlops_core::ErrorKind::DataLoss);
        let each = store.list_each().await.unwrap();
        assert_eq!(each.iter().flatten().collect::<Vec<_>>(), [&rollout("a")]);
        assert_eq!(each.len(), 2);
        std::fs::write(folder.path().join("b.json"), "{\"format\": 99, \"rollout\": {}}").unwrap();
        assert!(store.list().await.unwrap_err().message().contains("format 99"));
    }

    /// The format of 2026-11, written out: what was stored by it must be read for good.
    #[tokio::test]
    async fn what_an_earlier_release_stored_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let stored = r#"{"format":1,"rollout":{"model":"a","champion":1,"candidates":[2],"settings":{"strategy":{"kind":"canary",
            "steps":[0.1,1.0],"mirror":0.0},"guardrails":[{"kind":"errors","margin":0.01},{"kind":"kpi","name":"sales",
            "direction":"maximize","margin":0.5}]},"phase":{"phase":"paused","stage":0,"reason":"night"},
            "allocation":[[0,1],[1000,0]],"stage_began":7,"baseline":{"requests":3,"errors":1,"slow":0,"latency_us_sum":9},
            "seen":{"champion":{"requests":1,"errors":0,"slow":0,"latency_us_sum":5,"kpis":{"sales":{"n":1,"mean":2.0,
            "squares":0.0}}},"candidates":[]}}}"#;
        std::fs::write(folder.path().join("a.json"), stored).unwrap();
        let read = FileRolloutStore::open(folder.path()).unwrap().list().await.unwrap().remove(0);
        assert_eq!((read.state_name(), read.weight(), read.seen.champion.kpi("sales").mean), ("paused", 0.1, 2.0));
        assert_eq!((read.baseline.errors, read.settings.min_requests), (1, 500));
    }
}

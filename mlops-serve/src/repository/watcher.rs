//! A background task that does one thing again and again: synchronises a repository, steps rollouts.
//!
//! The holder of the [`Watcher`] owns the task: dropping the watcher ends it, `stop` ends it and tells how it
//! went.

use std::{sync::Arc, time::Duration};

use mlops_core::{Error, Result};
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};

use super::ModelRepository;

/// The owner of a running background task.
#[derive(Debug)]
pub struct Watcher {
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl ModelRepository {
    /// Calls [`ModelRepository::sync`] every `period`, the first time at once. Failures are logged and shown in
    /// the index.
    #[must_use = "dropping the watcher stops it"]
    pub fn watch(self: &Arc<Self>, period: Duration) -> Watcher {
        let repository = Arc::clone(self);
        Watcher::every(period, move || {
            let repository = Arc::clone(&repository);
            async move { drop(repository.sync().await) }
        })
    }
}

impl Watcher {
    /// Does `work` every `period`, the first time at once.
    pub(crate) fn every<F>(period: Duration, mut work: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(period.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = stopped.changed() => return,
                    _ = ticks.tick() => work().await,
                }
            }
        });
        Self { stop, task: Some(task) }
    }

    /// Whether the task is still at work.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// Ends the task after the work in progress.
    ///
    /// # Errors
    /// `Internal` when the task died of a panic.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        match self.task.take() {
            Some(task) => task.await.map_err(|error| Error::internal("the watcher died").with_source(error)),
            None => Ok(()),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

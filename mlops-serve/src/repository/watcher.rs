//! A background task that synchronises a repository again and again.
//!
//! The holder of the [`Watcher`] owns the task: dropping the watcher ends it, `stop` ends it and tells how it
//! went.

use std::{sync::Arc, time::Duration};

use mlops_core::{Error, Result};
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};

use super::ModelRepository;

/// The owner of a running synchronisation task.
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
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(period.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = stopped.changed() => return,
                    _ = ticks.tick() => drop(repository.sync().await),
                }
            }
        });
        Watcher { stop, task: Some(task) }
    }
}

impl Watcher {
    /// Whether the task is still at work.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// Ends the task after the synchronisation in progress.
    ///
    /// # Errors
    /// `Internal` when the task died of a panic.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        match self.task.take() {
            Some(task) => task.await.map_err(|error| Error::internal("the repository watcher died").with_source(error)),
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

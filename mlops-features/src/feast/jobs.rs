//! Work that goes on after its request was answered, and which views it is about.
//!
//! Invariant: a view is reserved from before the answer until its work ends, however it ends. Dropping the server stops
//! the work; a materialization that is stopped continues at the next one.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mlops_core::{Error, Result};
use tokio::task::JoinSet;

/// Background work of one server.
#[derive(Debug)]
pub(super) struct Jobs {
    running: Mutex<Running>,
    /// How many jobs each view is reserved by.
    reserved: Arc<Mutex<BTreeMap<String, usize>>>,
    jobs_max: usize,
}

#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<()>,
    closed: bool,
}

/// Views that a job works on, released when it is dropped.
#[derive(Debug)]
struct Reservation {
    reserved: Arc<Mutex<BTreeMap<String, usize>>>,
    views: Vec<String>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        for view in &self.views {
            if let Some(count) = reserved.get_mut(view) {
                *count -= 1;
            }
        }
        reserved.retain(|_, count| *count > 0);
    }
}

impl Jobs {
    pub(super) fn new(jobs_max: usize) -> Self {
        Self { running: Mutex::default(), reserved: Arc::default(), jobs_max }
    }

    /// Starts `work` on `views`; with `force` even when another job is on one of them. Gives the views that other jobs
    /// are on when they are in the way.
    ///
    /// # Errors
    /// `ResourceExhausted` when too many jobs run, `Unavailable` after [`Jobs::close`].
    pub(super) fn start(
        &self,
        views: &[String],
        force: bool,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<std::result::Result<(), Vec<String>>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.closed {
            return Err(Error::unavailable("the feature server is shutting down"));
        }
        while running.tasks.try_join_next().is_some() {}
        if running.tasks.len() >= self.jobs_max {
            let message = format!("{} materializations run already, as many as are allowed; wait", self.jobs_max);
            return Err(Error::resource_exhausted(message));
        }
        let reservation = match self.reserve(views, force) {
            Ok(reservation) => reservation,
            Err(busy) => return Ok(Err(busy)),
        };
        running.tasks.spawn(async move {
            work.await;
            drop(reservation);
        });
        Ok(Ok(()))
    }

    fn reserve(&self, views: &[String], force: bool) -> std::result::Result<Reservation, Vec<String>> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let busy: Vec<String> = views.iter().filter(|view| reserved.contains_key(*view)).cloned().collect();
        if !busy.is_empty() && !force {
            return Err(busy);
        }
        for view in views {
            *reserved.entry(view.clone()).or_default() += 1;
        }
        Ok(Reservation { reserved: Arc::clone(&self.reserved), views: views.to_vec() })
    }

    /// Starts nothing more and waits for what runs; stops it after `deadline`.
    pub(super) async fn close(&self, deadline: Duration) {
        let mut tasks = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.closed = true;
            std::mem::take(&mut running.tasks)
        };
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!("materializations were stopped; they continue at the next one");
            tasks.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_view_is_reserved_until_its_job_ends() {
        let jobs = Jobs::new(2);
        let (views, (done, wait)) = (["v".to_owned()], oneshot::channel::<()>());
        assert_eq!(jobs.start(&views, false, async { wait.await.unwrap_or_default() }).unwrap(), Ok(()));
        assert_eq!(jobs.start(&views, false, async {}).unwrap(), Err(views.to_vec()));
        assert_eq!(jobs.start(&views, true, std::future::pending()).unwrap(), Ok(()));
        let error = jobs.start(&["w".to_owned()], false, async {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        done.send(()).unwrap();
        jobs.close(Duration::from_millis(20)).await;
        assert!(jobs.reserved.lock().unwrap().is_empty(), "stopped jobs release their views too");
        assert_eq!(jobs.start(&views, false, async {}).unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

//! The one place where models run: a sized pool of threads behind a bounded queue.
//!
//! Invariant: a job runs at most once, on a worker, and its panic ends the job, not the worker. A job whose
//! caller has gone or whose time in the queue is over is dropped unrun. Predictions that wait together share a
//! batch, see [`batch`]; everything else is a job of its own.

mod batch;
mod lane;
mod pace;
mod priority;
mod queue;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use mlops_core::{Clock, Error, Result};
use tokio::sync::oneshot;

use batch::{Call, overdue};
pub(crate) use batch::{Close, Payload, Predicted};
pub(crate) use lane::BatchPolicy;
use lane::address;
pub(crate) use pace::{Pace, PaceMaker};
pub use priority::Priority;
pub(crate) use queue::QueueLimits;
use queue::{Job, Queue, Refused, Work};

use crate::{
    ambient::Ambient,
    repository::{LoadedVersion, Rejection},
};

/// A prediction that is asked for.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) version: &'a Arc<LoadedVersion>,
    pub(crate) inputs: Payload,
    pub(crate) rows: usize,
    pub(crate) policy: BatchPolicy,
    pub(crate) priority: Priority,
    /// When the caller gives up, on the monotonic clock.
    pub(crate) deadline: Duration,
    /// What the model may come to know of the request.
    pub(crate) ambient: Option<Arc<Ambient>>,
}

/// Runs computation for async callers.
pub(crate) struct Executor {
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    queue_timeout: Duration,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn work(queue: &Queue, clock: &dyn Clock) {
    while let Some(work) = queue.next() {
        match work {
            // Jobs catch their own panics, see `Executor::job`.
            Work::Job(job) => job(Ok(())),
            Work::Batch(batch) => {
                let (version, policy, ends) = (address(&batch.version), batch.policy, batch.ends);
                batch.run(clock);
                queue.finished(version, policy, ends);
            }
        }
    }
}

/// Turns a panic into an `Internal` error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(panic = %text, "the model panicked");
        Err(Error::internal("the model panicked; see the server's log"))
    })
}

fn shutting_down() -> Error {
    Error::unavailable("the server is shutting down")
}

impl Executor {
    /// Starts `workers` threads. They end when the executor is dropped and the queue is empty.
    ///
    /// # Errors
    /// `ResourceExhausted` when the operating system gives no thread.
    pub(crate) fn start(
        workers: usize,
        limits: QueueLimits,
        queue_timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let queue = Arc::new(Queue::new(limits, workers, Arc::clone(&clock)));
        let executor = Self { queue, clock, queue_timeout };
        for index in 0..workers {
            let (queue, clock) = (Arc::clone(&executor.queue), Arc::clone(&executor.clock));
            let thread = std::thread::Builder::new().name(format!("mlops-serve-{index}"));
            thread
                .spawn(move || work(&queue, &*clock))
                .map_err(|error| Error::resource_exhausted("no thread for a serving worker").with_source(error))?;
        }
        Ok(executor)
    }

    /// Entries and rows waiting for a worker.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        self.queue.waiting()
    }

    /// Predictions of one version waiting for a worker.
    pub(crate) fn waiting_for(&self, version: &Arc<LoadedVersion>) -> usize {
        self.queue.waiting_for(version)
    }

    /// Predicts on a worker, together with other calls of the version that wait when a worker becomes idle. Dropping
    /// the future before that cancels the call.
    ///
    /// # Errors
    /// `ResourceExhausted` when the queue is full or so long that the answer would come after the deadline;
    /// `Unavailable` when the wait for a worker was too long; `DeadlineExceeded` when the deadline passed before it ran, or
    /// would have while it ran;
    /// `Internal` when the model panicked, and what the model returns for these rows.
    pub(crate) async fn predict(&self, ask: Ask<'_>) -> Result<Predicted> {
        let Ask { version, inputs, rows, policy, priority, deadline, ambient } = ask;
        let (reply, answer) = oneshot::channel();
        let queued_at = self.clock.monotonic();
        let call = Call {
            inputs,
            rows,
            priority,
            queued_at,
            patience_ends: queued_at.saturating_add(self.queue_timeout),
            deadline,
            pace: version.counters.pace(),
            ambient,
            reply,
        };
        let (removed, pushed) = self.queue.push_call(version, policy, call);
        removed.into_iter().for_each(|removed| removed.evict(self.clock.monotonic()));
        if let Err(refused) = pushed {
            version.counters.rejected(reason(refused));
            return Err(self.refusal(refused));
        }
        answer.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    /// Runs `work` on a worker and waits for it. Dropping the future before the job started cancels it.
    ///
    /// # Errors
    /// As [`Executor::predict`].
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (job, answer) = self.job(work);
        self.queue.push(job).map_err(|refused| self.refusal(refused))?;
        answer.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    /// Runs the last step of an admitted request on the next idle worker; a full queue does not refuse it.
    ///
    /// # Errors
    /// `Internal` when it panicked, and what `work` returns.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, answer) = self.job(work);
        self.queue.push_front(job).map_err(|refused| self.refusal(refused))?;
        answer.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    /// Answers everything that waits with `Unavailable`; last steps of requests, and what is running, are finished.
    pub(crate) fn refuse_waiting(&self) {
        let (jobs, calls) = self.queue.drain();
        let now = self.clock.monotonic();
        jobs.into_iter().for_each(|job| job(Err(shutting_down())));
        calls.into_iter().for_each(|removed| removed.refuse(now, Rejection::ShuttingDown, shutting_down()));
    }

    /// Runs `work` later if there is room, without anyone waiting for it.
    pub(crate) fn offer_detached(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let job = Box::new(move |may: Result<()>| {
            // Nobody waits for detached work, so nobody is told that it is not run.
            if may.is_err() {
                return;
            }
            // A panic of detached work is logged by `guarded`; nobody waits for its result.
            let _ = guarded(|| {
                work();
                Ok(())
            });
        });
        self.queue.push(job).map_err(|refused| self.refusal(refused))
    }

    fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> (Job, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        let (clock, limit, queued_at) = (Arc::clone(&self.clock), self.queue_timeout, self.clock.monotonic());
        let job = Box::new(move |may: Result<()>| {
            if reply.is_closed() {
                return;
            }
            let waited = clock.monotonic().saturating_sub(queued_at);
            let outcome = match may {
                Err(error) => Err(error),
                Ok(()) if waited > limit => Err(overdue(waited)),
                Ok(()) => guarded(work),
            };
            // The caller may have gone meanwhile; nobody wants the answer then.
            let _ = reply.send(outcome);
        });
        (job, answer)
    }

    fn refusal(&self, refused: Refused) -> Error {
        let limits = self.queue.limits();
        match refused {
            Refused::Entries => Error::resource_exhausted(format!(
                "all workers are busy and {} requests wait; retry later",
                limits.entries
            )),
            Refused::Rows => Error::resource_exhausted(format!(
                "all workers are busy and the queue takes no more than {} rows; retry later",
                limits.rows
            )),
            Refused::TooLate(wait) => Error::resource_exhausted(format!(
                "what waits takes about {} ms, longer than the request has; retry later",
                wait.as_millis()
            ))
            .with(RETRY_AFTER, wait.as_secs().saturating_add(1)),
            Refused::Closed => shutting_down(),
        }
    }
}

/// Key of the error context that says after how many seconds a refused request may come again.
pub(crate) const RETRY_AFTER: &str = "retry_after_s";

fn reason(refused: Refused) -> Rejection {
    match refused {
        Refused::Entries => Rejection::QueueFull,
        Refused::Rows => Rejection::QueueRows,
        Refused::TooLate(_) => Rejection::Shed,
        Refused::Closed => Rejection::ShuttingDown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use mlops_core::{ErrorKind, SystemClock};

    use super::*;

    fn limits(entries: usize) -> QueueLimits {
        QueueLimits { entries, rows: 1 << 20 }
    }

    fn executor(workers: usize, queue_max: usize, timeout: Duration) -> Arc<Executor> {
        Arc::new(Executor::start(workers, limits(queue_max), timeout, Arc::new(SystemClock::new())).unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_queue_refuses_and_recovers() {
        let executor = executor(1, 1, Duration::from_secs(60));
        let (started, wait_started) = channel();
        let (release, held) = channel::<()>();
        let blocking = Arc::clone(&executor);
        let first = tokio::spawn(async move {
            blocking
                .run(move || {
                    started.send(()).unwrap();
                    held.recv().unwrap();
                    Ok(1)
                })
                .await
        });
        tokio::task::spawn_blocking(move || wait_started.recv().unwrap()).await.unwrap();
        let waiting = Arc::clone(&executor);
        let second = tokio::spawn(async move { waiting.run(|| Ok(2)).await });
        while executor.waiting().0 == 0 {
            tokio::task::yield_now().await;
        }
        let refused = executor.run(|| Ok(3)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
        release.send(()).unwrap();
        assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (1, 2));
        assert_eq!(executor.run(|| Ok(4)).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn what_waits_when_the_server_gives_up_is_answered() {
        let executor = executor(1, 4, Duration::from_secs(60));
        let (started, wait_started) = channel();
        let (release, held) = channel::<()>();
        let running = executor.run(move || {
            started.send(()).unwrap();
            held.recv().unwrap();
            Ok(())
        });
        let waiting = executor.run(|| -> Result<()> { unreachable!("must not run") });
        let give_up = async {
            tokio::task::spawn_blocking(move || wait_started.recv().unwrap()).await.unwrap();
            executor.refuse_waiting();
            release.send(()).unwrap();
        };
        let (running, waiting, ()) = futures::join!(running, waiting, give_up);
        running.unwrap();
        assert_eq!(waiting.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(executor.waiting(), (0, 0));
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_and_the_worker_lives() {
        let executor = executor(1, 4, Duration::from_secs(60));
        let error = executor.run(|| -> Result<()> { panic!("boom") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(!error.message().contains("boom"), "details stay in the log");
        assert_eq!(executor.run(|| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_job_that_waited_too_long_does_not_run() {
        let clock = Arc::new(mlops_core::testing::ManualClock::at("2024-01-01".parse().unwrap()));
        let shared: Arc<dyn Clock> = Arc::<mlops_core::testing::ManualClock>::clone(&clock);
        let executor = Executor::start(1, limits(4), Duration::from_millis(10), shared).unwrap();
        let (release, held) = channel::<()>();
        let first = executor.run(move || {
            held.recv().unwrap();
            Ok(())
        });
        let late = executor.run(|| -> Result<()> { unreachable!("must not run") });
        let advance = async {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(1));
            release.send(()).unwrap();
        };
        let (_, late, ()) = futures::join!(first, late, advance);
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

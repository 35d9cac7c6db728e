//! The one place where models run: a sized pool of threads behind a bounded queue.
//!
//! Invariant: a job runs at most once, on a worker, and its panic ends the job, not the worker. A job whose
//! caller has gone or whose time in the queue is over is dropped unrun. Dynamic batching belongs here: every
//! prediction passes through [`Executor::run`].

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use mlops_core::{Clock, Error, Result};
use tokio::sync::oneshot;

/// A job: told whether it may still run, it runs or reports why not.
type Job = Box<dyn FnOnce() + Send>;

/// Runs computation for async callers.
pub(crate) struct Executor {
    queue: SyncSender<Job>,
    depth: Arc<AtomicUsize>,
    clock: Arc<dyn Clock>,
    queue_timeout: Duration,
    queue_max: usize,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting: exactly one idle worker waits, the others queue behind it.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            // Jobs catch their own panics, see `Executor::run`.
            Ok(job) => job(),
            Err(_) => return,
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

impl Executor {
    /// Starts `workers` threads. They end when the executor is dropped and the queue is empty.
    ///
    /// # Errors
    /// `ResourceExhausted` when the operating system gives no thread.
    pub(crate) fn start(
        workers: usize,
        queue_max: usize,
        queue_timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let (queue, jobs) = sync_channel(queue_max);
        let jobs = Arc::new(Mutex::new(jobs));
        for index in 0..workers {
            let jobs = Arc::clone(&jobs);
            let thread = std::thread::Builder::new().name(format!("mlops-serve-{index}"));
            thread
                .spawn(move || work(&jobs))
                .map_err(|error| Error::resource_exhausted("no thread for a serving worker").with_source(error))?;
        }
        Ok(Self { queue, depth: Arc::default(), clock, queue_timeout, queue_max })
    }

    /// Jobs waiting for a worker.
    pub(crate) fn waiting(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Runs `work` on a worker and waits for it; also says how long the job waited in the queue.
    /// Dropping the future before the job started cancels it.
    ///
    /// # Errors
    /// `ResourceExhausted` when the queue is full, `Unavailable` when the wait for a worker was too long,
    /// `Internal` when `work` panicked, and what `work` returns.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<(T, Duration)> {
        let (reply, answer) = oneshot::channel();
        let (clock, limit, queued_at) = (Arc::clone(&self.clock), self.queue_timeout, self.clock.monotonic());
        let depth = Arc::clone(&self.depth);
        let job = Box::new(move || {
            depth.fetch_sub(1, Ordering::Relaxed);
            let waited = clock.monotonic().saturating_sub(queued_at);
            if reply.is_closed() {
                return;
            }
            let outcome = if waited > limit {
                Err(Error::unavailable(format!(
                    "waited {} ms for a worker; the server is overloaded",
                    waited.as_millis()
                )))
            } else {
                guarded(work).map(|value| (value, waited))
            };
            // The caller may have gone meanwhile; nobody wants the answer then.
            let _ = reply.send(outcome);
        });
        self.offer(job)?;
        answer.await.unwrap_or_else(|_| Err(Error::unavailable("the server is shutting down")))
    }

    /// Runs `work` later if there is room, without anyone waiting for it.
    pub(crate) fn offer_detached(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let depth = Arc::clone(&self.depth);
        self.offer(Box::new(move || {
            depth.fetch_sub(1, Ordering::Relaxed);
            // A panic of detached work is logged by `guarded`; nobody waits for its result.
            let _ = guarded(|| {
                work();
                Ok(())
            });
        }))
    }

    fn offer(&self, job: Job) -> Result<()> {
        self.depth.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(job).map_err(|refused| {
            self.depth.fetch_sub(1, Ordering::Relaxed);
            match refused {
                TrySendError::Full(_) => Error::resource_exhausted(format!(
                    "all workers are busy and {} requests wait; retry later",
                    self.queue_max
                )),
                TrySendError::Disconnected(_) => Error::unavailable("the server is shutting down"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use mlops_core::{ErrorKind, SystemClock};

    use super::*;

    fn executor(workers: usize, queue_max: usize, timeout: Duration) -> Arc<Executor> {
        Arc::new(Executor::start(workers, queue_max, timeout, Arc::new(SystemClock::new())).unwrap())
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
        while executor.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = executor.run(|| Ok(3)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
        release.send(()).unwrap();
        assert_eq!((first.await.unwrap().unwrap().0, second.await.unwrap().unwrap().0), (1, 2));
        assert_eq!(executor.run(|| Ok(4)).await.unwrap().0, 4);
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_and_the_worker_lives() {
        let executor = executor(1, 4, Duration::from_secs(60));
        let error = executor.run(|| -> Result<()> { panic!("boom") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(!error.message().contains("boom"), "details stay in the log");
        assert_eq!(executor.run(|| Ok(7)).await.unwrap().0, 7);
    }

    #[tokio::test]
    async fn a_job_that_waited_too_long_does_not_run() {
        let clock = Arc::new(mlops_core::testing::ManualClock::at("2024-01-01".parse().unwrap()));
        let shared: Arc<dyn Clock> = Arc::<mlops_core::testing::ManualClock>::clone(&clock);
        let executor = Executor::start(1, 4, Duration::from_millis(10), shared).unwrap();
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

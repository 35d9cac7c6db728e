//! Writes a prediction log in the background, away from the threads that answer requests.
//!
//! Encoding tables is computation: on a thread of its own, of lower priority where the system knows such, it takes what
//! the requests leave.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use mlops_core::{Error, PredictionSink as _, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::PredictionLog;

/// When a [`LogWriter`] writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct LogWriterSettings {
    /// Longest time between two writes, milliseconds, at least 1. Half a full buffer is written sooner.
    pub interval_ms: u64,
    /// How far the thread stands back behind others on Linux: a `nice` value from 0 (not at all) to 19.
    pub nice: i32,
}

impl Default for LogWriterSettings {
    fn default() -> Self {
        Self { interval_ms: 1_000, nice: 5 }
    }
}

/// A thread that writes a log now and then. Dropping it writes what waits without being waited for; [`LogWriter::stop`]
/// waits.
#[derive(Debug)]
pub struct LogWriter {
    stop: Option<oneshot::Sender<oneshot::Sender<Result<()>>>>,
    thread: JoinHandle<()>,
}

impl LogWriter {
    /// Starts writing `log`. A write that fails is logged and repeated with the next.
    ///
    /// # Errors
    /// `InvalidArgument` for settings out of range, `ResourceExhausted` when the system gives no thread.
    pub fn start(log: Arc<PredictionLog>, settings: &LogWriterSettings) -> Result<Self> {
        let LogWriterSettings { interval_ms, nice } = *settings;
        if interval_ms == 0 || !(0..=19).contains(&nice) {
            return Err(Error::invalid_argument(format!(
                "a log writer needs interval_ms of at least 1 and nice from 0 to 19; got {interval_ms} and {nice}"
            )));
        }
        let no_thread = |error| Error::resource_exhausted("no thread to write the log").with_source(error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("mlops-log".into());
        let work = move || {
            stand_back(nice);
            runtime.block_on(write(&log, Duration::from_millis(interval_ms), stopped));
        };
        Ok(Self { stop: Some(stop), thread: thread.spawn(work).map_err(no_thread)? })
    }

    /// Whether the thread lives.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Writes what waits and ends the thread.
    ///
    /// # Errors
    /// As [`PredictionLog::flush_as`], of the last write; `Internal` when the thread died before.
    pub async fn stop(mut self) -> Result<()> {
        let (reply, written) = oneshot::channel();
        let died = || Error::internal("the thread that writes the log died; see the program's log");
        self.stop.take().and_then(|stop| stop.send(reply).ok()).ok_or_else(died)?;
        written.await.map_err(|_| died())?
    }
}

async fn write(log: &PredictionLog, interval: Duration, mut stopped: oneshot::Receiver<oneshot::Sender<Result<()>>>) {
    loop {
        tokio::select! {
            asked = &mut stopped => {
                let outcome = log.flush().await;
                match asked.ok() {
                    // Whoever asked may have given up waiting.
                    Some(reply) => drop(reply.send(outcome)),
                    None => report(outcome),
                }
                return;
            }
            () = log.half_full() => {}
            () = tokio::time::sleep(interval) => {}
        }
        report(log.flush().await);
    }
}

fn report(outcome: Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(error = %error.chain(), "the prediction log was not written; its rows wait for the next time");
    }
}

#[cfg(target_os = "linux")]
fn stand_back(nice: i32) {
    // On Linux a priority is that of the calling thread, and of the threads that it starts. A refusal costs nothing but
    // the courtesy.
    let _ = rustix::process::setpriority_process(None, nice);
}

#[cfg(not(target_os = "linux"))]
fn stand_back(_: i32) {}

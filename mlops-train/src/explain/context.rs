//! What surrounds an explanation: seed, cancellation, deadline.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mlops_core::{Clock, Error, Result};

/// Where random draws come from, and when to stop.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use mlops_core::SystemClock;
/// use mlops_train::explain::ExplainContext;
///
/// let context = ExplainContext::new(7).with_deadline(Arc::new(SystemClock::new()), Duration::from_secs(60));
/// assert!(context.check().is_ok());
/// ```
#[derive(Clone)]
pub struct ExplainContext {
    seed: u64,
    cancel: Arc<AtomicBool>,
    deadline: Option<Deadline>,
}

#[derive(Clone)]
struct Deadline {
    clock: Arc<dyn Clock>,
    at: Duration,
}

impl ExplainContext {
    /// Draws from `seed`, and takes as long as it takes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, cancel: Arc::new(AtomicBool::new(false)), deadline: None }
    }

    /// Stops soon after the flag is set, at the latest after the current batch of predictions.
    #[must_use]
    pub fn with_cancel(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancel = flag;
        self
    }

    /// Stops when `within` has passed by `clock` from now on. What can be estimated from less work
    /// by then is; the rest fails.
    #[must_use]
    pub fn with_deadline(mut self, clock: Arc<dyn Clock>, within: Duration) -> Self {
        let at = clock.monotonic().saturating_add(within);
        self.deadline = Some(Deadline { clock, at });
        self
    }

    /// Where all random draws come from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Fails when nobody waits any more.
    ///
    /// # Errors
    /// `Cancelled` when the flag is set, `DeadlineExceeded` when the time is over.
    pub fn check(&self) -> Result<()> {
        self.check_cancelled()?;
        if self.deadline.as_ref().is_some_and(|deadline| deadline.clock.monotonic() >= deadline.at) {
            return Err(Error::deadline_exceeded("the deadline of the explanation passed before it was done"));
        }
        Ok(())
    }

    pub(super) fn check_cancelled(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::cancelled("the explanation was cancelled"));
        }
        Ok(())
    }

    /// Until when the next of `left` pieces of work may take, if all take the same.
    pub(super) fn share_until(&self, left: usize) -> Option<Duration> {
        let deadline = self.deadline.as_ref()?;
        let now = deadline.clock.monotonic();
        let pieces = u32::try_from(left.max(1)).unwrap_or(u32::MAX);
        Some(now.saturating_add(deadline.at.saturating_sub(now) / pieces))
    }

    /// Whether that time has come; never without a deadline.
    pub(super) fn is_past(&self, until: Option<Duration>) -> bool {
        match (&self.deadline, until) {
            (Some(deadline), Some(until)) => deadline.clock.monotonic() >= until,
            _ => false,
        }
    }
}

impl fmt::Debug for ExplainContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExplainContext")
            .field("seed", &self.seed)
            .field("cancelled", &self.cancel.load(Ordering::Relaxed))
            .field("deadline", &self.deadline.as_ref().map(|deadline| deadline.at))
            .finish()
    }
}

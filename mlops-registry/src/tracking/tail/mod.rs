//! Watching a run while it goes on.
//!
//! [`LiveTail`] is a tracking store in front of another one. What is written through it reaches those who watch the run at
//! once and whole; what other processes write to the same database is found by reading the run from time to time, and then
//! only the latest point of each metric is told.
//!
//! Invariant: memory is bounded however slow a watcher is. One that falls behind what is kept is told how the run stands now
//! instead of what it missed. A change may be told again after a [`TailEvent::State`] that has it already.

mod change;
mod feed;
mod port;
mod watch;

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use mlops_core::{Error, Result, RunId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch as signal};

pub use change::RunChange;
pub use watch::Tail;

use self::feed::Feed;
use super::{RunRecord, TrackingStore};
use crate::id_source::{IdSource, RandomIds};

/// How much is kept, and for how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TailSettings {
    /// How often a watched run is read for what others wrote, in milliseconds, from 1. Default: 1 s.
    pub poll_ms: u64,
    /// Changes of one run that are kept for those who are slow or come back, from 1. Default: 1,024.
    pub changes_max: usize,
    /// Their size in bytes, about. Default: 1 MiB.
    pub bytes_max: usize,
    /// Runs of which changes are kept, from 1; of those that nobody watches the longest unwatched is forgotten. Default: 64.
    pub runs_max: usize,
    /// Watchers of all runs together, from 1. Default: 256.
    pub watchers_max: usize,
}

impl Default for TailSettings {
    fn default() -> Self {
        Self { poll_ms: 1_000, changes_max: 1_024, bytes_max: 1 << 20, runs_max: 64, watchers_max: 256 }
    }
}

impl TailSettings {
    /// Refuses what cannot work, and names all of it.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        let counts =
            [("changes_max", self.changes_max), ("runs_max", self.runs_max), ("watchers_max", self.watchers_max)];
        let mut zero: Vec<&str> = counts.iter().filter(|(_, count)| *count == 0).map(|(name, _)| *name).collect();
        if self.poll_ms == 0 {
            zero.push("poll_ms");
        }
        if zero.is_empty() && self.watchers_max <= Semaphore::MAX_PERMITS {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "settings of the live tail must be from 1, watchers_max at most {}; zero: {}",
            Semaphore::MAX_PERMITS,
            zero.join(", ")
        )))
    }
}

/// How far a watcher has come, to go on from after a break. One of another process, or too old, begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailCursor {
    epoch: u64,
    number: u64,
}

impl fmt::Display for TailCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.number)
    }
}

impl FromStr for TailCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = |text: &str| {
            let (epoch, number) = text.split_once('-')?;
            Some(Self { epoch: u64::from_str_radix(epoch, 16).ok()?, number: number.parse().ok()? })
        };
        read(text).ok_or_else(|| Error::invalid_argument(format!("{text:?} is no cursor of a live tail")))
    }
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq)]
pub enum TailEvent {
    /// The run as it stands: at the beginning, and instead of changes that were missed.
    State(Box<RunRecord>),
    /// What has been written since.
    Change(Arc<RunChange>),
}

/// Something to tell, and the cursor that follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct TailItem {
    /// Where to go on after this.
    pub cursor: TailCursor,
    /// What to tell.
    pub event: TailEvent,
}

/// A tracking store whose runs can be watched. Clones are the same store.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{Metric, RunLogger, RunStatus, Timestamp};
/// use mlops_registry::{
///     ArtifactStore, SqlTrackingStore, Tracker,
///     tracking::tail::{LiveTail, TailEvent, TailSettings},
/// };
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await?)).build().await?;
/// let live = LiveTail::new(Arc::new(store), TailSettings::default())?;
/// let run = Tracker::new(Arc::new(live.clone()), ArtifactStore::in_memory()).start("fraud", "first").await?;
///
/// let mut tail = live.tail(run.run_id(), None).await?;
/// let first = tail.next().await?.unwrap();
/// assert!(matches!(first.event, TailEvent::State(_)));
/// run.log_metrics(&[Metric { key: "auc".into(), value: 0.9, timestamp: Timestamp::from_millis(1), step: 1 }]).await?;
/// let TailEvent::Change(change) = tail.next().await?.unwrap().event else { panic!("no change") };
/// assert_eq!(change.points[0].value, 0.9);
/// run.finish(RunStatus::Finished).await?;
/// assert!(tail.next().await?.is_some());
/// assert!(tail.next().await?.is_none(), "the run has ended");
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct LiveTail {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn TrackingStore>,
    settings: TailSettings,
    epoch: u64,
    /// The last number given to a change, of whichever run, so that a run's numbers ascend also when it was forgotten.
    last: AtomicU64,
    feeds: Mutex<Feeds>,
    watchers: Arc<Semaphore>,
    closed: signal::Sender<bool>,
}

#[derive(Debug, Default)]
struct Feeds {
    by_run: HashMap<RunId, (u64, Arc<Feed>)>,
    /// Counts the beginnings of tails.
    uses: u64,
}

impl LiveTail {
    /// In front of `store`.
    ///
    /// # Errors
    /// `InvalidArgument` when the settings cannot work, `Unavailable` when the operating system gives no randomness.
    pub fn new(store: Arc<dyn TrackingStore>, settings: TailSettings) -> Result<Self> {
        Self::with_ids(store, settings, &RandomIds::from_os()?)
    }

    /// The same; cursors of this store are told from those of others by a number that `ids` gives.
    ///
    /// # Errors
    /// `InvalidArgument` when the settings cannot work.
    pub fn with_ids(store: Arc<dyn TrackingStore>, settings: TailSettings, ids: &dyn IdSource) -> Result<Self> {
        settings.check()?;
        // The low half of a random number is as good as all of it.
        let epoch = ids.next_id() as u64;
        let watchers = Arc::new(Semaphore::new(settings.watchers_max));
        let (last, feeds, closed) = (AtomicU64::new(0), Mutex::default(), signal::Sender::new(false));
        Ok(Self { shared: Arc::new(Shared { store, settings, epoch, last, feeds, watchers, closed }) })
    }

    /// Watches a run: how it stands, then what changes, until it ends or is deleted. With a cursor it goes on behind it
    /// where that is still possible.
    ///
    /// # Errors
    /// `NotFound` when there is no such run, `ResourceExhausted` when there are too many watchers or watched runs, and
    /// those of [`TrackingStore::run`].
    pub async fn tail(&self, run: &RunId, after: Option<TailCursor>) -> Result<Tail> {
        let permit = Arc::clone(&self.shared.watchers).try_acquire_owned().map_err(|_| {
            Error::resource_exhausted(format!(
                "{} watch runs already, which is the most allowed; try again later",
                self.shared.settings.watchers_max
            ))
        })?;
        let feed = self.shared.feed(run)?;
        Tail::begin(Arc::clone(&self.shared), permit, run.clone(), feed, after).await
    }

    /// Ends all tails, so that a server can shut down; those that begin afterwards end after their first event.
    pub fn close(&self) {
        self.shared.closed.send_replace(true);
    }
}

impl Shared {
    /// What is kept of a run, to be watched.
    fn feed(&self, run: &RunId) -> Result<Arc<Feed>> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.uses += 1;
        let uses = feeds.uses;
        if let Some((used, feed)) = feeds.by_run.get_mut(run) {
            *used = uses;
            return Ok(Arc::clone(feed));
        }
        if feeds.by_run.len() >= self.settings.runs_max {
            let unwatched = feeds.by_run.iter().filter(|(_, (_, feed))| Arc::strong_count(feed) == 1);
            let oldest = unwatched.min_by_key(|(_, (used, _))| *used).map(|(run, _)| run.clone());
            let oldest = oldest.ok_or_else(|| {
                Error::resource_exhausted(format!(
                    "{} runs are watched already, which is the most allowed; try again later",
                    self.settings.runs_max
                ))
            })?;
            feeds.by_run.remove(&oldest);
        }
        let feed = Arc::new(Feed::new(self.last.load(Ordering::SeqCst)));
        feeds.by_run.insert(run.clone(), (uses, Arc::clone(&feed)));
        Ok(feed)
    }

    /// Whether [`Self::tell`] would reach anybody.
    fn is_watched(&self, run: &RunId) -> bool {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner).by_run.contains_key(run)
    }

    /// Tells those who watch a run, or may come back to it, what was written.
    fn tell(&self, run: &RunId, change: impl FnOnce() -> RunChange) {
        let feed = {
            let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
            feeds.by_run.get(run).map(|(_, feed)| Arc::clone(feed))
        };
        if let Some(feed) = feed {
            feed.push(change(), &self.last, &self.settings);
        }
    }
}

#[cfg(test)]
mod tests;

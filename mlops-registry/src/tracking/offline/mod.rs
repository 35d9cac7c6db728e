//! Logging while the tracking server cannot be reached, and sending it on when it can.
//!
//! [`OfflineLogger`] appends what runs log to a journal file; [`OfflineLogger::replay`] sends it to any
//! [`TrackingStore`](super::TrackingStore).
//!
//! Invariant: what was acknowledged is on disk and stays there until the store has taken it. Sending something twice, as a
//! replay after a crash does, changes nothing: a run is found again by the tag [`OFFLINE_RUN_TAG`], points and params are
//! what they are, and files are replaced by themselves.

mod entry;
mod journal;
mod logger;
mod replay;

pub use logger::{OfflineLogger, OfflineRun, OfflineSettings};
pub use replay::{Refusal, ReplayReport};

/// The tag of a run that was logged offline, whose value is the id that it had then.
pub const OFFLINE_RUN_TAG: &str = "mlops.offline.run";

//! Where a fit can go on after its process died.
//!
//! A checkpoint is one directory, `step-NNNNNNNNNNNN`, that is whole or absent: its files are written
//! into a hidden directory beside it and synced, the manifest last, and only then does the
//! directory get its name. A fit that goes on from any of them ends with the bits of one that was
//! never interrupted. What a checkpoint holds is up to the trainer; this module neither reads
//! weights nor decides when to write.

mod folder;
mod identity;
mod manifest;
mod origin;
mod session;

use std::{num::NonZeroU64, path::PathBuf};

use mlops_core::Result;

pub use manifest::CheckpointInfo;

pub(crate) use identity::Identity;
pub(crate) use session::{Draft, Saved, Session, to_json};

/// Where checkpoints of one fit lie, how often they are written and which are kept.
///
/// A fit whose directory holds checkpoints goes on from the latest one. It refuses one that was
/// made with other data, settings, seed or code, and a directory that another process trains into.
///
/// ```
/// use std::num::NonZeroU64;
///
/// use mlops_train::{Checkpoints, FitContext};
///
/// let checkpoints = Checkpoints::new("/var/lib/training/churn")
///     .with_every(NonZeroU64::new(50).expect("50 is not 0"))
///     .with_keep_last(3);
/// let context = FitContext::new(7).with_checkpoints(checkpoints);
/// # let _ = context;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoints {
    directory: PathBuf,
    origin: Option<PathBuf>,
    every: NonZeroU64,
    keep_last: usize,
}

/// Steps between checkpoints unless one says otherwise.
const EVERY: NonZeroU64 = NonZeroU64::MIN.saturating_add(99);

impl Checkpoints {
    /// Checkpoints in a directory that this fit alone uses; it is made when it is absent.
    ///
    /// One is written every 100 steps, at the end of each epoch, and when the fit is cancelled; the
    /// last two are kept, and the one with the lowest loss on held-out rows.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), origin: None, every: EVERY, keep_last: 2 }
    }

    /// Writes after every so many steps: updates of a network's weights, or rounds of boosting.
    #[must_use]
    pub fn with_every(mut self, steps: NonZeroU64) -> Self {
        self.every = steps;
        self
    }

    /// Keeps so many of the latest, at least one, besides the best.
    #[must_use]
    pub fn with_keep_last(mut self, count: usize) -> Self {
        self.keep_last = count.max(1);
        self
    }

    /// Lets a fit that has no checkpoint of its own yet go on where another fit ended, under its own settings and seed:
    /// from the latest checkpoint in the directory of that one, which is only read. What was learnt, the counts of
    /// epochs and rounds and the history are those of the other fit; `epochs` and `rounds` of the settings count from
    /// its beginning. Once this fit has a checkpoint of its own the other directory is no longer read.
    ///
    /// Moments of the optimizer go on where both fits keep the same ones (Adam and AdamW). Between those and gradient
    /// descent they begin anew, as in PyTorch an optimizer that is made for given weights does: one keeps a mean of
    /// gradients, the other a sum, so neither is of use to the other. Weights, counts of steps and the schedule go on
    /// in any case; a population may search over optimizers.
    ///
    /// It must be a fit of the same trainer, version and rows, of a network with the same parameters, that ended with
    /// an epoch. The same rows must be held out, or none in both: where rows are held out by chance, seed and share
    /// must be those of the other fit.
    #[must_use]
    pub fn with_origin(mut self, directory: impl Into<PathBuf>) -> Self {
        self.origin = Some(directory.into());
        self
    }

    /// Removes the directory and all its checkpoints; nothing where it does not exist. Whoever is killed meanwhile
    /// leaves whole checkpoints, the latest ones, or none.
    ///
    /// No lock is asked for: a fit that still writes there fails with `DataLoss` at its next checkpoint.
    ///
    /// # Errors
    /// `PermissionDenied` and `Unavailable` naming the path for what the disk refuses.
    pub fn remove(&self) -> Result<()> {
        folder::remove_all(&self.directory)
    }

    /// The whole checkpoints there are, oldest first. Their files are not read.
    ///
    /// # Errors
    /// `DataLoss` naming a manifest that is damaged, `FailedPrecondition` for one of a newer format,
    /// `Unavailable` for what the disk refuses.
    pub fn list(&self) -> Result<Vec<CheckpointInfo>> {
        folder::steps(&self.directory)?.into_iter().map(|path| Ok(manifest::read(&path)?.info(path))).collect()
    }

    /// Those of a part of the fit, in a directory of its own below this one.
    pub(crate) fn below(&self, part: &str) -> Self {
        let origin = self.origin.as_ref().map(|origin| origin.join(part));
        Self { directory: self.directory.join(part), origin, ..self.clone() }
    }

    pub(crate) fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.every.get())
    }
}

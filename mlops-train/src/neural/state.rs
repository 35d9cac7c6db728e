//! How far a fit is: everything besides parameters and moments that its next step depends on.

use serde::{Deserialize, Serialize};

use super::precision::LossScale;

/// What one epoch came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// The epoch, from one.
    pub epoch: usize,
    /// Mean loss of the training rows, each before the step that it took part in.
    pub train_loss: f64,
    /// Mean loss of the held-out rows, where there are any.
    pub valid_loss: Option<f64>,
    /// The step size of the epoch's last step.
    pub learning_rate: f64,
}

/// The file `state.json` of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Steps so far, and how many of them the optimizer's moments are made of: those that changed the weights since it
    /// began.
    pub(super) step: u64,
    pub(super) updates: u64,
    pub(super) loss_scale: LossScale,
    /// Epochs that are over.
    pub(super) epochs_done: usize,
    /// The loader's place in the epoch under way: batches that were used. The order itself is a
    /// function of the seed and the epoch, so there is no generator to keep.
    pub(super) batches_done: usize,
    /// Sums over the epoch under way.
    pub(super) loss_sum: f64,
    pub(super) rows_seen: u64,
    pub(super) learning_rate: f64,
    /// Early stopping: the lowest loss on held-out rows, and its epoch.
    pub(super) best: Option<Best>,
    /// Whether early stopping ended the fit.
    pub(super) stopped: bool,
    pub(super) history: Vec<EpochRecord>,
    /// Processors that share a step, and the rows of one step over all of them.
    pub(super) world_size: usize,
    pub(super) step_rows: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Best {
    pub(super) epoch: usize,
    pub(super) loss: f64,
}

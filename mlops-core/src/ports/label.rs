//! What became of predictions, told later: the way of labels from a server to whoever joins them.

use std::{fmt, sync::Arc};

use arrow_array::RecordBatch;
use async_trait::async_trait;

use crate::{clock::Timestamp, error::Result, id::ModelName};

/// Labels that arrived together.
#[derive(Debug, Clone)]
pub struct LabelBatch {
    /// Model whose predictions they are about.
    pub model: ModelName,
    /// When they arrived.
    pub at: Timestamp,
    /// Columns `request_id` (text) and `row` (`Int64`), which name a prediction as
    /// [`PredictionBatch`](crate::PredictionBatch) does, `label` (booleans, `Int64`, `Float64` or text), and `labeled_at`
    /// (timestamp), when the label was known. No value is null, and no row of a request comes twice.
    pub labels: RecordBatch,
}

/// What became of the labels of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct LabelReceipt {
    /// Joined, replaced an earlier label, or kept until their prediction comes.
    pub taken: u64,
    /// Said nothing new, or came after a later label.
    pub duplicates: u64,
    /// Cannot be used: a label that the task does not have, an id that can have no prediction.
    pub refused: u64,
}

/// Takes labels of predictions that were answered before.
#[async_trait]
pub trait LabelSink: fmt::Debug + Send + Sync + 'static {
    /// Takes a batch. When it returns, the labels are durable, or processed for a sink that keeps nothing. A label is known
    /// by model, request and row: handing it in again changes nothing, so a call that failed or was given up may be
    /// repeated; of two labels the later `labeled_at` wins, whatever the order they come in.
    ///
    /// # Errors
    /// `NotFound` when nobody waits for labels of the model, `InvalidArgument` when none of the labels can be used,
    /// `ResourceExhausted`, `Unavailable`.
    async fn append(&self, batch: LabelBatch) -> Result<LabelReceipt>;
}

#[async_trait]
impl<T: LabelSink + ?Sized> LabelSink for Arc<T> {
    async fn append(&self, batch: LabelBatch) -> Result<LabelReceipt> {
        (**self).append(batch).await
    }
}

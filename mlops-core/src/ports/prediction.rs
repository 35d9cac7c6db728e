//! Where answered predictions go: the prediction log, a monitor, both.

use std::{fmt, sync::Arc};

use arrow_array::RecordBatch;
use async_trait::async_trait;

use crate::{
    clock::Timestamp,
    error::Result,
    id::{ModelName, Version},
};

/// One answered request.
#[derive(Debug, Clone)]
pub struct PredictionBatch {
    /// Id of the request; labels that arrive later name it and the row within it.
    pub request_id: Arc<str>,
    /// Model that answered.
    pub model: ModelName,
    /// Version that answered.
    pub version: Version,
    /// Variant of the rollout, such as `champion` or `canary`.
    pub variant: Arc<str>,
    /// The chance that the request had to be answered by that variant, where chance decided: what
    /// off-policy estimates divide by. From 0 (exclusive) to 1.
    pub propensity: Option<f64>,
    /// When it was answered.
    pub at: Timestamp,
    /// What the model saw.
    pub inputs: RecordBatch,
    /// What it said; as many rows as `inputs`.
    pub outputs: RecordBatch,
}

/// What became of a batch that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// Taken; durable after the next successful [`PredictionSink::flush`].
    Accepted,
    /// Shed because the queue was full; counted.
    Dropped,
}

/// Takes answered predictions without slowing the service down.
#[async_trait]
pub trait PredictionSink: fmt::Debug + Send + Sync + 'static {
    /// Offers a batch. Never blocks and never fails the request: a full queue sheds and counts.
    fn append(&self, batch: PredictionBatch) -> Delivery;

    /// Waits until everything accepted before the call is durable (or processed, for a sink that
    /// keeps nothing).
    ///
    /// # Errors
    /// The first error met since the last flush.
    async fn flush(&self) -> Result<()>;

    /// How many batches were shed since the start.
    fn dropped(&self) -> u64;
}

#[async_trait]
impl<T: PredictionSink + ?Sized> PredictionSink for Arc<T> {
    fn append(&self, batch: PredictionBatch) -> Delivery {
        (**self).append(batch)
    }
    async fn flush(&self) -> Result<()> {
        (**self).flush().await
    }
    fn dropped(&self) -> u64 {
        (**self).dropped()
    }
}

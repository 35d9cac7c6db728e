//! The kernels of this crate, on the threads of this process.

use arrow_array::RecordBatch;
use async_trait::async_trait;
use mlops_core::{Error, Result};

use super::{ComputeEngine, Latest, WindowJoin};
use crate::join::PointInTimeJoin;

/// Computes in this process, within the threads and the memory of each question's settings.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalEngine;

#[async_trait]
impl ComputeEngine for LocalEngine {
    fn name(&self) -> &str {
        "local"
    }

    async fn join(&self, join: &PointInTimeJoin) -> Result<RecordBatch> {
        let join = join.clone();
        blocking(move || join.run()).await
    }

    async fn latest(&self, latest: &Latest) -> Result<RecordBatch> {
        let latest = latest.clone();
        blocking(move || latest.run()).await
    }

    async fn windows(&self, windows: &WindowJoin) -> Result<RecordBatch> {
        let windows = windows.clone();
        blocking(move || windows.run()).await
    }
}

/// Runs what computes or waits for a disk off the threads of the runtime.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("an engine's thread panicked"))?
}

//! Where features are computed: in this process, or on a cluster.
//!
//! Invariant: every engine gives the same bits. The questions are those of the kernels - a point-in-time join
//! ([`crate::join`]), the latest row of each entity, windows ([`crate::window`]) - and [`LocalEngine`] is what the others
//! are compared with.
//!
//! `SparkEngine` (feature `spark`) asks any server that speaks Spark Connect: Spark itself, Databricks, Sail.

mod latest;
mod local;
#[cfg(feature = "spark")]
pub mod spark;
mod windows;

pub use self::{latest::Latest, local::LocalEngine, windows::WindowJoin};

use std::{fmt, sync::Arc};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use mlops_core::Result;

use crate::join::PointInTimeJoin;

/// Computes features from events.
#[async_trait]
pub trait ComputeEngine: fmt::Debug + Send + Sync + 'static {
    /// What it is, for messages.
    fn name(&self) -> &str;

    /// The joined rows: the columns and rows of the spine in its order, then the columns of the views, by the rules of
    /// [`crate::join`].
    ///
    /// # Errors
    /// As [`PointInTimeJoin::run`]; `Unavailable` when a remote engine is not there or is lost in the middle,
    /// `InvalidArgument` for a column of a type that it does not keep to the bit.
    async fn join(&self, join: &PointInTimeJoin) -> Result<RecordBatch>;

    /// The latest row of every entity within a range of event time: keys, event time, features, ordered by key.
    ///
    /// # Errors
    /// As [`ComputeEngine::join`].
    async fn latest(&self, latest: &Latest) -> Result<RecordBatch>;

    /// The columns that a view's windows add to a spine, in the order in which they are asked for.
    ///
    /// # Errors
    /// As [`ComputeEngine::join`]; `FailedPrecondition` when an integer sum does not fit 64 bits.
    async fn windows(&self, windows: &WindowJoin) -> Result<RecordBatch>;
}

#[async_trait]
impl<T: ComputeEngine + ?Sized> ComputeEngine for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    async fn join(&self, join: &PointInTimeJoin) -> Result<RecordBatch> {
        (**self).join(join).await
    }

    async fn latest(&self, latest: &Latest) -> Result<RecordBatch> {
        (**self).latest(latest).await
    }

    async fn windows(&self, windows: &WindowJoin) -> Result<RecordBatch> {
        (**self).windows(windows).await
    }
}

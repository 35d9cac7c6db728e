//! Online features by entity key.

use std::{fmt, sync::Arc};

use arrow_array::RecordBatch;
use async_trait::async_trait;

use crate::{clock::Timestamp, error::Result, id::FeatureRef};

/// Reads the latest features of entities.
#[async_trait]
pub trait FeatureReader: fmt::Debug + Send + Sync + 'static {
    /// The values of `features` for each row of `entities`, as they stand at `as_of`.
    ///
    /// `entities` holds the join-key columns, one row per entity. The answer has one row per entity row in
    /// the same order: the columns of `entities`, then one column per feature, in order, named
    /// after the feature. A missing entity or an expired value is null. All features of one row
    /// are read from one snapshot.
    ///
    /// # Errors
    /// `NotFound` for an unknown view or feature, `InvalidArgument` for a missing or wrongly typed
    /// join key or a repeated column name, `Unavailable` when the store cannot be reached.
    async fn get_online(
        &self,
        features: &[FeatureRef],
        entities: &RecordBatch,
        as_of: Timestamp,
    ) -> Result<RecordBatch>;
}

#[async_trait]
impl<T: FeatureReader + ?Sized> FeatureReader for Arc<T> {
    async fn get_online(
        &self,
        features: &[FeatureRef],
        entities: &RecordBatch,
        as_of: Timestamp,
    ) -> Result<RecordBatch> {
        (**self).get_online(features, entities, as_of).await
    }
}

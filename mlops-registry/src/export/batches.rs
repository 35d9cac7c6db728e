//! A table that comes in batches: what the exports share.
//!
//! Invariant: every batch has the schema that was told before the first.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMillisecondArray};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use async_trait::async_trait;
use mlops_core::{Error, Result, Timestamp};

/// A table, batch by batch.
#[async_trait]
pub trait BatchSource: Send {
    /// The columns of every batch.
    fn schema(&self) -> SchemaRef;

    /// The next batch, which has rows; none at the end.
    ///
    /// # Errors
    /// Those of the store that is read.
    async fn next(&mut self) -> Result<Option<RecordBatch>>;
}

/// Milliseconds since the epoch in UTC.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

pub(super) fn times(times: impl Iterator<Item = Option<Timestamp>>) -> ArrayRef {
    let millis: TimestampMillisecondArray = times.map(|time| time.map(Timestamp::as_millis)).collect();
    Arc::new(millis.with_timezone("UTC"))
}

pub(super) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| Error::internal("columns of an export do not fit together").with_source(error))
}

//! Streams into tables: nothing is lost and nothing is there twice, whatever is killed when.
//!
//! A [`StreamSource`] gives rows from positions that it is told; the positions up to which rows are in the table are
//! kept in the table's own log, in the same commit as the rows. So there is no moment at which one is known without
//! the other, and a source only has to be able to give again what was not committed.
//!
//! | look for | in |
//! |---|---|
//! | the port | [`StreamSource`] |
//! | a bounded channel within the process | [`channel()`] |
//! | Redis streams (feature `redis`) | `RedisSource` |
//! | NATS JetStream (feature `nats`) | `NatsSource` |
//! | a topic of Kafka (feature `kafka`) | `KafkaSource` |
//! | the loop from source to table: late rows, checks, quarantine | [`StreamIngestor`] |
//! | the promises of a source, as tests | `conformance` |

mod channel;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod given_name;
mod ingest;
#[cfg(feature = "kafka")]
mod kafka;
mod lateness;
#[cfg(any(feature = "kafka", feature = "nats", feature = "redis"))]
mod message;
#[cfg(feature = "nats")]
mod nats;
mod numbers;
mod progress;
#[cfg(any(feature = "kafka", feature = "nats", feature = "redis"))]
mod read;
#[cfg(feature = "redis")]
mod redis;
mod rows;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod tls;

pub use channel::{ChannelSource, StreamSender, channel};
pub use ingest::StreamIngestor;
#[cfg(feature = "kafka")]
pub use kafka::{KafkaServer, KafkaSource, KafkaSourceSettings, StartAt};
pub use lateness::LatePolicy;
#[cfg(any(feature = "kafka", feature = "nats", feature = "redis"))]
pub use message::{JsonMessages, MessageDecoder};
#[cfg(feature = "nats")]
pub use nats::{NatsServer, NatsSource, NatsSourceSettings};
pub use progress::StreamProgress;
#[cfg(any(feature = "kafka", feature = "nats", feature = "redis"))]
pub use read::ReadSettings;
#[cfg(feature = "redis")]
pub use redis::{RedisSource, RedisSourceSettings};

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::Result;
use serde::{Deserialize, Serialize};

/// For every partition the offset of the next row; a partition that is not there begins at its first row.
pub type Positions = BTreeMap<Arc<str>, u64>;

/// Longest name of a stream, and of a partition, in bytes.
pub const STREAM_NAME_BYTES_MAX: usize = 100;

/// Rows of one partition.
#[derive(Debug, Clone)]
pub struct StreamBatch {
    /// Where they come from.
    pub partition: Arc<str>,
    /// The offset of every row, ascending; gaps are allowed.
    pub offsets: Vec<u64>,
    /// The rows, with the columns of the table they are for.
    pub records: RecordBatch,
    /// What could not be made into rows, ascending; it goes into the quarantine.
    pub unreadable: Vec<Unreadable>,
}

/// A message that is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it lies among the rows.
    pub offset: u64,
    /// What was sent.
    pub payload: Bytes,
    /// Why it is no row.
    pub reason: String,
}

/// A log of rows in partitions, read from positions. Kafka topics, NATS JetStream and Redis streams are such logs.
///
/// A row has the same offset whenever it is read, and offsets of a partition ascend. What is at or after the committed
/// position of its partition is given again to whoever asks.
#[async_trait]
pub trait StreamSource: fmt::Debug + Send + Sync + 'static {
    /// The name under which positions are kept in tables: another name is another stream.
    fn name(&self) -> &str;

    /// Every partition there is now.
    ///
    /// # Errors
    /// `Unavailable` when the source cannot be asked.
    async fn partitions(&self) -> Result<Vec<Arc<str>>>;

    /// Waits until there is a row at or after `positions` and gives up to `rows_max` rows from there, those of a
    /// partition in order of offset without leaving any out; none once the stream has ended and all of it was given.
    /// Dropping the call loses nothing.
    ///
    /// # Errors
    /// `Unavailable` when the source cannot be read, `FailedPrecondition` or `NotFound` when rows at `positions` are
    /// gone.
    async fn poll(&self, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>>;

    /// Says that every row before `positions` is durable elsewhere, so that the source may forget it. A call may be
    /// repeated, and may not come at all.
    ///
    /// # Errors
    /// `Unavailable` when the source cannot be told; nothing is lost by that.
    async fn commit(&self, positions: &Positions) -> Result<()>;
}

#[async_trait]
impl<T: StreamSource + ?Sized> StreamSource for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }
    async fn partitions(&self) -> Result<Vec<Arc<str>>> {
        (**self).partitions().await
    }
    async fn poll(&self, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>> {
        (**self).poll(positions, rows_max).await
    }
    async fn commit(&self, positions: &Positions) -> Result<()> {
        (**self).commit(positions).await
    }
}

/// How a stream is taken in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamSettings {
    /// Most rows of one commit. While a commit is under way the source collects the next, so commits grow with the
    /// load by themselves.
    pub rows_per_commit_max: usize,
    /// The column with the event time.
    pub timestamp: String,
    /// How far a row's event time may lie before the newest of its partition so far without being late. The watermark
    /// of a partition is its newest event time less this.
    pub lateness_max: Duration,
    /// What becomes of late rows.
    pub late: LatePolicy,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            rows_per_commit_max: 100_000,
            timestamp: crate::definition::EVENT_TIMESTAMP.to_owned(),
            lateness_max: Duration::from_secs(3_600),
            late: LatePolicy::Accept,
        }
    }
}

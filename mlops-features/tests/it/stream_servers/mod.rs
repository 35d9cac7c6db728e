//! Streams on servers: the promises of a source, kills of the consumer and of the server, messages that are no rows,
//! and streams that have forgotten too much.

#[cfg(feature = "kafka")]
mod kafka_streams;
#[cfg(feature = "nats")]
mod nats_access;
#[cfg(feature = "nats")]
mod nats_streams;
#[cfg(feature = "redis")]
mod redis_streams;
mod rows;
mod shared;

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{
    Result,
    arrow_schema::{DataType, Field, Schema},
};
use mlops_features::{
    StreamSource,
    stream::{Positions, ReadSettings, StreamBatch},
};

use crate::servers::Kind;

/// What producers and consumers of one kind of server do.
#[async_trait]
trait Broker: Send + Sync {
    /// Puts `messages` into stream `name`, which is made when it is not there.
    async fn send(&self, name: &str, messages: &[String]);
    /// A source that reads `name`; a stream that is not followed ends with the last message.
    async fn source(&self, name: &str, schema: Arc<Schema>, follow: bool) -> Result<Arc<dyn StreamSource>>;
}

/// A kind of server that removes messages when it is told to.
#[cfg(any(feature = "nats", feature = "redis"))]
#[async_trait]
trait Forgets: Broker {
    /// Removes all but the last `keep` messages.
    async fn forget(&self, name: &str, keep: usize);
}

/// Settings that wait little for messages and, where the server is away, as long as is told.
fn read_settings(follow: bool, patience: Duration) -> ReadSettings {
    ReadSettings { follow, patience, wait: Duration::from_millis(20), ..ReadSettings::default() }
}

fn broker(kind: Kind, url: &str) -> Arc<dyn Broker> {
    match kind {
        #[cfg(feature = "kafka")]
        Kind::Kafka => Arc::new(kafka_streams::Kafka(url.to_owned())),
        #[cfg(feature = "nats")]
        Kind::Nats => Arc::new(nats_streams::Nats(url.to_owned())),
        #[cfg(feature = "redis")]
        Kind::Redis => Arc::new(redis_streams::Redis(url.to_owned())),
        #[cfg(feature = "postgres")]
        Kind::Postgres => unreachable!("PostgreSQL has no streams"),
    }
}

/// All rows that there are now, from `positions` on, which move behind them.
async fn take(source: &dyn StreamSource, positions: &mut Positions) -> Result<Vec<StreamBatch>> {
    let mut taken = Vec::new();
    while let Some(batches) = source.poll(positions, 1_000).await? {
        for batch in &batches {
            positions.insert(Arc::clone(&batch.partition), batch.offsets.last().unwrap() + 1);
        }
        taken.extend(batches);
    }
    Ok(taken)
}

fn offsets(batches: &[StreamBatch]) -> Vec<u64> {
    batches.iter().flat_map(|batch| batch.offsets.clone()).collect()
}

fn numbers(ids: Range<i64>) -> Vec<String> {
    ids.map(|id| format!("{{\"number\": {id}}}")).collect()
}

fn number() -> Arc<Schema> {
    Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, false)]))
}

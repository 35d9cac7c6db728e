//! Streams on servers: the promises of a source, kills of the consumer and of the server, messages that are no rows,
//! and streams that have forgotten too much.
#![allow(
    clippy::disallowed_methods,
    reason = "the test tells its child process where to read and write by environment variables"
)]

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{
    BatchCheck, CheckFailure, CheckOutcome, Error, ErrorKind, Result,
    arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type},
    arrow_schema::{DataType, Field, Schema},
    testing::{SplitMix64, acknowledge, run_and_kill},
};
#[cfg(feature = "redis")]
use mlops_features::stream::{RedisSource, RedisSourceSettings};
use mlops_features::{
    FeatureStore, MemoryOnlineStore, Scan, StreamIngestor, StreamSettings, StreamSource,
    stream::{JsonMessages, conformance},
};
use tokio_util::sync::CancellationToken;

use crate::{
    data::{clock, schema},
    servers::{Kind, Server},
    table::ids,
};

/// What producers and consumers of one kind of server do.
#[async_trait]
trait Broker: Send + Sync {
    /// Puts `messages` into stream `name`, which is made when it is not there.
    async fn send(&self, name: &str, messages: &[String]);
    /// A source that reads `name`; a stream that is not followed ends with the last message.
    async fn source(&self, name: &str, schema: Arc<Schema>, follow: bool) -> Result<Arc<dyn StreamSource>>;
    /// Removes all but the last `keep` messages.
    async fn forget(&self, name: &str, keep: usize);
}

fn broker(kind: Kind, url: &str) -> Arc<dyn Broker> {
    match kind {
        #[cfg(feature = "redis")]
        Kind::Redis => Arc::new(Redis(url.to_owned())),
        #[cfg(feature = "postgres")]
        Kind::Postgres => unreachable!("PostgreSQL has no streams"),
    }
}

#[cfg(feature = "redis")]
struct Redis(String);

#[cfg(feature = "redis")]
#[async_trait]
impl Broker for Redis {
    async fn send(&self, name: &str, messages: &[String]) {
        let client = redis::Client::open(self.0.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        for messages in messages.chunks(1_000) {
            let mut pipeline = redis::pipe();
            for message in messages {
                pipeline.cmd("XADD").arg(name).arg("*").arg("payload").arg(message);
            }
            pipeline.query_async::<()>(&mut connection).await.unwrap();
        }
    }

    async fn source(&self, name: &str, schema: Arc<Schema>, follow: bool) -> Result<Arc<dyn StreamSource>> {
        let settings =
            RedisSourceSettings { follow, wait: Duration::from_millis(20), ..RedisSourceSettings::default() };
        let decoder = Arc::new(JsonMessages::new(schema));
        Ok(Arc::new(RedisSource::connect(&self.0, name, [("0", name)], decoder, settings).await?))
    }

    async fn forget(&self, name: &str, keep: usize) {
        let client = redis::Client::open(self.0.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut trim = redis::cmd("XTRIM");
        trim.arg(name).arg("MAXLEN").arg(keep).query_async::<()>(&mut connection).await.unwrap();
    }
}

struct Sender(Arc<dyn Broker>, String);

#[async_trait]
impl conformance::Feed for Sender {
    async fn send(&mut self, numbers: RecordBatch) -> Result<()> {
        let numbers = numbers.column(0).as_primitive::<Int64Type>();
        let messages: Vec<String> = numbers.values().iter().map(|number| format!("{{\"number\": {number}}}")).collect();
        self.0.send(&self.1, &messages).await;
        Ok(())
    }

    /// The streams of servers end with the last message when they are not followed.
    async fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

async fn promises(kind: Kind) {
    let Some(server) = Server::start(kind) else { return };
    let broker = broker(kind, &server.url());
    let make = async |name: &str, follow| {
        let numbers = Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, false)]));
        (broker.source(name, numbers, follow).await.unwrap(), Sender(Arc::clone(&broker), name.to_owned()))
    };
    let (source, mut feed) = make("once", true).await;
    conformance::gives_every_row_once_and_in_order(&source, &mut feed).await.unwrap();
    let (source, mut feed) = make("again", true).await;
    conformance::gives_again_what_was_not_committed(&source, &mut feed).await.unwrap();
    let (source, mut feed) = make("waits", true).await;
    conformance::a_poll_waits_and_may_be_dropped(&source, &mut feed).await.unwrap();
    let (source, mut feed) = make("ends", false).await;
    conformance::ends_after_the_last_row(&source, &mut feed).await.unwrap();
}

/// Refuses rows whose number is below 0.
#[derive(Debug)]
struct NotNegative;

impl BatchCheck for NotNegative {
    fn check(&self, batch: &RecordBatch) -> Result<CheckOutcome> {
        let values = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
        let rows: Vec<usize> = (0..values.len()).filter(|row| values.value(*row) < 0).collect();
        let (rule, column, message) = ("not_negative".into(), Some("n".into()), "below 0".into());
        let failures = if rows.is_empty() { Vec::new() } else { vec![CheckFailure { rule, column, message, rows }] };
        Ok(CheckOutcome { failures, warnings: Vec::new() })
    }
}

/// Message `id`: 1 of 13 has a negative number, 1 of 17 is no row.
fn message(id: i64) -> String {
    if is_poison(id) {
        return format!("{{\"k\": 1, \"id\": {id}, \"event_timestamp\": ");
    }
    let number = if is_negative(id) { -1 } else { 1 };
    format!("{{\"k\": 1, \"id\": {id}, \"event_timestamp\": {}, \"n\": {number}}}", 10 * id)
}

fn is_poison(id: i64) -> bool {
    id % 17 == 5
}

fn is_negative(id: i64) -> bool {
    id % 13 == 4
}

fn messages(ids: Range<i64>) -> Vec<String> {
    ids.map(message).collect()
}

async fn store(home: &str) -> FeatureStore {
    FeatureStore::builder(home)
        .with_clock(clock())
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema())
        .with_check("events", Arc::new(NotNegative))
        .build()
        .await
        .unwrap()
}

async fn ingestor(
    store: &FeatureStore,
    broker: &dyn Broker,
    follow: bool,
    rows_per_commit_max: usize,
) -> Result<Arc<StreamIngestor>> {
    let source = broker.source("events", schema(), follow).await?;
    let settings = StreamSettings { rows_per_commit_max, ..StreamSettings::default() };
    Ok(Arc::new(StreamIngestor::new(store.ingestor("events").unwrap(), source, settings)?))
}

/// Every message of `0..end` is where it belongs, once.
async fn check_all_is_there(store: &FeatureStore, end: i64) {
    let gate = store.ingestor("events").unwrap();
    let mut table = ids(&store.table("events").unwrap().scan_all(Scan::latest()).await.unwrap());
    table.sort_unstable();
    let kept = |id: &i64| !is_poison(*id) && !is_negative(*id);
    assert_eq!(table, (0..end).filter(kept).collect::<Vec<_>>());

    gate.rejected().await.unwrap();
    let (mut negative, mut poison) = (Vec::new(), BTreeMap::new());
    for rows in gate.quarantine_table().unwrap().scan_all(Scan::latest()).await.unwrap() {
        let (ids, payloads) = (rows.column_by_name("id").unwrap(), rows.column_by_name("quarantine_payload").unwrap());
        let (ids, payloads) = (ids.as_primitive::<Int64Type>(), payloads.as_binary::<i32>());
        for row in 0..rows.num_rows() {
            if payloads.is_valid(row) {
                *poison.entry(String::from_utf8(payloads.value(row).to_vec()).unwrap()).or_insert(0) += 1;
            } else {
                negative.push(ids.value(row));
            }
        }
    }
    negative.sort_unstable();
    let expected: Vec<i64> = (0..end).filter(|id| is_negative(*id) && !is_poison(*id)).collect();
    assert_eq!(negative, expected);
    let expected: BTreeMap<String, i32> = (0..end).filter(|id| is_poison(*id)).map(|id| (message(id), 1)).collect();
    assert_eq!(poison, expected);
}

const KIND: &str = "MLOPS_FEATURES_BROKER_KIND";
const URL: &str = "MLOPS_FEATURES_BROKER_URL";
const HOME: &str = "MLOPS_FEATURES_BROKER_HOME";
/// How often a run of the crash test kills.
const KILLS: &str = "MLOPS_FEATURES_KILLS";

/// The child: takes messages in, few at a time, until it is killed. Does nothing when run as a test.
#[test]
fn child() {
    let (Ok(kind), Ok(url), Ok(home)) = (std::env::var(KIND), std::env::var(URL), std::env::var(HOME)) else { return };
    let kinds = [
        #[cfg(feature = "redis")]
        Kind::Redis,
    ];
    let kind = kinds.into_iter().find(|known| format!("{known:?}") == kind).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = store(&home).await;
        let stream = ingestor(&store, broker(kind, &url).as_ref(), true, 7).await.unwrap();
        let mut watch = stream.watch();
        let stop = CancellationToken::new();
        let mut run = std::pin::pin!(stream.run(&stop));
        loop {
            tokio::select! {
                done = &mut run => panic!("a stream that is followed ended: {done:?}"),
                _ = watch.changed() => acknowledge(watch.borrow_and_update().commits),
            }
        }
    });
}

async fn kills_lose_nothing(kind: Kind) {
    const MESSAGES: i64 = 20_000;
    let Some(server) = Server::start(kind) else { return };
    let broker = broker(kind, &server.url());
    broker.send("events", &messages(0..MESSAGES)).await;
    let home = tempfile::tempdir().unwrap();
    let location = home.path().to_str().unwrap();
    let kills = std::env::var(KILLS).ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let random = SplitMix64::new(20_260_103);
    for kill in 0..kills {
        let acks = 2 + usize::try_from(random.bits(2 * kill) % 4).unwrap();
        let spins = random.bits(2 * kill + 1) % 40_000;
        let (name, url) = (format!("{kind:?}"), server.url());
        let envs = [(KIND, name.as_str()), (URL, url.as_str()), (HOME, location)];
        run_and_kill("stream_servers::child", &envs, acks, spins).expect("the child acknowledged something");
    }
    let store = store(location).await;
    let stream = ingestor(&store, broker.as_ref(), false, 100_000).await.unwrap();
    let progress = stream.run(&CancellationToken::new()).await.unwrap();
    assert!(progress.rows > 0, "the children left something to do");
    check_all_is_there(&store, MESSAGES).await;
    println!("{kills} kills, {MESSAGES} messages, {} rows in the last run", progress.rows);
}

/// A server that dies under the consumer is an error; afterwards it goes on where it was.
async fn a_dead_server_is_survived(kind: Kind) {
    let Some(mut server) = Server::start(kind) else { return };
    let broker = broker(kind, &server.url());
    broker.send("events", &messages(0..100)).await;
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path().to_str().unwrap()).await;
    let stream = ingestor(&store, broker.as_ref(), true, 1_000).await.unwrap();
    let mut watch = stream.watch();
    let running = tokio::spawn({
        let stream = Arc::clone(&stream);
        async move { stream.run(&CancellationToken::new()).await }
    });
    watch.wait_for(|progress| progress.commits > 0).await.unwrap();
    server.kill();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    server.restart();
    broker.send("events", &messages(100..200)).await;
    let stream = ingestor(&store, broker.as_ref(), false, 1_000).await.unwrap();
    stream.run(&CancellationToken::new()).await.unwrap();
    check_all_is_there(&store, 200).await;
}

/// Rows that are gone before they were read are an error, and those that are durable may go.
async fn what_is_forgotten_is_told(kind: Kind) {
    let Some(server) = Server::start(kind) else { return };
    let broker = broker(kind, &server.url());
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path().to_str().unwrap()).await;
    let take = async || -> Result<_, Error> {
        let stream = ingestor(&store, broker.as_ref(), false, 1_000).await?;
        stream.run(&CancellationToken::new()).await
    };
    broker.send("events", &messages(0..50)).await;
    take().await.unwrap();
    broker.forget("events", 1).await;
    broker.send("events", &messages(50..100)).await;
    take().await.unwrap();
    check_all_is_there(&store, 100).await;
    broker.send("events", &messages(100..150)).await;
    broker.forget("events", 10).await;
    let error = take().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert!(error.message().contains("no longer has"), "{error}");
    check_all_is_there(&store, 100).await;
}

#[cfg(feature = "redis")]
mod redis_streams {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn redis_keeps_the_promises_of_a_source() {
        promises(Kind::Redis).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn redis_streams_that_are_killed_lose_nothing_and_double_nothing() {
        kills_lose_nothing(Kind::Redis).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_redis_that_dies_is_survived() {
        a_dead_server_is_survived(Kind::Redis).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_deleted_entry_and_a_deleted_stream_stop_nothing() {
        let Some(server) = Server::start(Kind::Redis) else { return };
        let broker = broker(Kind::Redis, &server.url());
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path().to_str().unwrap()).await;
        for ids in [0..50, 50..100] {
            broker.send("events", &messages(ids)).await;
            let stream = ingestor(&store, broker.as_ref(), false, 1_000).await.unwrap();
            stream.run(&CancellationToken::new()).await.unwrap();
            let mut last = redis::cmd("XREVRANGE");
            last.arg("events").arg("+").arg("-").arg("COUNT").arg(1);
            let last: Vec<(String, Vec<String>)> = last.query_async(&mut connection).await.unwrap();
            let mut delete = redis::cmd("XDEL");
            delete.arg("events").arg(&last[0].0).query_async::<()>(&mut connection).await.unwrap();
        }
        check_all_is_there(&store, 100).await;

        broker.send("kept", &messages(0..1)).await;
        let decoder = Arc::new(JsonMessages::new(schema()));
        let (keys, settings) = ([("0", "gone"), ("1", "kept")], RedisSourceSettings::default());
        let source = RedisSource::connect(&server.url(), "both", keys, decoder, settings).await.unwrap();
        source.commit(&[("0".into(), 7 << 20), ("1".into(), 7 << 20)].into_iter().collect()).await.unwrap();
        let mut groups = redis::cmd("XINFO");
        let groups: Vec<redis::Value> = groups.arg("GROUPS").arg("kept").query_async(&mut connection).await.unwrap();
        assert_eq!(groups.len(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_redis_has_forgotten_is_told() {
        what_is_forgotten_is_told(Kind::Redis).await;
    }
}

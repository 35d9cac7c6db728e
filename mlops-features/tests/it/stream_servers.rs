//! Streams on servers: the promises of a source, kills of the consumer and of the server, messages that are no rows,
//! and streams that have forgotten too much.
#![allow(
    clippy::disallowed_methods,
    reason = "the test tells its child process where to read and write by environment variables"
)]

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{
    BatchCheck, CheckFailure, CheckOutcome, ErrorKind, Result,
    arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type},
    arrow_schema::{DataType, Field, Schema},
    testing::{SplitMix64, acknowledge, run_and_kill},
};
#[cfg(feature = "kafka")]
use mlops_features::stream::{KafkaServer, KafkaSource, KafkaSourceSettings};
#[cfg(feature = "nats")]
use mlops_features::stream::{NatsServer, NatsSource, NatsSourceSettings};
#[cfg(feature = "redis")]
use mlops_features::stream::{RedisSource, RedisSourceSettings};
use mlops_features::{
    FeatureStore, MemoryOnlineStore, Scan, StreamIngestor, StreamSettings, StreamSource,
    stream::{JsonMessages, Positions, ReadSettings, StreamBatch, conformance},
};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "kafka")]
use crate::servers::{kafka_broker, kafka_python};
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
        Kind::Kafka => Arc::new(Kafka(url.to_owned())),
        #[cfg(feature = "nats")]
        Kind::Nats => Arc::new(Nats(url.to_owned())),
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
        let read = read_settings(follow, Duration::ZERO);
        let settings = RedisSourceSettings { read, ..RedisSourceSettings::default() };
        let decoder = Arc::new(JsonMessages::new(schema));
        Ok(Arc::new(RedisSource::connect(&self.0, name, [("0", name)], decoder, settings).await?))
    }
}

#[cfg(feature = "redis")]
#[async_trait]
impl Forgets for Redis {
    async fn forget(&self, name: &str, keep: usize) {
        let client = redis::Client::open(self.0.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut trim = redis::cmd("XTRIM");
        trim.arg(name).arg("MAXLEN").arg(keep).query_async::<()>(&mut connection).await.unwrap();
    }
}

#[cfg(feature = "nats")]
struct Nats(String);

#[cfg(feature = "nats")]
impl Nats {
    async fn context(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(async_nats::connect(&self.0).await.unwrap())
    }

    /// The stream, which is made when it is not there. Its only subject is its name.
    async fn stream(&self, name: &str) -> async_nats::jetstream::stream::Stream {
        let config = async_nats::jetstream::stream::Config { name: name.to_owned(), ..Default::default() };
        self.context().await.get_or_create_stream(config).await.unwrap()
    }

    fn settings(follow: bool, patience: Duration) -> NatsSourceSettings {
        NatsSourceSettings { read: read_settings(follow, patience), ..NatsSourceSettings::default() }
    }

    async fn read(&self, name: &str, schema: Arc<Schema>, settings: NatsSourceSettings) -> Result<NatsSource> {
        let decoder = Arc::new(JsonMessages::new(schema));
        NatsSource::connect(&NatsServer::at(&self.0)?, name, [("0", name)], decoder, settings).await
    }
}

#[cfg(feature = "nats")]
#[async_trait]
impl Broker for Nats {
    async fn send(&self, name: &str, messages: &[String]) {
        self.stream(name).await;
        let context = self.context().await;
        for messages in messages.chunks(1_000) {
            let mut sent = Vec::with_capacity(messages.len());
            for message in messages {
                sent.push(context.publish(name.to_owned(), message.clone().into()).await.unwrap());
            }
            for sent in sent {
                sent.await.unwrap();
            }
        }
    }

    async fn source(&self, name: &str, schema: Arc<Schema>, follow: bool) -> Result<Arc<dyn StreamSource>> {
        self.stream(name).await;
        Ok(Arc::new(self.read(name, schema, Self::settings(follow, Duration::ZERO)).await?))
    }
}

#[cfg(feature = "nats")]
#[async_trait]
impl Forgets for Nats {
    async fn forget(&self, name: &str, keep: usize) {
        self.stream(name).await.purge().keep(keep as u64).await.unwrap();
    }
}

#[cfg(feature = "kafka")]
struct Kafka(String);

/// Partitions of the topics that `.ci/kafka_broker.py` makes.
#[cfg(feature = "kafka")]
const KAFKA_PARTITIONS: usize = 4;

#[cfg(feature = "kafka")]
impl Kafka {
    /// Sends messages, each into a partition; one of none is a tombstone.
    async fn send_to(&self, topic: &str, codec: &str, messages: impl IntoIterator<Item = (usize, Option<&str>)>) {
        let line = |(partition, message): (usize, Option<&str>)| match message {
            Some(message) => format!("{partition}\t{message}\n"),
            None => format!("{partition}\n"),
        };
        let lines: String = messages.into_iter().map(line).collect();
        let mut send = kafka_broker(&kafka_python().unwrap());
        send.args(["send", &self.0, topic, "--codec", codec]).stdin(std::process::Stdio::piped());
        let sent = tokio::task::spawn_blocking(move || {
            let mut sender = send.spawn().unwrap();
            // Its input ends where this is dropped.
            std::io::Write::write_all(&mut sender.stdin.take().unwrap(), lines.as_bytes()).unwrap();
            sender.wait().unwrap()
        });
        assert!(sent.await.unwrap().success());
    }

    async fn read(&self, topic: &str, schema: Arc<Schema>, settings: KafkaSourceSettings) -> Result<KafkaSource> {
        let decoder = Arc::new(JsonMessages::new(schema));
        KafkaSource::connect(KafkaServer::at(&self.0)?, topic, topic, decoder, settings).await
    }
}

#[cfg(feature = "kafka")]
#[async_trait]
impl Broker for Kafka {
    async fn send(&self, name: &str, messages: &[String]) {
        let spread = messages.iter().enumerate().map(|(at, message)| (at % KAFKA_PARTITIONS, Some(message.as_str())));
        self.send_to(name, "none", spread).await;
    }

    async fn source(&self, name: &str, schema: Arc<Schema>, follow: bool) -> Result<Arc<dyn StreamSource>> {
        self.send(name, &[]).await;
        let settings =
            KafkaSourceSettings { read: read_settings(follow, Duration::ZERO), ..KafkaSourceSettings::default() };
        Ok(Arc::new(self.read(name, schema, settings).await?))
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
        #[cfg(feature = "kafka")]
        Kind::Kafka,
        #[cfg(feature = "nats")]
        Kind::Nats,
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
#[cfg(any(feature = "nats", feature = "redis"))]
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
#[cfg(any(feature = "nats", feature = "redis"))]
async fn what_is_forgotten_is_told(broker: &dyn Forgets) {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path().to_str().unwrap()).await;
    let take = async || -> Result<_> {
        let stream = ingestor(&store, broker, false, 1_000).await?;
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

    #[tokio::test]
    async fn what_redis_has_forgotten_is_skipped_on_demand() {
        let Some(server) = Server::start(Kind::Redis) else { return };
        let redis = Redis(server.url());
        let read = async |skip_missing| {
            let read = ReadSettings { skip_missing, ..read_settings(false, Duration::ZERO) };
            let settings = RedisSourceSettings { read, ..RedisSourceSettings::default() };
            let decoder = Arc::new(JsonMessages::new(number()));
            RedisSource::connect(&redis.0, "events", [("0", "events")], decoder, settings).await.unwrap()
        };
        redis.send("events", &numbers(0..50)).await;
        let mut positions = Positions::new();
        assert_eq!(offsets(&take(&read(false).await, &mut positions).await.unwrap()).len(), 50);
        redis.send("events", &numbers(50..100)).await;
        redis.forget("events", 10).await;
        let error = take(&read(false).await, &mut positions).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert_eq!(offsets(&take(&read(true).await, &mut positions).await.unwrap()).len(), 10);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_redis_has_forgotten_is_told() {
        let Some(server) = Server::start(Kind::Redis) else { return };
        what_is_forgotten_is_told(&Redis(server.url())).await;
    }
}

#[cfg(feature = "nats")]
mod nats_streams {
    use std::path::Path;

    use async_nats::jetstream::stream::{Config, RetentionPolicy};
    use futures::{StreamExt as _, TryStreamExt as _};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nats_keeps_the_promises_of_a_source() {
        promises(Kind::Nats).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nats_streams_that_are_killed_lose_nothing_and_double_nothing() {
        kills_lose_nothing(Kind::Nats).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_nats_that_dies_is_told() {
        a_dead_server_is_survived(Kind::Nats).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_nats_has_forgotten_is_told() {
        let Some(server) = Server::start(Kind::Nats) else { return };
        what_is_forgotten_is_told(&Nats(server.url())).await;
    }

    /// The consumer lives on while its server is killed and started again: it waits, connects again and goes on.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_nats_that_is_killed_and_started_again_is_waited_for() {
        let Some(mut server) = Server::start(Kind::Nats) else { return };
        let nats = Nats(server.url());
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path().to_str().unwrap()).await;
        nats.send("events", &messages(0..100)).await;
        let source = nats.read("events", schema(), Nats::settings(true, Duration::from_secs(600))).await.unwrap();
        let settings = StreamSettings { rows_per_commit_max: 30, ..StreamSettings::default() };
        let stream = StreamIngestor::new(store.ingestor("events").unwrap(), Arc::new(source), settings).unwrap();
        let (mut watch, stop) = (stream.watch(), CancellationToken::new());
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { stream.run(&stop).await }
        });
        let partition: Arc<str> = "0".into();
        for round in 1..4 {
            watch.wait_for(|progress| progress.positions.get(&partition).is_some_and(|at| *at > 1)).await.unwrap();
            server.kill();
            server.restart();
            nats.send("events", &messages(100 * round..100 * (round + 1))).await;
            let end = u64::try_from(100 * (round + 1) + 1).unwrap();
            watch.wait_for(|progress| progress.positions.get(&partition) == Some(&end)).await.unwrap();
        }
        stop.cancel();
        running.await.unwrap().unwrap();
        check_all_is_there(&store, 400).await;
    }

    #[tokio::test]
    async fn messages_that_are_gone_are_named_and_skipped_only_on_demand() {
        let Some(server) = Server::start(Kind::Nats) else { return };
        let nats = Nats(server.url());
        let refusing = Nats::settings(false, Duration::ZERO);
        let read = ReadSettings { skip_missing: true, ..refusing.read.clone() };
        let skipping = NatsSourceSettings { read, ..refusing.clone() };
        nats.send("holes", &numbers(0..10)).await;
        let stream = nats.stream("holes").await;
        for sequence in [5, 6] {
            stream.delete_message(sequence).await.unwrap();
        }
        let source = nats.read("holes", number(), refusing.clone()).await.unwrap();
        let mut positions = Positions::new();
        let error = take(&source, &mut positions).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains("no longer has messages 5 to 6"), "{error}");
        assert_eq!(positions.values().collect::<Vec<_>>(), [&5], "what lies before the hole is taken");
        let source = nats.read("holes", number(), skipping.clone()).await.unwrap();
        assert_eq!(offsets(&take(&source, &mut positions).await.unwrap()), [7, 8, 9, 10]);

        // Purged whole, by limits, and removed: each is told with what is lost.
        let source = nats.read("holes", number(), refusing.clone()).await.unwrap();
        nats.send("holes", &numbers(10..20)).await;
        stream.purge().await.unwrap();
        let error = take(&source, &mut positions).await.unwrap_err();
        assert!(error.message().contains("no longer has messages 11 to 20"), "{error}");
        let mut config = stream.cached_info().config.clone();
        config.max_messages = 3;
        nats.context().await.update_stream(config).await.unwrap();
        nats.send("holes", &numbers(20..30)).await;
        let error = take(&source, &mut positions).await.unwrap_err();
        assert!(error.message().contains("no longer has messages 11 to 27"), "{error}");
        let patient = nats.read("holes", number(), skipping).await.unwrap();
        assert_eq!(offsets(&take(&patient, &mut positions).await.unwrap()), [28, 29, 30]);
        nats.context().await.delete_stream("holes").await.unwrap();
        let error = take(&source, &mut positions).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.message().contains("\"holes\"") && error.message().contains("localhost:"), "{error}");
    }

    #[tokio::test]
    async fn a_stream_that_was_made_anew_is_not_taken_for_the_old_one() {
        let Some(server) = Server::start(Kind::Nats) else { return };
        let nats = Nats(server.url());
        let settings = NatsSourceSettings { forget: true, ..Nats::settings(false, Duration::ZERO) };
        nats.send("anew", &numbers(0..10)).await;
        let source = nats.read("anew", number(), settings.clone()).await.unwrap();
        let mut positions = Positions::new();
        assert_eq!(take(&source, &mut positions).await.unwrap().len(), 1);
        nats.context().await.delete_stream("anew").await.unwrap();
        nats.send("anew", &numbers(0..4)).await;

        let other = nats.read("anew", number(), settings).await.unwrap();
        let error = take(&other, &mut positions).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains("ends with message 4, but messages up to 10"), "{error}");
        // With more messages than the old one only whoever read that one can tell.
        nats.send("anew", &numbers(4..20)).await;
        let error = take(&source, &mut positions).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains("made anew"), "{error}");
        for source in [source, other] {
            source.commit(&positions).await.unwrap();
        }
        let info = nats.stream("anew").await.get_info().await.unwrap();
        assert_eq!(info.state.messages, 20, "messages that were never read are not purged");
    }

    #[tokio::test]
    async fn what_is_durable_is_purged_on_demand_and_nothing_else() {
        let Some(server) = Server::start(Kind::Nats) else { return };
        let nats = Nats(server.url());
        let settings = NatsSourceSettings { forget: true, ..Nats::settings(false, Duration::ZERO) };
        nats.send("short", &numbers(0..10)).await;
        let source = nats.read("short", number(), settings).await.unwrap();
        let mut positions = Positions::new();
        take(&source, &mut positions).await.unwrap();
        source.commit(&[("0".into(), 7)].into_iter().collect()).await.unwrap();
        let state = nats.stream("short").await.get_info().await.unwrap().state;
        assert_eq!((state.first_sequence, state.last_sequence), (7, 10));
        nats.send("short", &numbers(10..12)).await;
        assert_eq!(offsets(&take(&source, &mut positions).await.unwrap()), [11, 12]);
    }

    #[tokio::test]
    async fn several_streams_are_partitions_and_reads_are_bounded() {
        let Some(server) = Server::start(Kind::Nats) else { return };
        let nats = Nats(server.url());
        for (name, count) in [("one", 5), ("two", 70), ("three", 0)] {
            nats.stream(name).await;
            nats.send(name, &numbers(0..count)).await;
        }
        let streams = [("1", "one"), ("2", "two"), ("3", "three")];
        let server_of = NatsServer::at(&server.url()).unwrap();
        let read = async |settings| {
            let decoder = Arc::new(JsonMessages::new(number()));
            NatsSource::connect(&server_of, "all", streams, decoder, settings).await.unwrap()
        };
        let mut settings = Nats::settings(false, Duration::ZERO);
        settings.read.messages_max = 8;
        let source = read(settings.clone()).await;
        let taken = take(&source, &mut Positions::new()).await.unwrap();
        assert!(taken.iter().all(|batch| batch.offsets.len() <= 8));
        let of = |partition: &str| {
            let of = |batch: &&StreamBatch| &*batch.partition == partition;
            taken.iter().filter(of).flat_map(|batch| batch.offsets.clone()).collect::<Vec<_>>()
        };
        assert_eq!((of("1"), of("2"), of("3")), ((1..=5).collect(), (1..=70).collect(), Vec::new()));

        // A message takes about 100 bytes with its address, so that three of them do not fit.
        let small = NatsSourceSettings { bytes_max: 3 * 250, ..settings.clone() };
        let taken = take(&read(small).await, &mut Positions::new()).await.unwrap();
        assert_eq!(offsets(&taken).len(), 75);
        assert!(taken.iter().any(|batch| batch.offsets.len() < 8), "reads are bounded by bytes");
        let large = format!("{{\"number\": 1, \"text\": \"{}\"}}", "x".repeat(5_000));
        nats.send("three", &[large]).await;
        let alone = NatsSourceSettings { bytes_max: 6_000, ..settings.clone() };
        let taken = take(&read(alone).await, &mut Positions::new()).await.unwrap();
        assert_eq!(offsets(&taken).len(), 76, "one message may have more than its partition's share");
        let source = read(NatsSourceSettings { bytes_max: 3 * 1_000, ..settings }).await;
        let error = take(&source, &mut Positions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        assert!(error.message().contains("raise bytes_max"), "{error}");
    }

    #[tokio::test]
    async fn waits_of_any_length_are_taken() {
        let Some(server) = Server::start(Kind::Nats) else { return };
        let nats = Nats(server.url());
        nats.stream("waits").await;
        for wait in [Duration::ZERO, Duration::MAX] {
            let read = ReadSettings { wait, ..ReadSettings::default() };
            let settings = NatsSourceSettings { read, ..NatsSourceSettings::default() };
            let source = nats.read("waits", number(), settings).await.unwrap();
            let positions =
                Positions::from([("0".into(), nats.stream("waits").await.cached_info().state.last_sequence)]);
            let positions = positions.into_iter().map(|(partition, last)| (partition, last + 1)).collect();
            let one = numbers(0..1);
            let (found, ()) = tokio::join!(source.poll(&positions, 10), nats.send("waits", &one));
            assert_eq!(offsets(&found.unwrap().unwrap()).len(), 1, "{wait:?}");
        }
    }

    /// A server forgets a consumer that nobody asks, and one of an older version (2.9) says nothing at all when it is
    /// asked again.
    #[tokio::test]
    async fn a_pause_of_any_length_and_a_consumer_that_is_gone_end_nothing() {
        let Some(server) = Server::start(Kind::Nats) else { return };
        let nats = Nats(server.url());
        let mut settings = Nats::settings(true, Duration::ZERO);
        (settings.idle, settings.read.timeout) = (Duration::from_millis(200), Duration::from_secs(1));
        let source = nats.read("pauses", number(), settings.clone()).await.unwrap();
        let other = NatsSourceSettings { idle: Duration::from_secs(600), ..settings };
        let other = nats.read("pauses", number(), other).await.unwrap();
        let stream = nats.stream("pauses").await;
        let names = async || stream.consumer_names().collect::<Vec<_>>().await.len();
        let (mut positions, mut others) = (Positions::new(), Positions::new());
        for round in 0..3 {
            nats.send("pauses", &numbers(round..round + 1)).await;
            for (source, positions) in [(&source, &mut positions), (&other, &mut others)] {
                let found = source.poll(positions, 10).await.unwrap().unwrap();
                assert_eq!(offsets(&found), [u64::try_from(round).unwrap() + 1]);
                positions.insert("0".into(), offsets(&found)[0] + 1);
            }
            // The server has forgotten the one, and is made to forget the other.
            while names().await > 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let left: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
            stream.delete_consumer(&left[0]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn only_streams_that_keep_what_was_read_are_read() {
        let Some(server) = Server::start(Kind::Nats) else { return };
        let nats = Nats(server.url());
        let config = Config { name: "work".into(), retention: RetentionPolicy::WorkQueue, ..Default::default() };
        nats.context().await.create_stream(config).await.unwrap();
        let source = nats.read("work", number(), NatsSourceSettings::default()).await.unwrap();
        let error = take(&source, &mut Positions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains("WorkQueue"), "{error}");
        for stream in ["", "a.b", "a*", ">", "a b"] {
            let error = nats.read(stream, number(), NatsSourceSettings::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
    }

    /// Whether a source of `server` is let in and can ask about streams.
    async fn ask(server: &NatsServer) -> Result<()> {
        let decoder = Arc::new(JsonMessages::new(number()));
        let settings = Nats::settings(true, Duration::ZERO);
        let source = NatsSource::connect(server, "events", [("0", "events")], decoder, settings).await?;
        let error = take(&source, &mut Positions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        Ok(())
    }

    #[tokio::test]
    async fn credentials_are_shown_to_the_server() {
        let Some(server) = Server::start_nats(&["--user", "reader", "--pass", "p@ss"]) else { return };
        let url = server.url();
        let at = |user: &str| NatsServer::at(&url.replace("//", &format!("//{user}"))).unwrap();
        ask(&at("reader:p%40ss@")).await.unwrap();
        ask(&at("").with_password("reader", "p@ss")).await.unwrap();
        for wrong in [at(""), at("reader:pass@"), at("").with_token("p@ss")] {
            let error = ask(&wrong).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            assert!(error.message().contains("localhost:") && !error.chain().contains("p@ss"), "{error}");
        }
        let server = Server::start_nats(&["--auth", "t0ken"]).unwrap();
        ask(&NatsServer::at(&server.url().replace("//", "//t0ken@")).unwrap()).await.unwrap();
        ask(&NatsServer::at(&server.url()).unwrap().with_token("t0ken")).await.unwrap();
        let address = NatsServer::at(&server.url()).unwrap();
        drop(server);
        let error = ask(&address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains(&address.to_string()), "{error}");
    }

    /// The certificates are those of the model server's tests: `ca` signed `server` (for localhost) and `client`.
    #[tokio::test]
    async fn tls_is_spoken_and_mutual_where_the_server_wants_it() {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlops-serve/tests/it/certificates");
        let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
        let read = |name: &str| std::fs::read(home.join(name)).unwrap();
        let (server, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
        let options = ["--tls", "--tlscert", &server, "--tlskey", &key, "--tlscacert", &ca];
        let Some(server) = Server::start_nats(&[options.as_slice(), &["--tlsverify"]].concat()) else { return };
        let at = || NatsServer::at(&server.url()).unwrap();
        let known = at().with_authorities(&read("ca.pem")).unwrap();
        let error = ask(&known).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "a client without a certificate: {error}");
        ask(&known.with_certificate(&read("client.pem"), &read("client.key")).unwrap()).await.unwrap();
        let stranger = at().with_certificate(&read("client.pem"), &read("client.key")).unwrap();
        let error = ask(&stranger).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "an authority that nobody knows: {error}");
        let plain = Server::start(Kind::Nats).unwrap();
        let at = || NatsServer::at(&plain.url()).unwrap();
        ask(&at()).await.unwrap();
        let error = ask(&at().with_authorities(&read("ca.pem")).unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "a server that does not speak TLS: {error}");
    }
}

#[cfg(feature = "kafka")]
mod kafka_streams {
    use mlops_features::stream::StartAt;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn kafka_keeps_the_promises_of_a_source() {
        promises(Kind::Kafka).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn kafka_streams_that_are_killed_lose_nothing_and_double_nothing() {
        kills_lose_nothing(Kind::Kafka).await;
    }

    fn settings(follow: bool, patience: Duration) -> KafkaSourceSettings {
        KafkaSourceSettings { read: read_settings(follow, patience), ..KafkaSourceSettings::default() }
    }

    #[tokio::test]
    async fn a_kafka_that_dies_is_told_and_one_with_fewer_messages_is_not_taken_for_it() {
        let Some(mut server) = Server::start(Kind::Kafka) else { return };
        let kafka = Kafka(server.url());
        kafka.send("events", &numbers(0..100)).await;
        let source = kafka.read("events", number(), settings(false, Duration::ZERO)).await.unwrap();
        let mut positions = Positions::new();
        assert_eq!(offsets(&take(&source, &mut positions).await.unwrap()).len(), 100);
        server.kill();
        let error = take(&source, &mut positions).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");

        server.restart();
        let kafka = Kafka(server.url());
        kafka.send("events", &numbers(0..8)).await;
        let source = kafka.read("events", number(), settings(false, Duration::ZERO)).await.unwrap();
        let error = take(&source, &mut positions).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains("ends before message 2, but messages up to 24 are durable"), "{error}");
        assert_eq!(offsets(&take(&source, &mut Positions::new()).await.unwrap()).len(), 8);
    }

    /// Brokers that hang are waited for within patience; what is asked meanwhile has a limit.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_kafka_that_hangs_is_waited_for() {
        let Some(server) = Server::start(Kind::Kafka) else { return };
        let kafka = Kafka(server.url());
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path().to_str().unwrap()).await;
        kafka.send("events", &messages(0..100)).await;
        let mut patient = settings(true, Duration::from_secs(600));
        patient.read.timeout = Duration::from_millis(300);
        let source = kafka.read("events", schema(), patient).await.unwrap();
        let gate = store.ingestor("events").unwrap();
        let stream = StreamIngestor::new(gate, Arc::new(source), StreamSettings::default()).unwrap();
        let (mut watch, stop) = (stream.watch(), CancellationToken::new());
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { stream.run(&stop).await }
        });
        let all = |count: u64| move |positions: &Positions| positions.values().sum::<u64>() == count;
        watch.wait_for(|progress| all(100)(&progress.positions)).await.unwrap();
        server.hold(true);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        server.hold(false);
        kafka.send("events", &messages(100..200)).await;
        watch.wait_for(|progress| all(200)(&progress.positions)).await.unwrap();
        stop.cancel();
        running.await.unwrap().unwrap();
        check_all_is_there(&store, 200).await;
    }

    /// Of a partition the newest 5 MiB are kept.
    #[tokio::test]
    async fn messages_that_are_gone_are_named_and_skipped_only_on_demand() {
        let Some(server) = Server::start(Kind::Kafka) else { return };
        let kafka = Kafka(server.url());
        kafka.send("events", &numbers(0..8)).await;
        let source = kafka.read("events", number(), settings(false, Duration::ZERO)).await.unwrap();
        let mut positions = Positions::new();
        take(&source, &mut positions).await.unwrap();
        let large = |number: i64| format!("{{\"number\": {number}, \"text\": \"{}\"}}", "x".repeat(100_000));
        let large: Vec<String> = (0..90).map(large).collect();
        kafka.send_to("events", "none", large.iter().map(|message| (2, Some(message.as_str())))).await;
        let error = take(&source, &mut positions).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains("partition 2 of topic \"events\""), "{error}");
        assert!(error.message().contains("no longer has messages 2 to "), "{error}");

        let mut skipping = settings(false, Duration::ZERO);
        skipping.read.skip_missing = true;
        let source = kafka.read("events", number(), skipping).await.unwrap();
        let rest = offsets(&take(&source, &mut positions).await.unwrap());
        assert!((40..60).contains(&rest.len()) && rest.last() == Some(&91), "{} are left", rest.len());
        assert!(rest.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        // Who has nothing yet begins with what there is.
        let source = kafka.read("events", number(), settings(false, Duration::ZERO)).await.unwrap();
        assert_eq!(offsets(&take(&source, &mut Positions::new()).await.unwrap()).len(), rest.len() + 6);
    }

    #[tokio::test]
    async fn every_codec_of_producers_is_read() {
        let Some(server) = Server::start(Kind::Kafka) else { return };
        let kafka = Kafka(server.url());
        // Long enough that compression pays, so that the producer compresses.
        let message = |number: i64| format!("{{\"number\": {number}, \"text\": \"{}\"}}", "compressible ".repeat(50));
        let messages: Vec<String> = (0..400).map(message).collect();
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let spread = messages.iter().enumerate().map(|(at, message)| (at % 2, Some(message.as_str())));
            kafka.send_to(codec, codec, spread).await;
            let source = kafka.read(codec, number(), settings(false, Duration::ZERO)).await.unwrap();
            let taken = take(&source, &mut Positions::new()).await.unwrap();
            let values = taken.iter().flat_map(|batch| batch.records.column(0).as_primitive::<Int64Type>().values());
            let mut values: Vec<i64> = values.copied().collect();
            values.sort_unstable();
            assert_eq!(values, (0..400).collect::<Vec<_>>(), "{codec}");
            assert!(taken.iter().all(|batch| batch.unreadable.is_empty()), "{codec}");
        }
    }

    #[tokio::test]
    async fn tombstones_are_set_aside_by_their_keys() {
        let Some(server) = Server::start(Kind::Kafka) else { return };
        let kafka = Kafka(server.url());
        let [one, other] = ["{\"number\": 1}", "{\"number\": 2}"];
        kafka.send_to("events", "none", [(1, Some(one)), (1, None), (1, Some(other)), (1, Some(""))]).await;
        let source = kafka.read("events", number(), settings(false, Duration::ZERO)).await.unwrap();
        let batches = source.poll(&Positions::new(), 100).await.unwrap().unwrap();
        assert_eq!((&*batches[0].partition, batches[0].offsets.as_slice()), ("1", [0, 2].as_slice()));
        let unreadable: Vec<_> = batches[0].unreadable.iter().map(|bad| (bad.offset, bad.payload.as_ref())).collect();
        assert_eq!(unreadable, [(1, b"key".as_slice()), (3, b"".as_slice())]);
        assert!(batches[0].unreadable[0].reason.contains("tombstone"));
    }

    #[tokio::test]
    async fn a_source_may_begin_after_what_is_there() {
        let Some(server) = Server::start(Kind::Kafka) else { return };
        let kafka = Kafka(server.url());
        kafka.send("events", &numbers(0..10)).await;
        let latest = KafkaSourceSettings { start: StartAt::Latest, ..settings(false, Duration::ZERO) };
        let source = kafka.read("events", number(), latest.clone()).await.unwrap();
        let mut positions = Positions::new();
        assert!(take(&source, &mut positions).await.unwrap().is_empty());
        kafka.send("events", &numbers(10..14)).await;
        assert_eq!(offsets(&take(&source, &mut positions).await.unwrap()).len(), 4);
        kafka.send("events", &numbers(14..18)).await;
        let source = kafka.read("events", number(), latest).await.unwrap();
        let again = take(&source, &mut positions).await.unwrap();
        assert_eq!(offsets(&again).len(), 4, "what is durable says where it goes on");
    }

    #[tokio::test]
    async fn reads_are_bounded() {
        let Some(server) = Server::start(Kind::Kafka) else { return };
        let kafka = Kafka(server.url());
        kafka.send("events", &numbers(0..100)).await;
        let mut few = settings(false, Duration::ZERO);
        few.read.messages_max = 3;
        let source = kafka.read("events", number(), few).await.unwrap();
        let taken = take(&source, &mut Positions::new()).await.unwrap();
        assert!(taken.iter().all(|batch| batch.offsets.len() <= 3));
        assert_eq!(offsets(&taken).len(), 100);

        let large = format!("{{\"number\": 1, \"text\": \"{}\"}}", "x".repeat(300_000));
        kafka.send_to("events", "zstd", [(0, Some(large.as_str()))]).await;
        let small = KafkaSourceSettings { bytes_max: 100_000, ..settings(false, Duration::ZERO) };
        let source = kafka.read("events", number(), small).await.unwrap();
        let error = take(&source, &mut Positions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        assert!(error.message().contains("raise bytes_max"), "{error}");
    }

    #[tokio::test]
    async fn what_can_be_no_topic_and_no_broker_is_told() {
        let Some(mut server) = Server::start(Kind::Kafka) else { return };
        let kafka = Kafka(server.url());
        let read = async |topic: &str| kafka.read(topic, number(), settings(false, Duration::ZERO)).await;
        assert_eq!(read("nothing").await.unwrap_err().kind(), ErrorKind::NotFound);
        for topic in ["", "a b", "a/b", &"x".repeat(250)] {
            assert_eq!(read(topic).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{topic}");
        }
        let decoder = Arc::new(JsonMessages::new(number()));
        let greets = KafkaServer::at(&server.url()).unwrap().with_password("reader", "secret");
        let refused = KafkaSource::connect(greets, "events", "events", decoder, settings(false, Duration::ZERO)).await;
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "brokers that cannot greet: {error}");
        server.kill();
        let error = read("events").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("127.0.0.1:"), "{error}");
    }
}

//! Topics of Kafka.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{
    ErrorKind, Result,
    arrow_array::{cast::AsArray, types::Int64Type},
    arrow_schema::Schema,
};
use mlops_features::{
    StreamIngestor, StreamSettings, StreamSource,
    stream::{JsonMessages, KafkaServer, KafkaSource, KafkaSourceSettings, Positions, StartAt},
};
use tokio_util::sync::CancellationToken;

use super::{
    Broker, number, numbers, offsets, read_settings,
    rows::{check_all_is_there, messages, store},
    shared::{kills_lose_nothing, promises},
    take,
};
use crate::{
    data::schema,
    servers::{Kind, Server, kafka_broker, kafka_python},
};

pub(super) struct Kafka(pub(super) String);

/// Partitions of the topics that `.ci/kafka_broker.py` makes.
const KAFKA_PARTITIONS: usize = 4;

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

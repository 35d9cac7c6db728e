//! Streams of NATS JetStream.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use mlops_core::{ErrorKind, Result, arrow_schema::Schema};
use mlops_features::{
    StreamIngestor, StreamSettings, StreamSource,
    stream::{JsonMessages, NatsServer, NatsSource, NatsSourceSettings, Positions, ReadSettings, StreamBatch},
};
use tokio_util::sync::CancellationToken;

use super::{
    Broker, Forgets, number, numbers, offsets, read_settings,
    rows::{check_all_is_there, messages, store},
    shared::{a_dead_server_is_survived, kills_lose_nothing, promises, what_is_forgotten_is_told},
    take,
};
use crate::{
    data::schema,
    servers::{Kind, Server},
};

pub(super) struct Nats(pub(super) String);

impl Nats {
    async fn context(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(async_nats::connect(&self.0).await.unwrap())
    }

    /// The stream, which is made when it is not there. Its only subject is its name.
    async fn stream(&self, name: &str) -> async_nats::jetstream::stream::Stream {
        let config = Config { name: name.to_owned(), ..Default::default() };
        self.context().await.get_or_create_stream(config).await.unwrap()
    }

    pub(super) fn settings(follow: bool, patience: Duration) -> NatsSourceSettings {
        NatsSourceSettings { read: read_settings(follow, patience), ..NatsSourceSettings::default() }
    }

    async fn read(&self, name: &str, schema: Arc<Schema>, settings: NatsSourceSettings) -> Result<NatsSource> {
        let decoder = Arc::new(JsonMessages::new(schema));
        NatsSource::connect(&NatsServer::at(&self.0)?, name, [("0", name)], decoder, settings).await
    }
}

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

#[async_trait]
impl Forgets for Nats {
    async fn forget(&self, name: &str, keep: usize) {
        self.stream(name).await.purge().keep(keep as u64).await.unwrap();
    }
}

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
        let positions = Positions::from([("0".into(), nats.stream("waits").await.cached_info().state.last_sequence)]);
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

//! What every kind of server is tried with: the promises of a source, kills of the consumer and of the server, and a
//! stream that forgets.
#![allow(
    clippy::disallowed_methods,
    reason = "the test tells its child process where to read and write by environment variables"
)]

use std::sync::Arc;

use async_trait::async_trait;
#[cfg(any(feature = "nats", feature = "redis"))]
use mlops_core::ErrorKind;
use mlops_core::{
    Result,
    arrow_array::{RecordBatch, cast::AsArray, types::Int64Type},
    testing::{SplitMix64, acknowledge, run_and_kill},
};
use mlops_features::stream::conformance;
use tokio_util::sync::CancellationToken;

#[cfg(any(feature = "nats", feature = "redis"))]
use super::Forgets;
use super::{
    Broker, broker, number,
    rows::{check_all_is_there, ingestor, messages, store},
};
use crate::{
    kills::kills,
    servers::{Kind, Server},
};

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

pub(super) async fn promises(kind: Kind) {
    let Some(server) = Server::start(kind) else { return };
    let broker = broker(kind, &server.url());
    let make = async |name: &str, follow| {
        (broker.source(name, number(), follow).await.unwrap(), Sender(Arc::clone(&broker), name.to_owned()))
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

const KIND: &str = "MLOPS_FEATURES_BROKER_KIND";
const URL: &str = "MLOPS_FEATURES_BROKER_URL";
const HOME: &str = "MLOPS_FEATURES_BROKER_HOME";

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

pub(super) async fn kills_lose_nothing(kind: Kind) {
    const MESSAGES: i64 = 20_000;
    let Some(server) = Server::start(kind) else { return };
    let broker = broker(kind, &server.url());
    broker.send("events", &messages(0..MESSAGES)).await;
    let home = tempfile::tempdir().unwrap();
    let location = home.path().to_str().unwrap();
    let kills = kills(8);
    let random = SplitMix64::new(20_260_103);
    for kill in 0..kills {
        let acks = 2 + usize::try_from(random.bits(2 * kill) % 4).unwrap();
        let spins = random.bits(2 * kill + 1) % 40_000;
        let (name, url) = (format!("{kind:?}"), server.url());
        let envs = [(KIND, name.as_str()), (URL, url.as_str()), (HOME, location)];
        run_and_kill("stream_servers::shared::child", &envs, acks, spins).expect("the child acknowledged something");
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
pub(super) async fn a_dead_server_is_survived(kind: Kind) {
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
pub(super) async fn what_is_forgotten_is_told(broker: &dyn Forgets) {
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

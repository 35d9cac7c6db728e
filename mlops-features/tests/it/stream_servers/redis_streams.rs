//! Streams of Redis.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{ErrorKind, Result, arrow_schema::Schema};
use mlops_features::{
    StreamSource,
    stream::{JsonMessages, Positions, ReadSettings, RedisSource, RedisSourceSettings},
};
use tokio_util::sync::CancellationToken;

use super::{
    Broker, Forgets, broker, number, numbers, offsets, read_settings,
    rows::{check_all_is_there, ingestor, messages, store},
    shared::{a_dead_server_is_survived, kills_lose_nothing, promises, what_is_forgotten_is_told},
    take,
};
use crate::{
    data::schema,
    servers::{Kind, Server},
};

pub(super) struct Redis(pub(super) String);

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

#[async_trait]
impl Forgets for Redis {
    async fn forget(&self, name: &str, keep: usize) {
        let client = redis::Client::open(self.0.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut trim = redis::cmd("XTRIM");
        trim.arg(name).arg("MAXLEN").arg(keep).query_async::<()>(&mut connection).await.unwrap();
    }
}

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

//! Online stores on servers: the promises, writers on several machines, and servers that are killed.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use mlops_core::{ErrorKind, FeatureRef, Timestamp, arrow_array::RecordBatch};
#[cfg(feature = "postgres")]
use mlops_features::online::{PostgresOnlineSettings, PostgresOnlineStore};
#[cfg(feature = "redis")]
use mlops_features::online::{RedisOnlineSettings, RedisOnlineStore};
use mlops_features::{Aggregation, Entity, FeatureStore, FeatureView, Function, OnlineStore};

use crate::{
    data::{Row, batch, clock, ints, row, schema},
    servers::{Kind, Server},
};

const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

/// A feature store of its own, as another machine would have, over a shared online store.
async fn machine(home: &tempfile::TempDir, online: Arc<dyn OnlineStore>) -> FeatureStore {
    let view = FeatureView::builder("spend", Entity::new("k", ["k"]).unwrap(), "events")
        .with_column("n")
        .with_aggregation(Aggregation::new("events_1h", Function::Count, "n", HOUR))
        .with_event_id("id");
    FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(clock())
        .with_online(online)
        .with_table("events", schema())
        .with_view(view.build().unwrap())
        .build()
        .await
        .unwrap()
}

/// Newest number and count of entities 0 to 9.
async fn read(store: &FeatureStore) -> mlops_core::Result<String> {
    let features: Vec<FeatureRef> = ["spend:n", "spend:events_1h"].map(|name| name.parse().unwrap()).to_vec();
    let entities = RecordBatch::try_from_iter([("k", ints((0..10).map(Some)))]).unwrap();
    let reader = store.reader();
    let found = reader.read(&reader.plan(&features)?, &entities, Timestamp::from_micros(1_000_000)).await?;
    let mut text = String::new();
    for column in found.columns() {
        write!(text, "{column:?}").unwrap();
    }
    Ok(text)
}

/// Two machines push halves of the same events at once, in pieces and out of order; a third pushes all in one.
async fn machines_lose_nothing(one: Arc<dyn OnlineStore>, two: Arc<dyn OnlineStore>, alone: Arc<dyn OnlineStore>) {
    let homes = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let machines = [machine(&homes[0], one).await, machine(&homes[1], two).await, machine(&homes[2], alone).await];
    let rows: Vec<Row> = (0..400).map(|id| row(id % 10, 997 * id % 400, id)).collect();
    let push = async |machine: &FeatureStore, half: usize| {
        for part in rows.chunks(20).skip(half).step_by(2) {
            machine.writer().push("spend", &batch(part)).await.unwrap();
        }
    };
    tokio::join!(push(&machines[0], 0), push(&machines[1], 1));
    machines[2].writer().push("spend", &batch(&rows)).await.unwrap();
    let expected = read(&machines[2]).await.unwrap();
    assert!(expected.contains("40"), "{expected}");
    for machine in &machines[..2] {
        assert_eq!(read(machine).await.unwrap(), expected);
    }
}

/// While the server is dead every call says so; once it is back the store works, on what was acknowledged.
async fn survives_a_dead_server(server: &mut Server, online: Arc<dyn OnlineStore>) {
    let home = tempfile::tempdir().unwrap();
    let store = machine(&home, online).await;
    store.writer().push("spend", &batch(&[row(1, 10, 1), row(2, 10, 2)])).await.unwrap();
    let before = read(&store).await.unwrap();
    server.kill();
    for _ in 0..2 {
        let error = store.writer().push("spend", &batch(&[row(1, 20, 3)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let error = read(&store).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    server.restart();
    // The first calls may meet the broken connection.
    let mut after = read(&store).await;
    for _ in 0..100 {
        if after.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        after = read(&store).await;
    }
    assert_eq!(after.unwrap(), before);
    store.writer().push("spend", &batch(&[row(1, 20, 3)])).await.unwrap();
    assert_ne!(read(&store).await.unwrap(), before);
}

#[cfg(feature = "redis")]
mod redis_store {
    use std::num::NonZeroU16;

    use super::*;
    use crate::servers::Cluster;

    static FRESH: AtomicU32 = AtomicU32::new(0);

    async fn store(server: &Server, prefix: &str, shards: u16, pieces: usize) -> mlops_core::Result<RedisOnlineStore> {
        let settings = RedisOnlineSettings {
            prefix: prefix.to_owned(),
            shards: NonZeroU16::new(shards).unwrap(),
            updates_per_script_max: pieces,
            ..RedisOnlineSettings::default()
        };
        RedisOnlineStore::connect(&server.url(), settings).await
    }

    fn fresh() -> String {
        format!("suite-{}", FRESH.fetch_add(1, Ordering::Relaxed))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn redis_keeps_the_promises_of_an_online_store() {
        let Some(server) = Server::start(Kind::Redis) else { return };
        for (shards, pieces) in [(1, 10_000), (1, 700), (5, 100)] {
            let server = &server;
            let make = move || async move { store(server, &fresh(), shards, pieces).await };
            mlops_features::online::conformance::all(make).await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn redis_machines_at_once_lose_nothing() {
        let Some(server) = Server::start(Kind::Redis) else { return };
        let [one, two] = [store(&server, "a", 3, 10).await, store(&server, "a", 3, 10).await].map(Result::unwrap);
        let alone = store(&server, "b", 1, 1_000).await.unwrap();
        machines_lose_nothing(Arc::new(one), Arc::new(two), Arc::new(alone)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn redis_that_is_killed_is_found_again() {
        let Some(mut server) = Server::start(Kind::Redis) else { return };
        let store = Arc::new(store(&server, "a", 1, 1_000).await.unwrap());
        survives_a_dead_server(&mut server, store).await;
    }

    async fn on_cluster(cluster: &Cluster, prefix: &str, shards: u16) -> RedisOnlineStore {
        let settings = RedisOnlineSettings {
            prefix: prefix.to_owned(),
            shards: NonZeroU16::new(shards).unwrap(),
            updates_per_script_max: 700,
            timeout: std::time::Duration::from_secs(2),
            ..RedisOnlineSettings::default()
        };
        let urls = cluster.urls();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        RedisOnlineStore::connect_cluster(&urls, settings).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn redis_clusters_keep_the_promises_of_an_online_store() {
        let Some(cluster) = Cluster::start() else { return };
        for shards in [1, 16] {
            let cluster = &cluster;
            let make = move || async move { Ok(on_cluster(cluster, &fresh(), shards).await) };
            mlops_features::online::conformance::all(make).await.unwrap();
        }
        for server in &cluster.servers {
            assert_ne!(server.ask("DBSIZE").trim(), "0", "every server has some of the hashes");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn redis_machines_on_a_cluster_lose_nothing() {
        let Some(cluster) = Cluster::start() else { return };
        let (one, two) = (on_cluster(&cluster, "a", 8).await, on_cluster(&cluster, "a", 8).await);
        let alone = on_cluster(&cluster, "b", 1).await;
        machines_lose_nothing(Arc::new(one), Arc::new(two), Arc::new(alone)).await;
    }

    /// Pushes until the cluster takes it: a call may meet a broken connection or a server that has not caught up.
    async fn push_at_last(store: &FeatureStore, rows: &[Row]) {
        let mut pushed = store.writer().push("spend", &batch(rows)).await;
        for _ in 0..1_000 {
            let Err(error) = &pushed else { break };
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            pushed = store.writer().push("spend", &batch(rows)).await;
        }
        pushed.unwrap();
    }

    /// Three servers die one after the other; in the end everything is there once, as on one server that never died.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn redis_clusters_survive_the_death_of_a_server() {
        let Some(mut cluster) = Cluster::start() else { return };
        let Some(alone) = Server::start(Kind::Redis) else { return };
        let homes = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let machines = [
            machine(&homes[0], Arc::new(on_cluster(&cluster, "a", 32).await)).await,
            machine(&homes[1], Arc::new(store(&alone, "a", 1, 1_000).await.unwrap())).await,
        ];
        // Some rounds are older than the first: they add to windows and change no latest value.
        let rounds = [20, 10, 5, 30].map(|at| (0..10).map(|key| row(key, at, 100 * at + key)).collect::<Vec<Row>>());
        for (round, rows) in rounds.iter().enumerate() {
            if let Some(dead) = round.checked_sub(1) {
                cluster.servers[dead].kill();
                if let Err(error) = machines[0].writer().push("spend", &batch(rows)).await {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                }
                cluster.servers[dead].restart();
                cluster.wait();
            }
            push_at_last(&machines[0], rows).await;
            machines[1].writer().push("spend", &batch(rows)).await.unwrap();
            let expected = read(&machines[1]).await.unwrap();
            assert_eq!(read(&machines[0]).await.unwrap(), expected, "round {round}");
        }
        for server in &cluster.servers {
            assert_ne!(server.ask("DBSIZE").trim(), "0");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn redis_that_wants_a_password_says_so_at_once() {
        let Some(server) = Server::start(Kind::Redis) else { return };
        let admin = redis::Client::open(server.url()).unwrap();
        let mut connection = admin.get_multiplexed_async_connection().await.unwrap();
        let mut protect = redis::cmd("CONFIG");
        protect.arg("SET").arg("requirepass").arg("right").query_async::<()>(&mut connection).await.unwrap();
        for user in ["", ":wrong@"] {
            let url = server.url().replace("redis://", &format!("redis://{user}"));
            let error = RedisOnlineStore::connect(&url, RedisOnlineSettings::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{user}: {error}");
        }
        let url = server.url().replace("redis://", "redis://:right@");
        RedisOnlineStore::connect(&url, RedisOnlineSettings::default()).await.unwrap();
    }

    #[tokio::test]
    async fn redis_says_what_is_wrong_with_an_address() {
        let settings = RedisOnlineSettings::default();
        let error = RedisOnlineStore::connect("http://secret@nowhere", settings.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!error.to_string().contains("secret"), "{error}");
        let error = RedisOnlineStore::connect("redis://127.0.0.1:1", settings).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

#[cfg(feature = "postgres")]
mod postgres_store {
    use super::*;

    static FRESH: AtomicU32 = AtomicU32::new(0);

    /// A store in a schema of its own.
    async fn store(server: &Server, schema: &str) -> mlops_core::Result<PostgresOnlineStore> {
        let admin = sqlx::PgPool::connect(&server.url()).await.unwrap();
        let create = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(&admin).await.unwrap();
        let url = format!("{}?options=-csearch_path%3D{schema}", server.url());
        let timeout = std::time::Duration::from_secs(1);
        PostgresOnlineStore::connect(&url, PostgresOnlineSettings { timeout, ..Default::default() }).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn postgres_keeps_the_promises_of_an_online_store() {
        let Some(server) = Server::start(Kind::Postgres) else { return };
        let server = &server;
        let fresh = || format!("suite_{}", FRESH.fetch_add(1, Ordering::Relaxed));
        let make = move || async move { store(server, &fresh()).await };
        mlops_features::online::conformance::all(make).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn postgres_roles_and_statements_have_limits() {
        let Some(server) = Server::start(Kind::Postgres) else { return };
        drop(store(&server, "a").await.unwrap());
        let admin = sqlx::PgPool::connect(&server.url()).await.unwrap();
        let rights = "CREATE ROLE guest LOGIN; GRANT USAGE ON SCHEMA a TO guest;
            GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA a TO guest";
        sqlx::raw_sql(rights).execute(&admin).await.unwrap();
        let url = format!("{}?options=-csearch_path%3Da", server.url().replace("postgres@", "guest@"));
        let statement_timeout = std::time::Duration::from_millis(300);
        let settings = PostgresOnlineSettings { statement_timeout, ..Default::default() };
        let guest = PostgresOnlineStore::connect(&url, settings.clone()).await.unwrap();
        let write = |at| {
            let watermark = Some(Timestamp::from_micros(at));
            mlops_features::online::WriteBatch { table: "v".into(), updates: Vec::new(), watermark }
        };
        guest.write(write(1)).await.unwrap();

        let mut lock = admin.begin().await.unwrap();
        sqlx::raw_sql("LOCK TABLE a.mlops_online_views").execute(&mut *lock).await.unwrap();
        let error = guest.watermark("v").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        lock.rollback().await.unwrap();
        assert_eq!(guest.watermark("v").await.unwrap(), Some(Timestamp::from_micros(1)));

        let url = format!("{url}%20-cdefault_transaction_read_only%3Don");
        let reader = PostgresOnlineStore::connect(&url, settings).await.unwrap();
        let error = reader.write(write(2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn postgres_machines_at_once_lose_nothing() {
        let Some(server) = Server::start(Kind::Postgres) else { return };
        let [one, two] = [store(&server, "a").await, store(&server, "a").await].map(Result::unwrap);
        let alone = store(&server, "b").await.unwrap();
        machines_lose_nothing(Arc::new(one), Arc::new(two), Arc::new(alone)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn postgres_that_is_killed_is_found_again() {
        let Some(mut server) = Server::start(Kind::Postgres) else { return };
        let store = Arc::new(store(&server, "a").await.unwrap());
        survives_a_dead_server(&mut server, store).await;
    }
}

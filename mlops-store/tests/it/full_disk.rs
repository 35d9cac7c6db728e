//! A disk that is really full: what was acknowledged is there and nothing else, the error says so, and the same store
//! goes on once there is room.

use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mlops_core::{
    Digest, ErrorKind,
    testing::{acknowledge, bytes_below, occupy, passes_on_small_disk},
};
use mlops_store::{BlobStore, MetaStore as _, MetaStoreExt as _, SqliteMetaStore, SqliteSettings, params};

const DISK: &str = "MLOPS_STORE_FULL_DISK";
const DISK_BYTES: u64 = 16 << 20;
const WRITERS: i64 = 4;

/// The child, on a small disk. Does nothing when run as a test.
#[test]
fn child() {
    let Ok(disk) = std::env::var(DISK) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        blobs(Path::new(&disk)).await;
        rows(Path::new(&disk)).await;
    });
    acknowledge(1);
}

#[test]
fn a_full_disk_takes_nothing_with_it_and_is_gone_on_from() {
    passes_on_small_disk("full_disk::child", DISK, DISK_BYTES);
}

async fn open(disk: &Path) -> SqliteMetaStore {
    SqliteMetaStore::open(&disk.join("meta.db"), SqliteSettings::default()).await.unwrap()
}

/// Two rows in one transaction, by statements or handed over whole.
async fn write(store: &SqliteMetaStore, writer: i64, number: i64) -> mlops_core::Result<()> {
    let insert = "INSERT INTO t VALUES ($1, $2, $3)";
    let half = |sign: i64| params![writer, sign * number, vec![number as u8; 10_000]].to_vec();
    if number % 2 == 0 {
        let mut tx = store.begin().await?;
        tx.execute_many(insert, vec![half(1), half(-1)]).await?;
        return tx.commit().await;
    }
    let both = "INSERT INTO t VALUES ($1, $2, $3), ($4, $5, $6)";
    store.execute(both, &[half(1), half(-1)].concat()).await.map(drop)
}

/// Writes until the disk is full, and gives the numbers that were acknowledged.
async fn fill(store: SqliteMetaStore, writer: i64, from: i64) -> Vec<i64> {
    let mut done = Vec::new();
    for number in from..from + 10_000 {
        match write(&store, writer, number).await {
            Ok(()) => done.push(number),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
                assert!(error.message().contains("disk is full"), "{error}");
                return done;
            }
        }
    }
    panic!("the disk does not fill");
}

async fn numbers(store: &SqliteMetaStore, writer: i64) -> Vec<i64> {
    let rows = store.query("SELECT number FROM t WHERE writer = $1 ORDER BY number", params![writer]).await.unwrap();
    rows.iter().map(|row| row.get("number").unwrap()).collect()
}

async fn rows(disk: &Path) {
    let store = open(disk).await;
    store.execute("CREATE TABLE t (writer BIGINT, number BIGINT, raw BLOB)", &[]).await.unwrap();
    let others = [occupy(disk, "first", 4 << 20), occupy(disk, "second", 2 << 20)];
    let mut acknowledged = vec![Vec::new(); WRITERS as usize];
    for other in others {
        let from = acknowledged.iter().flatten().max().map_or(1, |last| last + 10_000);
        let writers = (0..WRITERS).map(|writer| tokio::spawn(fill(store.clone(), writer, from)));
        for (writer, done) in futures::future::join_all(writers).await.into_iter().enumerate() {
            acknowledged[writer].extend(done.unwrap());
        }
        check(&store, &acknowledged).await;
        // The same store goes on, with no more than the room.
        std::fs::remove_file(other).unwrap();
        for writer in 0..WRITERS {
            let number = acknowledged[writer as usize].last().unwrap() + 5_000;
            write(&store, writer, number).await.unwrap();
            acknowledged[writer as usize].push(number);
        }
    }
    drop(store);
    let store = open(disk).await;
    check(&store, &acknowledged).await;
    let sound = store.query_one("PRAGMA integrity_check", &[]).await.unwrap();
    assert_eq!(sound.get::<String>("integrity_check").unwrap(), "ok");
}

/// What was acknowledged is there, whole, and nothing else.
async fn check(store: &SqliteMetaStore, acknowledged: &[Vec<i64>]) {
    for (writer, done) in acknowledged.iter().enumerate() {
        assert!(!done.is_empty());
        let mut whole: Vec<i64> = done.iter().flat_map(|number| [*number, -number]).collect();
        whole.sort_unstable();
        assert_eq!(numbers(store, writer as i64).await, whole);
    }
}

/// Pieces of a blob, `bytes` long.
fn pieces(bytes: usize) -> (Digest, mlops_store::ByteStream) {
    const PIECE: usize = 1 << 20;
    let whole = Bytes::from((0..bytes).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
    let digest = Digest::of(&whole);
    let pieces = (0..bytes).step_by(PIECE).map(move |at| Ok(whole.slice(at..bytes.min(at + PIECE))));
    (digest, stream::iter(pieces.collect::<Vec<_>>()).boxed())
}

async fn blobs(disk: &Path) {
    let directory = disk.join("blobs");
    let blobs = BlobStore::local(&directory).unwrap();
    let kept = blobs.put("kept".into()).await.unwrap();
    let other = occupy(disk, "first", 8 << 20);
    let small = Bytes::from(vec![7_u8; 10 << 20]);
    let (digest, whole) = pieces(14 << 20);
    for (digest, outcome) in [
        (Digest::of(&small), blobs.put(small.clone()).await.map(drop)),
        (digest, blobs.put_stream(&digest, whole).await.map(drop)),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        assert!(!blobs.contains(&digest).await.unwrap());
        assert_eq!(blobs.get(&digest).await.unwrap_err().kind(), ErrorKind::NotFound);
        let listed: Vec<Digest> = blobs.list().map_ok(|entry| entry.digest).try_collect().await.unwrap();
        assert_eq!(listed, [kept]);
        assert_eq!(bytes_below(&directory), 4, "what was begun is gone and takes no room");
    }
    std::fs::remove_file(other).unwrap();
    let (digest, whole) = pieces(14 << 20);
    assert_eq!(blobs.put_stream(&digest, whole).await.unwrap(), Some(14 << 20));
    blobs.get(&digest).await.unwrap();
    blobs.delete(&digest).await.unwrap();
    assert_eq!(blobs.put(small.clone()).await.unwrap(), Digest::of(&small));
    std::fs::remove_dir_all(directory).unwrap();
}

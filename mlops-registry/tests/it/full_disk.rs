//! A disk that is really full: batches and files that were acknowledged are there whole, the others are absent, errors say
//! what is the matter, and the same stores go on once there is room.

use std::path::Path;

use futures::stream;
use mlops_core::{
    ErrorKind, Metric, RunId, Timestamp,
    testing::{acknowledge, bytes_below, occupy, passes_on_small_disk},
};
use mlops_registry::{ArtifactStore, Batch, SqlTrackingStore, TrackingStore as _};

use crate::crash;

const DISK: &str = "MLOPS_REGISTRY_FULL_DISK";
const DISK_BYTES: u64 = 32 << 20;
const WRITERS: usize = 3;
/// Points of a batch, of each of two metrics.
const POINTS: i64 = 400;

/// The child, on a small disk. Does nothing when run as a test.
#[test]
fn child() {
    let Ok(disk) = std::env::var(DISK) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        files(Path::new(&disk)).await;
        batches(Path::new(&disk)).await;
    });
    acknowledge(1);
}

#[test]
fn a_full_disk_leaves_nothing_half_done_and_is_gone_on_from() {
    passes_on_small_disk("full_disk::child", DISK, DISK_BYTES);
}

/// Points that compress badly, a param and a tag.
fn batch(writer: usize, number: i64) -> Batch {
    let metric = |key: &str, i: i64| Metric {
        key: format!("{key}{writer}"),
        value: f64::from_bits((number * POINTS + i).cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 2),
        timestamp: Timestamp::from_millis(number),
        step: number * POINTS + i,
    };
    Batch {
        metrics: (0..POINTS).flat_map(|i| [metric("a", i), metric("b", i)]).collect(),
        params: vec![(format!("p{writer}-{number}"), "x".repeat(500))],
        tags: vec![(format!("t{writer}-{number}"), String::new())],
        ..Batch::default()
    }
}

/// Logs until the disk is full, and gives the numbers that were acknowledged.
async fn fill(store: SqlTrackingStore, run: RunId, writer: usize, from: i64) -> Vec<i64> {
    for number in from..from + 100_000 {
        if let Err(error) = store.log_batch(&run, &batch(writer, number)).await {
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
            return (from..number).collect();
        }
    }
    panic!("the disk does not fill");
}

async fn batches(disk: &Path) {
    let stores = crash::open(disk).await;
    let (store, run) = (stores.tracking.clone(), stores.run().await);
    let mut acknowledged = vec![Vec::new(); WRITERS];
    // Which keeps the test short.
    let _first = occupy(disk, "first", 20 << 20);
    for other in [occupy(disk, "second", 4 << 20), disk.join("nothing")] {
        let from = acknowledged.iter().flatten().max().map_or(1, |last| last + 1_000);
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(fill(store.clone(), run.clone(), writer, from))).collect();
        for (writer, done) in writers.into_iter().enumerate() {
            acknowledged[writer].extend(done.await.unwrap());
        }
        check(&stores, &run, &acknowledged).await;
        // Room again, for the same store.
        drop(std::fs::remove_file(other));
    }
    let (run, all) = (store.run(&run).await.unwrap(), acknowledged.iter().map(Vec::len).sum::<usize>());
    assert_eq!((run.params.len(), run.tags.len() - 1), (all, all), "with the name of the run");
}

/// Of each writer exactly what was acknowledged, with both metrics of every batch.
async fn check(stores: &crash::Stores, run: &RunId, acknowledged: &[Vec<i64>]) {
    for (writer, numbers) in acknowledged.iter().enumerate() {
        assert!(!numbers.is_empty());
        for key in ["a", "b"] {
            let found = crash::history(stores, run, &format!("{key}{writer}")).await;
            let of_key = |metric: &Metric| metric.key.starts_with(key);
            let expected = numbers.iter().flat_map(|number| batch(writer, *number).metrics.into_iter().filter(of_key));
            assert!(found.into_iter().eq(expected), "{key}{writer}");
        }
    }
}

/// Pieces of a file.
fn pieces(count: usize) -> impl futures::Stream<Item = mlops_core::Result<bytes::Bytes>> + Send {
    stream::iter((0..count).map(|i| Ok(vec![i as u8; 1 << 20].into())))
}

async fn files(disk: &Path) {
    let directory = disk.join("files");
    let files = ArtifactStore::local(&directory).unwrap();
    files.put("r/kept", "kept".into()).await.unwrap();
    files.put("r/model", "the former".into()).await.unwrap();
    let before = bytes_below(&directory);
    let other = occupy(disk, "other", 20 << 20);
    for outcome in [
        files.put("r/model", vec![7; 14 << 20].into()).await,
        files.put_pieces("r/model", pieces(14)).await.map(drop),
        files.put_pieces("r/new", pieces(40)).await.map(drop),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        assert!(error.message().contains("full"), "{error}");
        assert_eq!(files.get("r/model").await.unwrap(), "the former");
        let names: Vec<String> = files.files("r").await.unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["kept", "model"]);
        assert_eq!(bytes_below(&directory), before, "what was begun takes no room");
    }

    // An upload in parts goes on with those that were acknowledged.
    let mut upload = files.resume_upload("r/parts", "job").await.unwrap();
    let part = |number: u32| bytes::Bytes::from(vec![number as u8; 4 << 20]);
    let mut kept = 0;
    let error = loop {
        match upload.put_part(kept + 1, part(kept + 1)).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), kept), (ErrorKind::ResourceExhausted, 2));
    std::fs::remove_file(&other).unwrap();
    let mut upload = files.resume_upload("r/parts", "job").await.unwrap();
    assert!(upload.has(2, &mlops_core::Digest::of(&part(2))));
    upload.put_part(3, part(3)).await.unwrap();
    assert_eq!(upload.complete(3).await.unwrap(), 12 << 20);
    assert_eq!(files.put_pieces("r/model", pieces(14)).await.unwrap(), 14 << 20);
    assert_eq!(files.get("r/kept").await.unwrap(), "kept");
    std::fs::remove_dir_all(directory).unwrap();
}

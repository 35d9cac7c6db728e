//! A disk that is full: whoever writes is told so, what was acknowledged is there, reads go on, and once there is room
//! the same handles write again.
//!
//! The child has a small file system of its own (`tmpfs` in a mount namespace); where that is not allowed the test says
//! that it is skipped.
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "the test tells its child process where its disk is by an environment variable"
)]

use std::{fs, path::Path, process::Command};

use mlops_core::{
    ErrorKind, FeatureReader as _, Result, Timestamp,
    arrow_array::{RecordBatch, cast::AsArray, types::Int64Type},
};
use mlops_features::{Entity, FeatureStore, FeatureView, Scan};

use crate::{
    data::{Row, batch, clock, ints, row, schema},
    table::ids,
};

const HOME: &str = "MLOPS_FEATURES_DISK_HOME";
const ROWS: i64 = 2_000;

fn rows(number: i64) -> RecordBatch {
    let rows: Vec<Row> = (number * ROWS..(number + 1) * ROWS).map(|id| row(id, id, id)).collect();
    batch(&rows)
}

async fn open(home: &Path) -> FeatureStore {
    let view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events").with_column("n");
    let store = FeatureStore::builder(home.to_str().unwrap()).with_clock(clock()).with_table("events", schema());
    store.with_view(view.build().unwrap()).build().await.unwrap()
}

/// Does `write` with 0, 1, 2... until it fails, and says with which and that the disk was why.
async fn until_full(what: &str, write: impl AsyncFn(i64) -> Result<()>) -> i64 {
    for number in 0..10_000 {
        if let Err(error) = write(number).await {
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{what}: {error}");
            assert!(error.message().contains(what), "{error}");
            return number;
        }
    }
    panic!("the disk is never full");
}

async fn served(store: &FeatureStore, key: i64) -> Option<i64> {
    let who = RecordBatch::try_from_iter([("k", ints([Some(key)]))]).unwrap();
    let answer = store.get_online(&["v:n".parse().unwrap()], &who, Timestamp::from_micros(i64::MAX)).await.unwrap();
    answer.column(1).as_primitive::<Int64Type>().iter().next().flatten()
}

/// The child, on its small disk. Two files take room that is given back one after the other.
#[test]
fn child() {
    let Ok(home) = std::env::var(HOME) else { return };
    let (home, ballast) = (Path::new(&home).join("store"), |name: &str| Path::new(&home).join(name));
    for name in ["one", "two"] {
        fs::write(ballast(name), vec![7; 4 << 20]).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(&home).await;
        let push = async |number: i64| store.writer().push("v", &rows(number)).await.map(drop);
        let append = async |number: i64| {
            store.ingestor("events").unwrap().append(&format!("b{number}"), &rows(number)).await.map(drop)
        };
        append(0).await.unwrap();
        push(0).await.unwrap();
        let failed = until_full("online store", push).await;
        assert!(failed > 0);
        for number in [0, failed - 1] {
            assert_eq!(served(&store, number * ROWS).await, Some(number * ROWS), "reads go on");
        }
        fs::remove_file(ballast("one")).unwrap();
        push(failed).await.unwrap();
        assert_eq!(served(&store, failed * ROWS).await, Some(failed * ROWS));

        let failed = until_full("table \"events\"", append).await;
        assert!(failed > 1);
        let table = store.table("events").unwrap();
        let found = async || ids(&table.scan_all(Scan::latest()).await.unwrap());
        let before = found().await.len() as i64;
        // The commit of the one that failed may have been made before what comes after commits found no room.
        assert!([failed * ROWS, (failed + 1) * ROWS].contains(&before), "{before} rows after {failed} batches");
        fs::remove_file(ballast("two")).unwrap();
        for number in 0..failed + 3 {
            append(number).await.unwrap();
        }
        assert_eq!(found().await, (0..(failed + 3) * ROWS).collect::<Vec<_>>(), "each batch once, in order");
        drop(store);
        let again = open(&home).await;
        assert_eq!(served(&again, 0).await, Some(0));
    });
    println!("the disk was full twice");
}

#[test]
fn a_full_disk_is_told_and_survived() {
    let place = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=24m none \"$MLOPS_FEATURES_DISK_HOME\" || exit 77; exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["full_disk::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(HOME, place.path())
        .output();
    let Ok(output) = output else {
        println!("skipped: no program unshare here");
        return;
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() && !said.contains("running 1 test") {
        println!("skipped: no file system of its own here: {said}");
        return;
    }
    assert!(output.status.success() && said.contains("the disk was full twice"), "{said}");
}

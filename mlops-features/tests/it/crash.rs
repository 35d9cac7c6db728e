//! A writer that is killed at any moment: what it acknowledged is there once, in order; nothing is there twice.
#![allow(
    clippy::disallowed_methods,
    reason = "the test tells its child process where to write by an environment variable"
)]

use std::collections::BTreeMap;

use mlops_core::testing::{SplitMix64, acknowledge, run_and_kill};
use mlops_features::{Scan, Table, TableSettings};

use crate::{
    data::{batch, clock, row, schema},
    kills::kills,
    table::ids,
};

const HOME: &str = "MLOPS_FEATURES_CRASH_HOME";
const FIRST: &str = "MLOPS_FEATURES_CRASH_FIRST";
const ROWS: i64 = 3;

async fn open(location: &str) -> Table {
    let settings = TableSettings { checkpoint_commits: 5, ..TableSettings::default() };
    Table::create_or_open("events", location, schema(), clock(), settings).await.unwrap()
}

/// The child: appends batch after batch and says so after each, until it is killed. Does nothing when run as a test.
#[test]
fn child() {
    let (Ok(home), Ok(first)) = (std::env::var(HOME), std::env::var(FIRST)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let table = open(&home).await;
        for number in first.parse::<i64>().unwrap()..1_000_000 {
            let rows: Vec<_> = (0..ROWS).map(|i| row(1, number, number * ROWS + i)).collect();
            table.append(&format!("b{number}"), &batch(&rows)).await.unwrap();
            acknowledge(number.cast_unsigned());
        }
    });
}

#[tokio::test]
async fn acknowledged_batches_survive_kill_9_exactly_once() {
    let home = tempfile::tempdir().unwrap();
    let location = home.path().join("table").to_str().unwrap().to_owned();
    let random = SplitMix64::new(20_260_101);
    let mut acknowledged = -1;
    let kills = kills(8);
    for round in 0..kills {
        let first = (acknowledged - 2).max(0);
        let (acks, spins) =
            (1 + usize::try_from(random.bits(2 * round) % 5).unwrap(), random.bits(2 * round + 1) % 60_000);
        let envs = [(HOME, location.as_str()), (FIRST, &first.to_string())];
        let last = run_and_kill("crash::child", &envs, acks, spins).expect("the child acknowledged something");
        acknowledged = acknowledged.max(last.cast_signed());
    }
    let table = open(&location).await;
    let found = ids(&table.scan_all(Scan::latest()).await.unwrap());
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    found.iter().for_each(|id| *counts.entry(*id).or_default() += 1);
    assert!(counts.values().all(|count| *count == 1), "nothing is there twice");
    assert!((0..(acknowledged + 1) * ROWS).all(|id| counts.contains_key(&id)), "all of {acknowledged} is there");
    assert!(found.is_sorted(), "in order of commit");
    assert_eq!(found.len() as i64 % ROWS, 0, "batches are whole");
    let again = table.append(&format!("b{acknowledged}"), &batch(&[row(1, 1, 1)])).await.unwrap();
    assert!(again.duplicate);
    println!("{kills} kills");
}

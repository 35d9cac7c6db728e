//! What reads and durable writes of the metadata database cost: `cargo bench -p mlops-store`.
//!
//! Every write waits for the disk as in production, so the figures of transactions are those of the disk that holds the
//! temporary directory. `MetaStore` with default settings; nothing here is tuned for the bench.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use divan::{Bencher, counter::ItemsCount};
use mlops_store::{MetaStore as _, MetaStoreExt as _, SqliteMetaStore, SqliteSettings, Value, params};
use tokio::runtime::Runtime;

const ROWS: i64 = 10_000;
/// Transactions per measured sample.
const TRANSACTIONS: usize = 512;
const INSERT: &str = "INSERT INTO point (id, run, name, value, step) VALUES ($1, $2, $3, $4, $5)";

fn main() {
    divan::main();
}

struct Fixture {
    runtime: Runtime,
    store: SqliteMetaStore,
    dir: tempfile::TempDir,
}

fn row(id: i64) -> Vec<Value> {
    params![id, "8f14e45fceea167a5a36dedd4bea2543", "validation/loss", id as f64 * 0.5, id].to_vec()
}

fn fixture(rows: i64) -> Fixture {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let store = runtime.block_on(async {
        let store = SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap();
        let table =
            "CREATE TABLE point (id BIGINT PRIMARY KEY, run TEXT, name TEXT, value DOUBLE PRECISION, step BIGINT)";
        store.execute(table, &[]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        for id in 0..rows {
            tx.execute(INSERT, &row(id)).await.unwrap();
        }
        tx.commit().await.unwrap();
        store
    });
    Fixture { runtime, store, dir }
}

/// 10,000 rows of 5 columns by one query.
#[divan::bench(sample_count = 50)]
fn read_10k_rows(bencher: Bencher<'_, '_>) {
    let f = fixture(ROWS);
    bencher.counter(ItemsCount::new(10_000_usize)).bench_local(|| {
        let rows = f.runtime.block_on(f.store.query("SELECT * FROM point", &[])).unwrap();
        assert_eq!(rows.len(), 10_000);
        rows
    });
}

/// One row by its key.
#[divan::bench(sample_count = 20)]
fn read_one_row_1000_times(bencher: Bencher<'_, '_>) {
    let f = fixture(ROWS);
    bencher.counter(ItemsCount::new(1000_usize)).bench_local(|| {
        f.runtime.block_on(async {
            for id in 0..1000 {
                f.store.query_one("SELECT * FROM point WHERE id = $1", params![id]).await.unwrap();
            }
        });
    });
}

/// Durable transactions of one row, by so many tasks at once.
#[divan::bench(args = [1, 4, 16, 64], sample_count = 10)]
fn durable_transactions(bencher: Bencher<'_, '_>, tasks: usize) {
    let f = fixture(0);
    let next = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
    bencher.counter(ItemsCount::new(TRANSACTIONS)).bench_local(|| {
        f.runtime.block_on(async {
            let mut set = tokio::task::JoinSet::new();
            for _ in 0..tasks {
                let (store, next) = (f.store.clone(), std::sync::Arc::clone(&next));
                set.spawn(async move {
                    for _ in 0..TRANSACTIONS / tasks {
                        let id = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let mut tx = store.begin().await.unwrap();
                        tx.execute(INSERT, &row(id)).await.unwrap();
                        tx.commit().await.unwrap();
                    }
                });
            }
            while let Some(done) = set.join_next().await {
                done.unwrap();
            }
        });
    });
}

/// 1,000 rows in one transaction, a call each.
#[divan::bench(sample_count = 20)]
fn insert_1000_rows_one_by_one(bencher: Bencher<'_, '_>) {
    let f = fixture(0);
    let mut next = 0;
    bencher.counter(ItemsCount::new(1000_usize)).bench_local(|| {
        f.runtime.block_on(async {
            let mut tx = f.store.begin().await.unwrap();
            for id in next..next + 1000 {
                tx.execute(INSERT, &row(id)).await.unwrap();
            }
            tx.commit().await.unwrap();
        });
        next += 1000;
    });
}

/// 1,000 rows in one transaction by one call.
#[divan::bench(sample_count = 20)]
fn insert_1000_rows_by_one_call(bencher: Bencher<'_, '_>) {
    let f = fixture(0);
    let mut next = 0;
    bencher.counter(ItemsCount::new(1000_usize)).bench_local(|| {
        f.runtime.block_on(async {
            let mut tx = f.store.begin().await.unwrap();
            tx.execute_many(INSERT, (next..next + 1000).map(row).collect()).await.unwrap();
            tx.commit().await.unwrap();
        });
        next += 1000;
    });
}

/// Opening a file that exists, up to the first answer.
#[divan::bench(sample_count = 30)]
fn open_and_read(bencher: Bencher<'_, '_>) {
    let f = fixture(ROWS);
    let path = f.dir.path().join("meta.db");
    bencher.bench_local(|| {
        f.runtime.block_on(async {
            let store = SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap();
            store.query_one("SELECT * FROM point WHERE id = $1", params![7]).await.unwrap();
            store
        })
    });
}

//! What logging and searching cost: `cargo bench -p mlops-registry --bench tracking`.
//!
//! The database is a file with the settings of production, so every commit waits for the disk.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::{Arc, OnceLock};

use divan::{Bencher, counter::ItemsCount};
use mlops_core::{Metric, RunId, Timestamp, testing::SplitMix64};
use mlops_registry::{
    Batch, CreateRun, ExperimentId, Search, SqlTrackingStore, TrackingStore as _, tracking::sample::HistorySample,
};
use mlops_store::{SqliteMetaStore, SqliteSettings};
use tokio::runtime::Runtime;

const RUNS: u64 = 10_000;
const LONG: i64 = 10_000_000;

fn main() {
    divan::main();
}

struct Store {
    _home: tempfile::TempDir,
    runtime: Runtime,
    store: SqlTrackingStore,
}

impl Store {
    fn open() -> Self {
        let (home, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let store = runtime.block_on(async {
            let meta = SqliteMetaStore::open(&home.path().join("meta.db"), SqliteSettings::default()).await.unwrap();
            SqlTrackingStore::builder(Arc::new(meta)).build().await.unwrap()
        });
        Self { _home: home, runtime, store }
    }

    fn start(&self) -> RunId {
        self.runtime.block_on(self.store.create_run(CreateRun::new(ExperimentId(0)))).unwrap().id
    }

    fn log(&self, run: &RunId, batch: &Batch) {
        self.runtime.block_on(self.store.log_batch(run, batch)).unwrap();
    }
}

fn metric(key: &str, value: f64, step: i64) -> Metric {
    Metric { key: key.to_owned(), value, timestamp: Timestamp::from_millis(1_700_000_000_000 + step), step }
}

fn thousand(random: &SplitMix64, from: i64) -> Batch {
    let value = |step: i64| random.bits(step.cast_unsigned()) as f64;
    Batch { metrics: (from..from + 1_000).map(|step| metric("loss", value(step), step)).collect(), ..Batch::default() }
}

/// 1,000 points of one key by one writer.
#[divan::bench(sample_count = 200)]
fn log_batch(bencher: Bencher<'_, '_>) {
    let (store, random) = (Store::open(), SplitMix64::new(1));
    let (run, mut from) = (store.start(), 0);
    bencher.counter(ItemsCount::new(1_000_u32)).bench_local(|| {
        store.log(&run, &thousand(&random, from));
        from += 1_000;
    });
}

/// The same by 16 tasks at once, 8 batches each in a run of its own.
#[divan::bench(sample_count = 20)]
fn log_batch_16_writers(bencher: Bencher<'_, '_>) {
    let (store, random) = (Store::open(), SplitMix64::new(1));
    let runs: Vec<RunId> = (0..16).map(|_| store.start()).collect();
    let mut from = 0;
    bencher.counter(ItemsCount::new(16 * 8 * 1_000_u32)).bench_local(|| {
        let batches: Arc<Vec<Batch>> = Arc::new((0..8).map(|i| thousand(&random, from + 1_000 * i)).collect());
        from += 8_000;
        let write = |run: RunId| {
            let (store, batches) = (store.store.clone(), Arc::clone(&batches));
            async move {
                for batch in batches.iter() {
                    store.log_batch(&run, batch).await.unwrap();
                }
            }
        };
        let tasks: Vec<_> = runs.iter().map(|run| store.runtime.spawn(write(run.clone()))).collect();
        tasks.into_iter().for_each(|task| store.runtime.block_on(task).unwrap());
    });
}

/// 100 points of as many keys, 50 params and 50 tags of a run that has none yet, as a program logs that has ended.
#[divan::bench(sample_count = 200)]
fn log_batch_of_a_fresh_run(bencher: Bencher<'_, '_>) {
    let store = Store::open();
    let pairs = |kind: &str| (0..50).map(|i| (format!("{kind}{i}"), format!("value {i}"))).collect();
    let metrics = (0..100).map(|i| metric(&format!("metric{i}"), f64::from(i), 1)).collect();
    let batch = Batch { metrics, params: pairs("param"), tags: pairs("tag"), ..Batch::default() };
    bencher
        .counter(ItemsCount::new(200_u32))
        .with_inputs(|| store.start())
        .bench_local_refs(|run| store.log(run, &batch));
}

#[divan::bench(sample_count = 500)]
fn log_metric(bencher: Bencher<'_, '_>) {
    let store = Store::open();
    let (run, mut step) = (store.start(), 0);
    bencher.bench_local(|| {
        store.log(&run, &Batch { metrics: vec![metric("loss", 0.5, step)], ..Batch::default() });
        step += 1;
    });
}

#[divan::bench(sample_count = 500)]
fn create_run(bencher: Bencher<'_, '_>) {
    let store = Store::open();
    bencher.bench_local(|| store.start());
}

/// 10,000 runs of 5 metrics, 3 params and 2 tags.
fn filled() -> &'static Store {
    static FILLED: OnceLock<Store> = OnceLock::new();
    FILLED.get_or_init(|| {
        let (store, random) = (Store::open(), SplitMix64::new(5));
        let value = |i: u64, k: u64| random.bits(8 * i + k) as f64 / u64::MAX as f64;
        for i in 0..RUNS {
            let started = Some(Timestamp::from_millis(1_700_000_000_000 + i.cast_signed()));
            let tags = [("kind".to_owned(), if i % 2 == 0 { "even" } else { "odd" }.to_owned())].into();
            let run = CreateRun { started, tags, ..CreateRun::new(ExperimentId(0)) };
            let run = store.runtime.block_on(store.store.create_run(run)).unwrap().id;
            let keys = ["acc", "loss", "auc", "f1", "rmse"];
            let pair = |key: &str, value: String| (key.to_owned(), value);
            let batch = Batch {
                metrics: keys.iter().zip(0..).map(|(key, k)| metric(key, value(i, k), 0)).collect(),
                params: vec![
                    pair("depth", (i % 20).to_string()),
                    pair("lr", value(i, 6).to_string()),
                    pair("model", format!("Net{}", i % 50)),
                ],
                ..Batch::default()
            };
            store.log(&run, &batch);
        }
        store
    })
}

/// The searches of `mlflow_load.py`, and one that finds a rare value.
const SEARCHES: [(&str, &str, usize); 8] = [
    ("", "", 100),
    ("metrics.acc > 0.9", "", 100),
    ("metrics.acc > 0.5 AND params.model = 'Net7' AND tags.kind = 'odd'", "metrics.loss ASC", 100),
    ("", "metrics.acc DESC", 100),
    ("", "metrics.acc ASC", 1_000),
    ("", "", 1_000),
    ("params.lr = 'none'", "", 100),
    ("", "", 50_000),
];

#[divan::bench(args = 0..8, sample_count = 30)]
fn search(bencher: Bencher<'_, '_>, which: usize) {
    let (store, (filter, order, size)) = (filled(), SEARCHES.get(which).copied().unwrap());
    let search = Search::new().with_filter(filter).with_max_results(size);
    let search = if order.is_empty() { search } else { search.with_order(order) };
    bencher.bench_local(|| store.runtime.block_on(store.store.search_runs(&[ExperimentId(0)], &search)).unwrap());
}

/// A chart and a sample of 10 million points of one metric of one run.
#[divan::bench(args = ["chart", "sample"], sample_count = 5)]
fn ten_million_points(bencher: Bencher<'_, '_>, how: &str) {
    static LONG_RUN: OnceLock<(Store, RunId)> = OnceLock::new();
    let (store, run) = LONG_RUN.get_or_init(|| {
        let (store, random) = (Store::open(), SplitMix64::new(3));
        let run = store.start();
        (0..LONG).step_by(1_000).for_each(|from| store.log(&run, &thousand(&random, from)));
        (store, run)
    });
    let sample = HistorySample::new("loss").with_points_max(1_000);
    bencher.bench_local(|| {
        store.runtime.block_on(async {
            if how == "chart" {
                store.store.metric_chart(run, &sample).await.unwrap().len()
            } else {
                store.store.metric_history_sampled(std::slice::from_ref(run), &sample).await.unwrap().len()
            }
        })
    });
}

//! What offering a prediction to a live monitor costs the service: `cargo bench -p mlops-monitor --bench live`.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{collections::HashMap, sync::Arc};

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use async_trait::async_trait;
use divan::{Bencher, counter::ItemsCount};
use mlops_core::{ModelName, PredictionBatch, PredictionSink, Result, SystemClock, Timestamp, Version};
use mlops_monitor::{
    Monitor, ProfileSettings, ReferenceProfile,
    live::{LiveMonitor, LiveSettings, ReportHandler, WindowReport, Windows},
};

const COLUMNS: usize = 20;

fn main() {
    divan::main();
}

#[derive(Debug)]
struct Ignore;

#[async_trait]
impl ReportHandler for Ignore {
    async fn handle(&self, _: &WindowReport) -> Result<()> {
        Ok(())
    }
}

fn batch(columns: usize, rows: usize) -> RecordBatch {
    let column = |i: usize| {
        let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..rows).map(|row| (row * 7 + i) as f64)));
        (format!("c{i}"), values)
    };
    RecordBatch::try_from_iter((0..columns).map(column)).unwrap()
}

fn prediction(rows: usize) -> PredictionBatch {
    PredictionBatch {
        request_id: "r".into(),
        model: ModelName::new("m").unwrap(),
        version: Version(1),
        variant: "champion".into(),
        at: Timestamp::from_millis(0),
        inputs: batch(COLUMNS, rows),
        outputs: batch(1, rows),
    }
}

fn live(settings: LiveSettings) -> LiveMonitor {
    let reference = ReferenceProfile::from_batch(&batch(COLUMNS, 1_000), &ProfileSettings::default()).unwrap();
    let monitor = Arc::new(Monitor::builder(reference).build().unwrap());
    let monitors = HashMap::from([((ModelName::new("m").unwrap(), Version(1)), monitor)]);
    LiveMonitor::builder(monitors, Ignore, SystemClock::new()).with_settings(settings).spawn().unwrap()
}

/// One row of 20 columns, its memory given back included.
#[divan::bench]
fn append_when_the_queue_is_full(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let live = runtime.block_on(async { live(LiveSettings { queue_batches_max: 1, ..LiveSettings::default() }) });
    let _ = live.append(prediction(1)); // fills the queue; nothing takes from it
    bencher.with_inputs(|| prediction(1)).bench_values(|batch| live.append(batch));
}

/// One row of 20 columns, while nothing is taken from the queue.
#[divan::bench]
fn append_when_there_is_room(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let settings = LiveSettings { queue_batches_max: 1 << 30, queue_rows_max: 1 << 30, ..LiveSettings::default() };
    let live = runtime.block_on(async { live(settings) });
    bencher.with_inputs(|| prediction(1)).bench_values(|batch| live.append(batch));
}

/// Batches of `rows` rows of 20 columns through windows of 10,000 and their comparison.
#[divan::bench(args = [1, 100], sample_count = 10, sample_size = 1)]
fn rows_through_the_monitor(bencher: Bencher<'_, '_>, rows: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let settings = LiveSettings {
        windows: Windows::TumblingRows { rows: 10_000 },
        queue_batches_max: 100_000,
        ..LiveSettings::default()
    };
    let live = runtime.block_on(async { live(settings) });
    let prediction = prediction(rows);
    bencher.counter(ItemsCount::new(50_000_usize)).bench(|| {
        for _ in 0..50_000 / rows {
            let _ = live.append(prediction.clone());
        }
        runtime.block_on(live.flush()).unwrap();
    });
    assert_eq!(live.dropped(), 0);
}

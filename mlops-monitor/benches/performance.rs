//! What joining labels and reporting on a window cost: `cargo bench -p mlops-monitor --bench performance`.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array};
use divan::{Bencher, counter::ItemsCount};
use mlops_core::{ModelName, PredictionBatch, Timestamp, Version, testing::SplitMix64};
use mlops_monitor::performance::{PerformanceMonitor, PerformanceSettings, SliceSettings, Task, WindowSettings};

const REQUESTS: u32 = 1_000;
const ROWS: u32 = 100;

fn main() {
    divan::main();
}

/// One request of `ROWS` rows, and its labels.
fn traffic() -> Vec<(PredictionBatch, RecordBatch)> {
    let request = |request: u32| {
        let data = SplitMix64::new(u64::from(request) + 1);
        let column = |of: &dyn Fn(u64) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values((0..u64::from(ROWS)).map(of)))
        };
        let label = |row: u64| f64::from(u8::from(data.uniform(3 * row) < 0.4));
        let scores = column(&|row| 0.3 * label(row) + 0.7 * data.uniform(3 * row + 1));
        let id = format!("r{request}");
        let ids: ArrayRef = Arc::new(StringArray::from(vec![id.as_str(); ROWS as usize]));
        let rows: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..ROWS));
        let predictions = PredictionBatch {
            request_id: id.into(),
            model: ModelName::new("m").unwrap(),
            version: Version(1),
            variant: "champion".into(),
            propensity: None,
            at: Timestamp::from_millis(i64::from(request)),
            inputs: RecordBatch::try_from_iter([("x", column(&|row| data.uniform(3 * row + 2)))]).unwrap(),
            outputs: RecordBatch::try_from_iter([("p", scores)]).unwrap(),
        };
        let labels = [("request_id", ids), ("row", rows), ("label", column(&label))];
        (predictions, RecordBatch::try_from_iter(labels).unwrap())
    };
    (0..REQUESTS).map(request).collect()
}

fn served(settings: PerformanceSettings, traffic: &[(PredictionBatch, RecordBatch)]) -> PerformanceMonitor {
    let mut monitor = PerformanceMonitor::builder(settings).build().unwrap();
    for (predictions, labels) in traffic {
        monitor.observe(predictions).unwrap();
        monitor.label(labels, Timestamp::from_millis(5_000)).unwrap();
    }
    monitor
}

fn settings() -> PerformanceSettings {
    PerformanceSettings::new(Task::binary("p")).with_window(WindowSettings::Seconds(3_600))
}

/// 1e5 predictions and their labels, in batches of 100.
#[divan::bench(sample_count = 10)]
fn join_1e5(bencher: Bencher<'_, '_>) {
    let traffic = traffic();
    bencher.counter(ItemsCount::new(REQUESTS * ROWS)).bench(|| served(settings(), &traffic));
}

/// Five metrics with intervals over 1e5 rows.
#[divan::bench(sample_count = 10)]
fn report_1e5(bencher: Bencher<'_, '_>) {
    let monitor = served(settings(), &traffic());
    bencher.bench(|| monitor.provisional().unwrap());
}

/// Average precision with 500 resamples over 1e5 rows.
#[divan::bench(sample_count = 5)]
fn bootstrap_1e5(bencher: Bencher<'_, '_>) {
    let monitor = served(settings().with_metrics(["average_precision"]).unwrap(), &traffic());
    bencher.bench(|| monitor.provisional().unwrap());
}

/// The same with the area under the curve on 50 slices of a number.
#[divan::bench(sample_count = 5)]
fn slices_1e5(bencher: Bencher<'_, '_>) {
    let slices = SliceSettings { bins: 50, ..SliceSettings::new(["x"]) };
    let monitor = served(settings().with_slices(slices), &traffic());
    bencher.bench(|| monitor.provisional().unwrap());
}

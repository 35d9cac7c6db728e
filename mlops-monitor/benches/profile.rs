//! Cells per second of profiling a mixed table, one core: 40 columns of floats and 10 of text with 2 to 50,000 levels,
//! in batches of 8,192 rows.
//!
//! ```text
//! cargo bench -p mlops-monitor --bench profile
//! ```

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::Arc;

use arrow_array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, types::Int32Type};
use divan::{Bencher, counter::ItemsCount};
use mlops_core::testing::SplitMix64;
use mlops_monitor::{Monitor, Profile, ProfileSettings, ReferenceProfile, SketchSettings};

const ROWS: usize = 65_536;
const BATCH_ROWS: usize = 8_192;
const LEVELS: [usize; 10] = [2, 3, 5, 10, 20, 50, 100, 1000, 10_000, 50_000];

fn main() {
    divan::main();
}

fn floats(column: u64) -> ArrayRef {
    let bell = SplitMix64::new(column).bell(ROWS);
    let of = |value: f64| match column {
        0..10 => value,
        10..25 => value.exp(),
        25..30 => (value * 2.6 + 7.0).max(0.0).round(),
        30..35 => value.abs().fract(),
        _ if value > 2.05 => f64::NAN,
        _ => value,
    };
    Arc::new(Float64Array::from_iter_values(bell.into_iter().map(of)))
}

/// Zipf's law over so many levels.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
fn levels(seed: u64, levels: usize) -> Vec<i32> {
    let data = SplitMix64::new(seed);
    (0..ROWS as u64).map(|row| ((levels as f64).powf(data.uniform(row)) as i32 - 1).min(levels as i32 - 1)).collect()
}

fn batches(columns: Vec<(String, ArrayRef)>) -> Vec<RecordBatch> {
    let whole = RecordBatch::try_from_iter(columns).unwrap();
    (0..ROWS).step_by(BATCH_ROWS).map(|start| whole.slice(start, BATCH_ROWS)).collect()
}

fn table(kind: &str) -> Vec<RecordBatch> {
    let numbers = (0..40).map(|column| (format!("n{column:02}"), floats(column)));
    let text = LEVELS.iter().enumerate().map(|(column, count)| {
        let values = levels(column as u64, *count).into_iter().map(|level| format!("v{level:05}"));
        (format!("c{column}"), Arc::new(StringArray::from_iter_values(values)) as ArrayRef)
    });
    let dictionaries = LEVELS.iter().enumerate().map(|(column, count)| {
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..*count).map(|level| format!("v{level:05}"))));
        let keys = levels(column as u64, *count).into();
        (format!("c{column}"), Arc::new(DictionaryArray::<Int32Type>::new(keys, names)) as ArrayRef)
    });
    let integers = (0..10).map(|column| {
        let values = SplitMix64::new(column);
        let ids = (0..ROWS as u64).map(|row| (values.uniform(row) * 1e12) as i64);
        (format!("i{column}"), Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef)
    });
    batches(match kind {
        "mixed" => numbers.chain(text).collect(),
        "floats" => numbers.collect(),
        "text" => text.collect(),
        "dictionaries" => dictionaries.collect(),
        _ => integers.collect(),
    })
}

fn profile_of(batches: &[RecordBatch]) -> Profile {
    let mut profile = Profile::new(SketchSettings::default()).unwrap();
    batches.iter().for_each(|batch| profile.observe(batch).unwrap());
    profile
}

/// From nothing: the exact phase and the way out of it are part of the time.
#[divan::bench(sample_count = 10, args = ["mixed", "floats", "text", "dictionaries", "integers"])]
fn observe(bencher: Bencher<'_, '_>, kind: &str) {
    let batches = table(kind);
    let cells = batches.iter().map(|batch| batch.num_rows() * batch.num_columns()).sum::<usize>();
    bencher.counter(ItemsCount::new(cells)).bench(|| profile_of(&batches));
}

/// A stream that is no longer exact.
#[divan::bench(sample_count = 10, args = ["mixed", "floats", "text", "dictionaries", "integers"])]
fn observe_more(bencher: Bencher<'_, '_>, kind: &str) {
    let batches = table(kind);
    let cells = batches.iter().map(|batch| batch.num_rows() * batch.num_columns()).sum::<usize>();
    let begun = profile_of(&batches);
    bencher.counter(ItemsCount::new(cells)).with_inputs(|| begun.clone()).bench_values(|mut profile| {
        batches.iter().for_each(|batch| profile.observe(batch).unwrap());
        profile
    });
}

/// Sixteen replicas of the mixed table.
#[divan::bench(sample_count = 10)]
fn merge_16(bencher: Bencher<'_, '_>) {
    let parts: Vec<Profile> = table("mixed")
        .iter()
        .flat_map(|batch| [0, 4096].map(|start| profile_of(&[batch.slice(start, 4096)])))
        .collect();
    bencher.bench(|| {
        let mut merged = Profile::new(SketchSettings::default()).unwrap();
        parts.iter().for_each(|part| merged.merge(part).unwrap());
        merged.summary().unwrap()
    });
}

/// A verdict on the mixed table from two profiles.
#[divan::bench(sample_count = 10)]
fn compare(bencher: Bencher<'_, '_>) {
    let profile = profile_of(&table("mixed"));
    let reference = ReferenceProfile::from_profile(&profile, &ProfileSettings::default()).unwrap();
    let monitor = Monitor::builder(reference).build().unwrap();
    bencher.bench(|| monitor.observe_profile(&profile, mlops_core::Timestamp::from_millis(0)).unwrap());
}

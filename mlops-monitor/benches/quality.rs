//! What rules cost per million rows: `cargo bench -p mlops-monitor --bench quality`.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use divan::{Bencher, counter::ItemsCount};
use mlops_core::testing::SplitMix64;
use mlops_monitor::quality::{Rule, Suite, ValidationSettings};

const ROWS: usize = 1_000_000;
const BATCH: usize = 65_536;

fn main() {
    divan::main();
}

fn table() -> Vec<RecordBatch> {
    let amounts = SplitMix64::new(1).bell(ROWS);
    let amounts: Float64Array =
        amounts.into_iter().enumerate().map(|(row, amount)| (row % 50 > 0).then_some(amount)).collect();
    let cities = ["Graz", "Linz", "Wien", "Salzburg", "Innsbruck"];
    let city = |row: usize| cities.get(row * 7 % cities.len()).copied().unwrap_or_default();
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|row| row * 7919))) as ArrayRef),
        ("amount", Arc::new(amounts)),
        ("city", Arc::new(StringArray::from_iter_values((0..ROWS).map(city)))),
        ("code", Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("AB-{row:06}"))))),
    ])
    .unwrap();
    (0..ROWS).step_by(BATCH).map(|start| batch.slice(start, BATCH.min(ROWS - start))).collect()
}

fn rule(name: &str) -> Rule {
    match name {
        "not_null" => Rule::not_null("amount").mostly(0.9),
        "between" => Rule::between("amount", -4.0..=4.0),
        "in_set" => Rule::in_set("city", ["Graz", "Linz", "Wien", "Salzburg", "Innsbruck"]),
        "regex" => Rule::full_regex("code", "[A-Z]{2}-[0-9]{6}"),
        "unique" => Rule::unique("id"),
        "unique_text" => Rule::unique("code"),
        "mean" => Rule::mean("amount", -1.0..=1.0),
        "length_between" => Rule::length_between("code", 9..=9),
        _ => Rule::between("amount", -4.0..=4.0).filter("city in ('Graz', 'Wien') and amount > 0".parse().unwrap()),
    }
}

const FIVE: [&str; 5] = ["not_null", "between", "in_set", "regex", "unique"];

/// The five together, over 16 batches.
#[divan::bench(sample_count = 10)]
fn five_rules_1e6(bencher: Bencher<'_, '_>) {
    run(bencher, &FIVE);
}

/// Each alone.
#[divan::bench(sample_count = 10, args = ["not_null", "between", "in_set", "regex", "unique", "unique_text", "mean", "length_between", "where"])]
fn one_rule_1e6(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, &[name]);
}

fn run(bencher: Bencher<'_, '_>, names: &[&str]) {
    let batches = table();
    let suite = names.iter().fold(Suite::builder("bench"), |suite, name| suite.with_rule(rule(name))).build().unwrap();
    let settings = ValidationSettings::default();
    bencher.counter(ItemsCount::new(ROWS)).bench(|| suite.validate(&batches, &settings));
}

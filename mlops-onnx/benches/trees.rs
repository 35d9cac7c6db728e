//! What trees cost, a row and a batch: `cargo bench -p mlops-onnx --bench trees`.
//!
//! `benches/compare/onnx.py` sets the same models beside onnxruntime.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/it/build.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with the tests, which use all of it")]
mod build;

use divan::Bencher;
use mlops_onnx::{OnnxGraph, Tensor};

const FEATURES: usize = 20;

fn main() {
    divan::main();
}

fn rows(count: usize) -> Tensor {
    let values: Vec<f32> = (0..count * FEATURES).map(|i| (i * 7919 % 1000) as f32 / 1000.0).collect();
    Tensor::new([count, FEATURES], values).unwrap()
}

fn run(bencher: Bencher<'_, '_>, (trees, depth, targets): (usize, u32, i64), count: usize) {
    let graph = OnnxGraph::from_bytes(&build::forest(trees, depth, FEATURES as u64, targets)).unwrap();
    let x = rows(count);
    bencher.bench(|| graph.run(&[("X", x.clone())]).unwrap());
}

/// Gradient boosting: 100 trees of depth 3.
#[divan::bench(args = [1, 16, 256, 4096])]
fn boosting_100x3(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, (100, 3, 1), rows);
}

/// XGBoost's default depth.
#[divan::bench(args = [1, 256])]
fn boosting_100x6(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, (100, 6, 1), rows);
}

/// A random forest: trees too large to select.
#[divan::bench(args = [1, 256])]
fn forest_100x10(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, (100, 10, 1), rows);
}

/// Three classes in every leaf.
#[divan::bench(args = [1, 256])]
fn forest_100x8_3(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, (100, 8, 3), rows);
}

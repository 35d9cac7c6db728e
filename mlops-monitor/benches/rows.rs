//! What the tests of whole rows cost at their default sizes: `cargo bench -p mlops-monitor --features domain-classifier
//! --bench rows`.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use divan::Bencher;
use mlops_core::testing::SplitMix64;
use mlops_monitor::multivariate::{Mmd, MmdSettings, MultivariateDetector, PcaReconstruction, PcaSettings};

const COLUMNS: u64 = 20;
const ROWS: usize = 20_000;

fn main() {
    divan::main();
}

fn window(seed: u64) -> RecordBatch {
    let column = |i: u64| -> (String, ArrayRef) {
        (format!("c{i}"), Arc::new(Float64Array::from(SplitMix64::new(seed * 1_000 + i).bell(ROWS))))
    };
    RecordBatch::try_from_iter((0..COLUMNS).map(column)).unwrap()
}

/// 2,000 rows a side out of 20,000, 199 permutations.
#[divan::bench(sample_count = 5)]
fn mmd(bencher: Bencher<'_, '_>) {
    let (left, right, mmd) = (window(1), window(2), Mmd::new(MmdSettings::default()).unwrap());
    bencher.bench(|| mmd.test(&left, &right).unwrap());
}

#[divan::bench(sample_count = 5)]
fn pca_fit(bencher: Bencher<'_, '_>) {
    let (left, pca) = (window(1), PcaReconstruction::new(PcaSettings::default()).unwrap());
    bencher.bench(|| pca.fit(&left).unwrap());
}

/// 20,000 rows against a stored state.
#[divan::bench(sample_count = 5)]
fn pca_test(bencher: Bencher<'_, '_>) {
    let (left, right) = (window(1), window(2));
    let fitted = PcaReconstruction::new(PcaSettings::default()).unwrap().fit(&left).unwrap();
    bencher.bench(|| fitted.test(&right).unwrap());
}

/// 2,000 rows a side out of 20,000, 5 folds of 50 trees, 20 columns ranked.
#[cfg(feature = "domain-classifier")]
#[divan::bench(sample_count = 5)]
fn domain_classifier(bencher: Bencher<'_, '_>) {
    use mlops_monitor::multivariate::{DomainClassifier, DomainClassifierSettings};

    let (left, right) = (window(1), window(2));
    let classifier = DomainClassifier::new(DomainClassifierSettings::default()).unwrap();
    bencher.bench(|| classifier.test(&left, &right).unwrap());
}

//! How often the tests of whole rows cry wolf: under the null they must reject 5 % of the time at a nominal 5 %.
//!
//! Slow, so run by hand: `cargo test --release -p mlops-monitor --features domain-classifier --test rows_calibration --
//! --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use mlops_core::testing::SplitMix64;
use mlops_monitor::multivariate::{Mmd, MmdSettings, MultivariateDetector, PcaReconstruction, PcaSettings};

const LEVEL: f64 = 0.05;
const SIZES: [(usize, usize); 4] = [(100, 100), (300, 300), (1_000, 200), (1_000, 1_000)];

/// Four numbers, two of which go together, and a level.
fn window(seed: u64, rows: usize) -> RecordBatch {
    let data = |column: u64| SplitMix64::new(seed.wrapping_mul(1_000_003) + column);
    let (x, noise) = (data(0).bell(rows), data(1).bell(rows));
    let y = x.iter().zip(&noise).map(|(x, noise)| x + noise).collect::<Vec<_>>();
    let level = |i: u64| if data(4).uniform(i) < 0.7 { "web" } else { "app" };
    let columns: [(&str, ArrayRef); 5] = [
        ("x", Arc::new(Float64Array::from(x))),
        ("y", Arc::new(Float64Array::from(y))),
        ("z", Arc::new(Float64Array::from(data(2).bell(rows)))),
        ("w", Arc::new(Float64Array::from(data(3).bell(rows)))),
        ("channel", Arc::new(StringArray::from_iter_values((0..rows as u64).map(level)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Prints and returns the share of rounds that were rejected.
fn rejected(detector: &dyn MultivariateDetector, (n, m): (usize, usize), rounds: u64) -> f64 {
    let hit = |round: &u64| {
        let found = detector.test(&window(2 * round + 1, n), &window(2 * round + 2, m)).unwrap();
        // As verdicts do: the exponential of a logarithm may lie an ulp above the level.
        found.test.tail.unwrap().ln() <= LEVEL.ln()
    };
    let share = (0..rounds).filter(hit).count() as f64 / rounds as f64;
    println!("{:20} n={n:5} m={m:5}: {:.2} % of {rounds}", detector.name(), 100.0 * share);
    share
}

#[test]
#[ignore = "takes minutes; prints the shares that benches/RESULTS.md is to hold"]
fn mmd_rejects_as_often_as_it_says() {
    let mmd = Mmd::new(MmdSettings { permutations: 99, ..MmdSettings::default() }).unwrap();
    for size in SIZES {
        let rounds = if size == (1_000, 1_000) { 300 } else { 1_500 };
        // Three standard errors.
        let slack = 3.0 * (LEVEL * (1.0 - LEVEL) / rounds as f64).sqrt();
        let share = rejected(&mmd, size, rounds);
        assert!((share - LEVEL).abs() <= slack, "{share} at {size:?}");
    }
}

#[test]
#[ignore = "takes minutes; prints the shares that benches/RESULTS.md is to hold"]
fn pca_rejects_as_often_as_it_says() {
    let pca = PcaReconstruction::new(PcaSettings::default()).unwrap();
    for size in SIZES {
        let share = rejected(&pca, size, 4_000);
        // The distance of 50 and 100 values moves in steps.
        let least = if size == (100, 100) { 0.03 } else { LEVEL - 0.011 };
        assert!((least..=LEVEL + 0.011).contains(&share), "{share} at {size:?}");
    }
}

#[cfg(feature = "domain-classifier")]
mod forest {
    use mlops_monitor::multivariate::{AucTest, DomainClassifier, DomainClassifierSettings};

    use super::*;

    fn classifier(p_value: AucTest) -> DomainClassifier {
        let settings = DomainClassifierSettings { trees: 20, p_value, ..DomainClassifierSettings::default() };
        DomainClassifier::new(settings).unwrap()
    }

    #[test]
    #[ignore = "takes minutes; prints the shares that benches/RESULTS.md is to hold"]
    fn the_permutation_p_rejects_as_often_as_it_says() {
        let share = rejected(&classifier(AucTest::Permutation(19)), (100, 100), 400);
        assert!((share - LEVEL).abs() <= 3.0 * (LEVEL * (1.0 - LEVEL) / 400.0).sqrt(), "{share}");
    }

    #[test]
    #[ignore = "takes minutes; prints the shares that benches/RESULTS.md is to hold"]
    fn the_normal_p_rejects_no_more_often_than_it_says() {
        for size in SIZES {
            let share = rejected(&classifier(AucTest::Normal), size, 600);
            assert!(share <= LEVEL + 2.0 * (LEVEL * (1.0 - LEVEL) / 600.0).sqrt(), "{share} at {size:?}");
        }
    }
}

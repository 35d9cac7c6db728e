//! How often intervals cover the truth, over seeded samples from known distributions.

use mlops_core::testing::SplitMix64;
use mlops_metrics::{EstimateOptions, Measure, ScoredRows, newcombe};

const SAMPLES: u64 = 400;
const ROWS: usize = 300;

/// Labels with probability 0.3; the score of a label y is 0.25 y + 0.25 + 0.5 times a uniform.
fn binary(seed: u64) -> (Vec<f64>, Vec<f64>) {
    let data = SplitMix64::new(seed);
    let label = |row: u64| f64::from(u8::from(data.uniform(2 * row) < 0.3));
    let labels: Vec<f64> = (0..ROWS as u64).map(label).collect();
    let scores = labels.iter().enumerate();
    let scores = scores.map(|(row, y)| 0.25 * y + 0.25 + 0.5 * data.uniform(2 * row as u64 + 1)).collect();
    (labels, scores)
}

fn numbers(seed: u64) -> (Vec<f64>, Vec<f64>) {
    let labels = SplitMix64::new(seed).bell(ROWS);
    let errors = SplitMix64::new(seed ^ 0xabcd).bell(ROWS);
    let predictions = labels.iter().zip(&errors).map(|(label, error)| label + 0.5 * error).collect();
    (labels, predictions)
}

fn check(measure: &str, truth: f64, sample: fn(u64) -> (Vec<f64>, Vec<f64>), is_binary: bool) {
    let measure: Measure = measure.parse().unwrap();
    let options = EstimateOptions { resamples: 200, ..EstimateOptions::default() };
    let covered = (0..SAMPLES).filter(|seed| {
        let (labels, scores) = sample(seed + 1);
        let rows = if is_binary {
            ScoredRows::Binary { labels: &labels, scores: &scores, threshold: 0.5 }
        } else {
            ScoredRows::Numbers { labels: &labels, predictions: &scores }
        };
        measure.estimate(&rows, &options).unwrap().interval.unwrap().contains(truth)
    });
    let share = covered.count() as f64 / SAMPLES as f64;
    // Three standard errors of a share of 0.95 in 400 samples are 0.033.
    assert!((0.91..=0.985).contains(&share), "{measure}: {share} of the intervals cover {truth}");
}

#[test]
fn intervals_of_calls_cover() {
    // P(score >= 0.5) is 1 for half of the range: 0.5 of negatives, all of positives (0.5 + 0.5 u >= 0.5).
    let (tp, fp, tn) = (0.3, 0.35, 0.35);
    check("accuracy", tp + tn, binary, true);
    check("precision", tp / (tp + fp), binary, true);
    check("f1", 2.0 * tp / (2.0 * tp + fp), binary, true);
    check("mcc", tp * tn / (0.65_f64 * 0.3 * 0.7 * 0.35).sqrt(), binary, true);
}

#[test]
fn intervals_of_areas_cover() {
    // Positive 0.5 + 0.5 u against negative 0.25 + 0.5 v: P(u - v > -0.5) = 1 - 0.5^3 = 0.875.
    check("roc_auc", 0.875, binary, true);
}

#[test]
fn intervals_of_errors_cover() {
    // Errors are half a `SplitMix64::bell`, close enough to a standard normal.
    check("mae", 0.5 * (2.0 / std::f64::consts::PI).sqrt(), numbers, false);
    check("rmse", 0.5, numbers, false);
    check("bias", 0.0, numbers, false);
    check("r2", 0.75, numbers, false);
    check("explained_variance", 0.75, numbers, false);
}

#[test]
fn intervals_of_differences_cover() {
    let successes = |seed: u64, p: f64, trials: u64| {
        let data = SplitMix64::new(seed);
        (0..trials).filter(|row| data.uniform(*row) < p).count() as u64
    };
    let covered = (0..SAMPLES).filter(|seed| {
        let (first, second) = (successes(2 * seed + 1, 0.3, 60), successes(2 * seed + 2, 0.1, 40));
        newcombe((first, 60), (second, 40), 0.95).unwrap().contains(0.2)
    });
    let share = covered.count() as f64 / SAMPLES as f64;
    assert!((0.91..=0.985).contains(&share), "{share}");
}

#[test]
fn perfect_separation_is_not_certainty() {
    let (labels, scores) = ([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]);
    let rows = ScoredRows::Binary { labels: &labels, scores: &scores, threshold: 0.5 };
    for name in ["roc_auc", "accuracy", "f1", "balanced_accuracy"] {
        let estimate = name.parse::<Measure>().unwrap().estimate(&rows, &EstimateOptions::default()).unwrap();
        let interval = estimate.interval.unwrap();
        assert!(estimate.value == 1.0 && interval.high == 1.0 && interval.low < 0.8, "{name} {interval:?}");
    }
}

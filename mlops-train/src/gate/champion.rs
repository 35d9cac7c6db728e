//! Whether a challenger is better than the champion on the same rows, beyond chance.

#![allow(clippy::indexing_slicing, reason = "resampled row indices are below the number of rows, lengths were checked")]

use mlops_core::{Error, Result};
use mlops_metrics::{
    Direction, Metric,
    stats::{delong, normal_cdf},
};

use crate::rng::SeededRng;

/// How much better the challenger is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advantage {
    /// Metric of the challenger and of the champion.
    pub(super) values: [f64; 2],
    /// Confidence that the challenger is better by the margin.
    pub(super) confidence: f64,
    /// How it was computed.
    pub(super) method: &'static str,
}

/// Rows that both models scored.
pub(super) struct Paired<'a> {
    pub(super) labels: &'a [f64],
    pub(super) challenger: &'a [f64],
    pub(super) champion: &'a [f64],
    pub(super) resamples: usize,
    pub(super) seed: u64,
}

/// Compares by DeLong's test or by a paired bootstrap.
pub(super) fn compare(metric: Metric, margin: f64, rows: &Paired<'_>) -> Result<Advantage> {
    match metric {
        Metric::RocAuc => by_delong(margin, rows),
        _ => by_bootstrap(metric, margin, rows),
    }
}

fn by_delong(margin: f64, rows: &Paired<'_>) -> Result<Advantage> {
    let test = delong(rows.labels, rows.challenger, rows.champion)?;
    let gain = test.auc[0] - test.auc[1] - margin;
    // Without spread the difference is certain; no difference at all proves nothing.
    let confidence = match test.standard_error() {
        error if error > 0.0 => normal_cdf(gain / error),
        _ if gain == 0.0 => 0.5,
        _ => f64::from(u8::from(gain > 0.0)),
    };
    Ok(Advantage { values: test.auc, confidence, method: "DeLong's test" })
}

/// The share of resamples in which the challenger is better by the margin; resamples in which it
/// is exactly the margin count one half.
fn by_bootstrap(metric: Metric, margin: f64, rows: &Paired<'_>) -> Result<Advantage> {
    let values = [metric.compute(rows.labels, rows.challenger)?, metric.compute(rows.labels, rows.champion)?];
    let gain = |challenger: f64, champion: f64| match metric.direction() {
        Direction::Maximize => challenger - champion - margin,
        Direction::Minimize => champion - challenger - margin,
    };
    let mut rng = SeededRng::new(rows.seed, 5);
    let n = rows.labels.len();
    let (mut better, mut defined) = (0.0, 0);
    for _ in 0..rows.resamples {
        let drawn: Vec<usize> = (0..n).map(|_| rng.below(n)).collect();
        let pick = |values: &[f64]| drawn.iter().map(|&row| values[row]).collect::<Vec<f64>>();
        let labels = pick(rows.labels);
        let challenger = metric.compute(&labels, &pick(rows.challenger));
        let champion = metric.compute(&labels, &pick(rows.champion));
        // A resample of one class may have no value; it says nothing.
        let (Ok(challenger), Ok(champion)) = (challenger, champion) else { continue };
        defined += 1;
        better += match gain(challenger, champion) {
            gain if gain > 0.0 => 1.0,
            gain if gain < 0.0 => 0.0,
            _ => 0.5,
        };
    }
    if 2 * defined < rows.resamples {
        return Err(Error::failed_precondition(format!(
            "metric {metric} is not defined in most resamples of {n} rows; judge on more rows"
        )));
    }
    Ok(Advantage { values, confidence: better / f64::from(defined as u32), method: "paired bootstrap" })
}

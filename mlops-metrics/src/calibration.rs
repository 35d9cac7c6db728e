//! Whether probabilities mean what they say.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::bootstrap::quantile;

/// Most bins of a calibration error.
pub const CALIBRATION_BINS_MAX: u32 = 1_000;

/// Where bins of probabilities end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationBins {
    /// At equal steps from 0 to 1.
    #[default]
    Width,
    /// At quantiles of the probabilities.
    Quantile,
}

/// Expected calibration error: over bins (lo, hi] of the probability, the mean of
/// `|share of positives - mean probability|` weighted by rows (Naeini, Cooper and Hauskrecht,
/// AAAI 2015).
///
/// ```
/// use mlops_metrics::{CalibrationBins, expected_calibration_error};
///
/// let error = expected_calibration_error(&[0.0, 1.0, 1.0], &[0.2, 0.9, 0.9], 10, CalibrationBins::Width)?;
/// assert!((error - 0.4 / 3.0).abs() < 1e-12);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when lengths differ or are zero, labels are not 0 and 1, probabilities not in
/// [0, 1], or bins not 1 to [`CALIBRATION_BINS_MAX`].
pub fn expected_calibration_error(
    labels: &[f64],
    probabilities: &[f64],
    bins: u32,
    kind: CalibrationBins,
) -> Result<f64> {
    let curve = calibration_curve(labels, probabilities, bins, kind)?;
    Ok(curve.iter().map(|bin| bin.rows as f64 * bin.gap()).sum::<f64>() / labels.len() as f64)
}

/// Maximum calibration error: the largest `|share of positives - mean probability|` of a bin.
///
/// # Errors
/// As [`expected_calibration_error`].
pub fn maximum_calibration_error(
    labels: &[f64],
    probabilities: &[f64],
    bins: u32,
    kind: CalibrationBins,
) -> Result<f64> {
    let curve = calibration_curve(labels, probabilities, bins, kind)?;
    Ok(curve.iter().map(CalibrationBin::gap).fold(0.0, f64::max))
}

/// Rows whose probabilities lie in one bin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Mean probability.
    pub probability: f64,
    /// Share of positives.
    pub positives: f64,
    /// Rows.
    pub rows: u64,
}

impl CalibrationBin {
    fn gap(&self) -> f64 {
        (self.positives - self.probability).abs()
    }
}

/// The reliability diagram: bins (lo, hi] that have rows, by rising probability.
///
/// # Errors
/// As [`expected_calibration_error`].
pub fn calibration_curve(
    labels: &[f64],
    probabilities: &[f64],
    bins: u32,
    kind: CalibrationBins,
) -> Result<Vec<CalibrationBin>> {
    let binary = labels.iter().all(|&label| label == 0.0 || label == 1.0);
    let known = probabilities.iter().all(|p| (0.0..=1.0).contains(p));
    if labels.is_empty() || labels.len() != probabilities.len() || !binary || !known {
        return Err(Error::invalid_argument(
            "calibration error needs labels 0 and 1 and as many probabilities from 0 to 1, and at least one",
        ));
    }
    if !(1..=CALIBRATION_BINS_MAX).contains(&bins) {
        return Err(Error::invalid_argument(format!(
            "calibration error takes 1 to {CALIBRATION_BINS_MAX} bins, found {bins}"
        )));
    }
    let edges = edges(probabilities, bins, kind);
    let mut sums = vec![CalibrationBin { probability: 0.0, positives: 0.0, rows: 0 }; edges.len() + 1];
    for (label, p) in labels.iter().zip(probabilities) {
        if let Some(sum) = sums.get_mut(edges.partition_point(|edge| edge < p)) {
            sum.probability += p;
            sum.positives += label;
            sum.rows += 1;
        }
    }
    let mean = |sum: CalibrationBin| {
        let rows = sum.rows as f64;
        CalibrationBin { probability: sum.probability / rows, positives: sum.positives / rows, rows: sum.rows }
    };
    Ok(sums.into_iter().filter(|sum| sum.rows > 0).map(mean).collect())
}

/// The inner edges.
fn edges(probabilities: &[f64], bins: u32, kind: CalibrationBins) -> Vec<f64> {
    let shares = (1..bins).map(|i| f64::from(i) / f64::from(bins));
    match kind {
        CalibrationBins::Width => shares.collect(),
        CalibrationBins::Quantile => {
            let mut sorted = probabilities.to_vec();
            sorted.sort_by(f64::total_cmp);
            shares.map(|share| quantile(&sorted, share)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_and_wrong_probabilities() {
        let error = |labels: &[f64], scores: &[f64], bins| {
            expected_calibration_error(labels, scores, bins, CalibrationBins::Width)
        };
        assert_eq!(error(&[0.0, 1.0], &[0.0, 1.0], 10).unwrap(), 0.0);
        assert_eq!(error(&[1.0, 0.0], &[0.0, 1.0], 10).unwrap(), 1.0);
        assert!(
            error(&[0.0], &[1.1], 10).is_err() && error(&[0.0], &[0.1], 0).is_err() && error(&[], &[], 10).is_err()
        );
    }
}

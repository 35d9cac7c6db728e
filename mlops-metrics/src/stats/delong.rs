//! Areas under the curve of two scores on the same rows.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{mean, normal_cdf};

/// Two areas under the curve on the same rows, with their covariance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeLong {
    /// Areas under the curve of the first and the second score.
    pub auc: [f64; 2],
    /// Their covariance matrix.
    pub covariance: [[f64; 2]; 2],
}

impl DeLong {
    /// Standard error of the difference of the areas.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        let [[a, ab], [ba, b]] = self.covariance;
        (a + b - ab - ba).max(0.0).sqrt()
    }

    /// Difference of the areas in standard errors; zero when there is neither difference nor error.
    #[must_use]
    pub fn z(&self) -> f64 {
        let difference = self.auc[0] - self.auc[1];
        if difference == 0.0 { 0.0 } else { difference / self.standard_error() }
    }

    /// Probability of a difference at least as large, in either direction, if there were none.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        2.0 * normal_cdf(-self.z().abs())
    }
}

/// The test of DeLong, DeLong and Clarke-Pearson (1988) for two correlated areas under the curve.
///
/// Placements are by midranks (Sun and Xu 2014), so it takes `n log n` time and ties count one
/// half.
///
/// # Errors
/// `InvalidArgument` when lengths differ, a number is not finite or a label is not 0 or 1;
/// `FailedPrecondition` when a class has fewer than two rows.
pub fn delong(labels: &[f64], first: &[f64], second: &[f64]) -> Result<DeLong> {
    let counts = check_two_classes(labels, first, second)?;
    let (a, b) = (Placements::of(labels, first), Placements::of(labels, second));
    let off = a.covariance(&b, counts);
    Ok(DeLong {
        auc: [mean(&a.of_positives), mean(&b.of_positives)],
        covariance: [[a.covariance(&a, counts), off], [off, b.covariance(&b, counts)]],
    })
}

/// Positives and negatives, at least two of each.
fn check_two_classes(labels: &[f64], first: &[f64], second: &[f64]) -> Result<(f64, f64)> {
    let lengths = first.len() == labels.len() && second.len() == labels.len();
    let binary = labels.iter().all(|&label| label == 0.0 || label == 1.0);
    if !lengths || !binary || !first.iter().chain(second).all(|score| score.is_finite()) {
        return Err(Error::invalid_argument(
            "DeLong's test needs labels 0 and 1 and as many finite scores of both models",
        ));
    }
    let positives = labels.iter().filter(|&&label| label == 1.0).count();
    let negatives = labels.len() - positives;
    if positives.min(negatives) < 2 {
        return Err(Error::failed_precondition(format!(
            "DeLong's test needs two rows of each class, found {positives} positive and {negatives} negative"
        )));
    }
    Ok((positives as f64, negatives as f64))
}

/// The area under the curve of one score and DeLong's variance of it.
///
/// # Errors
/// As [`delong`].
pub fn auc_variance(labels: &[f64], scores: &[f64]) -> Result<(f64, f64)> {
    let counts = check_two_classes(labels, scores, scores)?;
    let placements = Placements::of(labels, scores);
    Ok((mean(&placements.of_positives), placements.covariance(&placements, counts)))
}

/// For each positive the share of negatives below it, for each negative the share of positives
/// above it.
struct Placements {
    of_positives: Vec<f64>,
    of_negatives: Vec<f64>,
}

impl Placements {
    fn of(labels: &[f64], scores: &[f64]) -> Self {
        let of = |class: f64| -> Vec<f64> {
            labels.iter().zip(scores).filter(|pair| *pair.0 == class).map(|pair| *pair.1).collect()
        };
        let (positives, negatives) = (of(1.0), of(0.0));
        let below = |value: f64, sorted: &[f64]| {
            let (less, up_to) = (sorted.partition_point(|&s| s < value), sorted.partition_point(|&s| s <= value));
            (less as f64 + up_to as f64) / 2.0 / sorted.len() as f64
        };
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        let (sorted_positives, sorted_negatives) = (sorted(positives.clone()), sorted(negatives.clone()));
        Self {
            of_positives: positives.into_iter().map(|value| below(value, &sorted_negatives)).collect(),
            of_negatives: negatives.into_iter().map(|value| 1.0 - below(value, &sorted_positives)).collect(),
        }
    }
}

impl Placements {
    /// Of two areas, with so many positives and negatives.
    fn covariance(&self, other: &Self, (positives, negatives): (f64, f64)) -> f64 {
        covariance(&self.of_positives, &other.of_positives) / positives
            + covariance(&self.of_negatives, &other.of_negatives) / negatives
    }
}

fn covariance(x: &[f64], y: &[f64]) -> f64 {
    let (mean_x, mean_y) = (mean(x), mean(y));
    let sum: f64 = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    sum / (x.len() as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_do_not_differ() {
        let labels = [0.0, 1.0, 0.0, 1.0, 1.0];
        let scores = [0.1, 0.2, 0.3, 0.4, 0.5];
        let test = delong(&labels, &scores, &scores).unwrap();
        assert_eq!((test.z(), test.p_value()), (0.0, 1.0));
        assert!(delong(&labels[..2], &scores[..2], &scores[..2]).is_err());
        assert!(delong(&labels, &scores[..2], &scores).is_err());
    }
}

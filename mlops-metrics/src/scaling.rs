//! Scores into probabilities by one or two numbers: Platt's sigmoid and the temperature.
//!
//! Invariant: both keep the order of scores and are fitted by Newton's method on a convex loss, so
//! the fit does not depend on a start or a seed. Fit on rows that the model was not trained on.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Newton steps at most; from any start a few dozen suffice.
const STEPS_MAX: usize = 200;

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn check(name: &str, scores: &[f64], labels: &[f64]) -> Result<(f64, f64)> {
    let binary = labels.iter().all(|&label| label == 0.0 || label == 1.0);
    if scores.len() != labels.len() || !binary || !scores.iter().all(|score| score.is_finite()) {
        return Err(Error::invalid_argument(format!("{name} needs labels 0 and 1 and as many finite scores")));
    }
    let positives: f64 = labels.iter().sum();
    let negatives = labels.len() as f64 - positives;
    if positives <= 0.0 || negatives <= 0.0 {
        return Err(Error::failed_precondition(format!("{name} needs rows of both classes")));
    }
    Ok((negatives, positives))
}

/// Platt's sigmoid `1 / (1 + exp(slope * score + intercept))`; the slope is negative where higher
/// scores mean more positives.
///
/// ```
/// use mlops_metrics::PlattScaling;
///
/// let platt = PlattScaling::fit(&[-2.0, -1.0, 0.5, 1.0, 3.0], &[0.0, 0.0, 1.0, 0.0, 1.0])?;
/// assert!(platt.slope < 0.0 && platt.probability(3.0) > platt.probability(-2.0));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PlattScaling {
    /// Factor of the score.
    pub slope: f64,
    /// What is added.
    pub intercept: f64,
}

impl PlattScaling {
    /// Fits by maximum likelihood to targets smoothed as Platt (1999) does, so that separable
    /// scores have a finite slope.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ, a label is not 0 or 1 or a score not finite;
    /// `FailedPrecondition` unless both classes have rows.
    pub fn fit(scores: &[f64], labels: &[f64]) -> Result<Self> {
        let (negatives, positives) = check("Platt's scaling", scores, labels)?;
        let (high, low) = ((positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0));
        let target = |label: f64| if label == 1.0 { high } else { low };
        // Scores at most one in size, for the sake of the Hessian; scaled back at the end.
        let size = scores.iter().fold(0.0, |size: f64, score| size.max(score.abs())).max(f64::MIN_POSITIVE);
        let rows: Vec<(f64, f64)> =
            scores.iter().map(|score| score / size).zip(labels.iter().map(|l| target(*l))).collect();
        let loss = |a: f64, b: f64| -> f64 {
            rows.iter().map(|&(score, target)| softplus(-(a * score + b)) + target * (a * score + b)).sum()
        };
        let (mut a, mut b) = (0.0, ((negatives + 1.0) / (positives + 1.0)).ln());
        let mut best = loss(a, b);
        for _ in 0..STEPS_MAX {
            let mut gradient = [0.0; 2];
            let mut hessian = [0.0; 3];
            for &(score, target) in &rows {
                let p = sigmoid(-(a * score + b));
                let (error, spread) = (target - p, p * (1.0 - p));
                gradient = [gradient[0] + error * score, gradient[1] + error];
                let [ss, s, one] = hessian;
                hessian = [ss + spread * score * score, s + spread * score, one + spread];
            }
            // A ridge far below the rows keeps a constant score solvable.
            let [ss, s, one] = [hessian[0] + 1e-12, hessian[1], hessian[2] + 1e-12];
            let determinant = ss * one - s * s;
            let step_a = (one * gradient[0] - s * gradient[1]) / determinant;
            let step_b = (ss * gradient[1] - s * gradient[0]) / determinant;
            let Some((scale, value)) = halved(best, |scale| loss(a - scale * step_a, b - scale * step_b)) else {
                break;
            };
            (a, b, best) = (a - scale * step_a, b - scale * step_b, value);
            if (step_a.abs() + step_b.abs()) * scale < 1e-13 * (1.0 + a.abs() + b.abs()) {
                break;
            }
        }
        Ok(Self { slope: a / size, intercept: b })
    }

    /// The probability of a positive at a score.
    #[must_use]
    pub fn probability(&self, score: f64) -> f64 {
        sigmoid(-(self.slope * score + self.intercept))
    }
}

/// The temperature by which logits are divided so that their probabilities are as likely as can be
/// (Guo et al., ICML 2017): above one for a model that is too sure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TemperatureScaling {
    /// What logits are divided by.
    pub temperature: f64,
}

impl TemperatureScaling {
    /// Fits the temperature to logits of two classes.
    ///
    /// # Errors
    /// As [`PlattScaling::fit`]; `FailedPrecondition` when logits do not rank positives above
    /// negatives, or do so without exception: then no finite temperature is best.
    pub fn fit(logits: &[f64], labels: &[f64]) -> Result<Self> {
        check("temperature scaling", logits, labels)?;
        let rows = || logits.iter().zip(labels).map(|(logit, label)| (*logit, *label));
        let pull: f64 = rows().map(|(logit, label)| (label - 0.5) * logit).sum();
        if pull <= 0.0 || rows().all(|(logit, label)| (label - 0.5) * logit >= 0.0) {
            return Err(Error::failed_precondition(
                "no finite temperature is best: logits separate the classes without exception or not at all",
            ));
        }
        // The mean loss is convex in the inverse of the temperature.
        let loss = |inverse: f64| mean_loss(logits, labels, inverse);
        let mut inverse = 1.0;
        let mut best = loss(inverse);
        for _ in 0..STEPS_MAX {
            let (mut gradient, mut hessian) = (0.0, 0.0);
            for (logit, label) in rows() {
                let p = sigmoid(logit * inverse);
                gradient += (p - label) * logit;
                hessian += p * (1.0 - p) * logit * logit;
            }
            let step = gradient / hessian.max(f64::MIN_POSITIVE);
            let Some((scale, value)) = halved(best, |scale| loss(inverse - scale * step)) else { break };
            (inverse, best) = (inverse - scale * step, value);
            if (step * scale).abs() < 1e-15 * inverse.abs() {
                break;
            }
        }
        Ok(Self { temperature: 1.0 / inverse })
    }

    /// The probability of a positive at a logit.
    #[must_use]
    pub fn probability(&self, logit: f64) -> f64 {
        sigmoid(logit / self.temperature)
    }

    /// The mean negative log likelihood in nats of labels at logits of this temperature.
    #[must_use]
    pub fn log_loss(&self, logits: &[f64], labels: &[f64]) -> f64 {
        mean_loss(logits, labels, 1.0 / self.temperature)
    }
}

fn mean_loss(logits: &[f64], labels: &[f64], inverse: f64) -> f64 {
    let sum: f64 = logits.iter().zip(labels).map(|(z, y)| softplus(z * inverse) - y * z * inverse).sum();
    sum / logits.len() as f64
}

/// The first of 1, 1/2, 1/4... at which the loss is not above `best`, with that loss.
fn halved(best: f64, loss: impl Fn(f64) -> f64) -> Option<(f64, f64)> {
    let mut scale = 1.0;
    for _ in 0..40 {
        let value = loss(scale);
        if value <= best {
            return Some((scale, value));
        }
        scale *= 0.5;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f64; 6] = [-3.0, -1.0, 0.5, 0.2, 2.0, 4.0];
    const LABELS: [f64; 6] = [0.0, 1.0, 0.0, 1.0, 1.0, 1.0];

    #[test]
    fn fits_are_stationary() {
        let platt = PlattScaling::fit(&SCORES, &LABELS).unwrap();
        // At the optimum the mean probability is the mean of the smoothed targets.
        let mean = SCORES.iter().map(|score| platt.probability(*score)).sum::<f64>() / 6.0;
        assert!((mean - (4.0 * 5.0 / 6.0 + 2.0 / 4.0) / 6.0).abs() < 1e-12, "{platt:?}");
        let temperature = TemperatureScaling::fit(&SCORES, &LABELS).unwrap();
        for other in [0.99, 1.01] {
            let moved = TemperatureScaling { temperature: temperature.temperature * other };
            assert!(moved.log_loss(&SCORES, &LABELS) > temperature.log_loss(&SCORES, &LABELS));
        }
    }

    #[test]
    fn scale_of_scores_does_not_matter() {
        let large: Vec<f64> = SCORES.iter().map(|score| score * 1e6).collect();
        let (small, large) =
            (PlattScaling::fit(&SCORES, &LABELS).unwrap(), PlattScaling::fit(&large, &LABELS).unwrap());
        assert!((small.slope / large.slope / 1e6 - 1.0).abs() < 1e-9);
        let flat = PlattScaling::fit(&[1.0; 6], &LABELS).unwrap();
        assert!((flat.probability(1.0) - (4.0 * 5.0 / 6.0 + 2.0 / 4.0) / 6.0).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        assert!(
            PlattScaling::fit(&[1.0], &[1.0]).is_err() && PlattScaling::fit(&[f64::NAN, 0.0], &[1.0, 0.0]).is_err()
        );
        assert!(TemperatureScaling::fit(&[-1.0, 1.0], &[0.0, 1.0]).is_err());
        assert!(TemperatureScaling::fit(&[1.0, -1.0, 2.0], &[0.0, 1.0, 0.0]).is_err());
        // Separable scores have a finite slope all the same.
        assert!(PlattScaling::fit(&[-1.0, 1.0], &[0.0, 1.0]).unwrap().slope.is_finite());
    }
}

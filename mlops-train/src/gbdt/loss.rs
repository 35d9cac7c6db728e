//! Losses with their first and second derivatives at the current score.

use crate::data::Task;

/// Numerically stable `1 / (1 + e^-x)`.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// Sums of many logistic losses at the price of one logarithm for every few rows: the logarithm of a
/// product is the sum of the logarithms, and a product of 512 numbers from 1 to 2 is in range.
#[derive(Debug, Default)]
pub(crate) struct LossSum {
    sum: f64,
    product: f64,
    factors: u32,
}

impl LossSum {
    /// Adds `ln(1 + e)` where `0 <= e <= 1`.
    fn add_ln_1p(&mut self, e: f64) {
        self.product = if self.factors == 0 { 1.0 + e } else { self.product * (1.0 + e) };
        self.factors += 1;
        if self.factors == 512 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.factors > 0 {
            self.sum += self.product.ln();
            self.factors = 0;
        }
    }

    /// The sum of all losses so far.
    pub(crate) fn total(&mut self) -> f64 {
        self.flush();
        self.sum
    }
}

/// Derivatives at a row as [`derivatives`] gives them, to the bit, and its weighted loss into a sum.
pub(crate) fn derivatives_and_loss(
    task: Task,
    score: f64,
    label: f64,
    weight: f64,
    losses: &mut LossSum,
) -> Derivatives {
    if task == Task::Regression {
        losses.sum += weight * loss(task, score, label);
        return derivatives(task, score, label, weight);
    }
    let e = (-score.abs()).exp();
    let p = if score >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
    losses.sum += weight * (score.max(0.0) - score * label);
    if weight == 1.0 {
        losses.add_ln_1p(e);
    } else {
        losses.sum += weight * e.ln_1p();
    }
    Derivatives { gradient: (p - label) * weight, curvature: (p * (1.0 - p)).max(1e-16) * weight }
}

/// Gradient and curvature at one row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Derivatives {
    pub(crate) gradient: f64,
    pub(crate) curvature: f64,
}

/// The score of a model without trees: weighted log odds or weighted mean.
pub(crate) fn base_score(task: Task, labels: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (label, weight) in labels {
        sum += label * weight;
        total += weight;
    }
    let mean = if total > 0.0 { sum / total } else { 0.5 };
    match task {
        Task::Regression => mean,
        Task::BinaryClassification => {
            let p = mean.clamp(1e-9, 1.0 - 1e-9);
            (p / (1.0 - p)).ln()
        }
    }
}

/// Derivatives of logistic loss (in the log odds) or of half the squared error.
pub(crate) fn derivatives(task: Task, score: f64, label: f64, weight: f64) -> Derivatives {
    match task {
        Task::Regression => Derivatives { gradient: (score - label) * weight, curvature: weight },
        Task::BinaryClassification => {
            let p = sigmoid(score);
            Derivatives { gradient: (p - label) * weight, curvature: (p * (1.0 - p)).max(1e-16) * weight }
        }
    }
}

/// Loss of one row: logistic in nats, or half the squared error.
pub(crate) fn loss(task: Task, score: f64, label: f64) -> f64 {
    match task {
        Task::Regression => 0.5 * (score - label).powi(2),
        Task::BinaryClassification => score.max(0.0) - score * label + (-score.abs()).exp().ln_1p(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_match_finite_differences() {
        let step = 1e-4;
        for task in [Task::BinaryClassification, Task::Regression] {
            for (score, label) in [(-3.0, 1.0), (0.2, 0.0), (1.5, 1.0)] {
                let at = |delta: f64| loss(task, score + delta, label);
                let exact = derivatives(task, score, label, 1.0);
                let gradient = (at(step) - at(-step)) / (2.0 * step);
                let curvature = (at(step) - 2.0 * at(0.0) + at(-step)) / (step * step);
                assert!((exact.gradient - gradient).abs() < 1e-7, "{task:?} {score}");
                assert!((exact.curvature - curvature).abs() < 1e-5, "{task:?} {score}");
            }
        }
    }

    #[test]
    fn one_pass_gives_the_same_derivatives_and_losses() {
        for task in [Task::BinaryClassification, Task::Regression] {
            let (mut losses, mut expected) = (LossSum::default(), 0.0);
            for row in 0..2_000_u32 {
                let (score, label) = (f64::from(row % 41) - 20.3, f64::from(row % 2));
                let weight = if row % 5 == 0 { 2.5 } else { 1.0 };
                let found = derivatives_and_loss(task, score, label, weight, &mut losses);
                let separate = derivatives(task, score, label, weight);
                assert_eq!(found.gradient.to_bits(), separate.gradient.to_bits());
                assert_eq!(found.curvature.to_bits(), separate.curvature.to_bits());
                expected += weight * loss(task, score, label);
            }
            let total = losses.total();
            assert!((total - expected).abs() <= 1e-12 * expected, "{total} {expected}");
        }
    }

    #[test]
    fn extreme_scores_stay_finite() {
        assert_eq!(sigmoid(-1e4), 0.0);
        assert_eq!(sigmoid(1e4), 1.0);
        assert_eq!(loss(Task::BinaryClassification, 1e4, 0.0), 1e4);
    }
}

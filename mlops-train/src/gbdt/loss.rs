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
    fn extreme_scores_stay_finite() {
        assert_eq!(sigmoid(-1e4), 0.0);
        assert_eq!(sigmoid(1e4), 1.0);
        assert_eq!(loss(Task::BinaryClassification, 1e4, 0.0), 1e4);
    }
}

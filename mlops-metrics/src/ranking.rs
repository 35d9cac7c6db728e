//! Metrics of the order of scores.
//!
//! Both walk the distinct scores from the highest down; rows with one score enter together, so
//! ties never depend on row order.

use mlops_core::Result;

use crate::metric::{Metric, Rows, undefined};

/// Weight of positives and negatives at one score.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Step {
    pub(crate) score: f64,
    pub(crate) positive: f64,
    pub(crate) negative: f64,
}

/// One step per distinct score, highest score first, and the sums of all.
pub(crate) fn steps(rows: &Rows<'_>) -> (Vec<Step>, Step) {
    let mut ordered: Vec<(f64, f64, f64)> = rows.iter().collect();
    // Adding zero makes -0 and 0 one score.
    ordered.sort_by(|a, b| (b.1 + 0.0).total_cmp(&(a.1 + 0.0)));
    let sum = |rows: &[(f64, f64, f64)]| {
        rows.iter().fold(Step::default(), |sum, &(label, score, weight)| Step {
            score,
            positive: sum.positive + label * weight,
            negative: sum.negative + (1.0 - label) * weight,
        })
    };
    let steps: Vec<Step> = ordered.chunk_by(|a, b| a.1 == b.1).map(sum).collect();
    (steps, sum(&ordered))
}

/// The probability that a random positive scores above a random negative, ties counting one half
/// (Hanley and McNeil 1982).
pub(crate) fn roc_auc(rows: &Rows<'_>) -> Result<f64> {
    let (steps, total) = steps(rows);
    if total.positive <= 0.0 || total.negative <= 0.0 {
        return Err(undefined(Metric::RocAuc, "labels have one class"));
    }
    let (mut above, mut area) = (0.0, 0.0);
    for step in steps {
        area += step.negative * (above + 0.5 * step.positive);
        above += step.positive;
    }
    Ok(area / (total.positive * total.negative))
}

/// `sum over n of (R_n - R_{n-1}) P_n`.
pub(crate) fn average_precision(rows: &Rows<'_>) -> Result<f64> {
    let (steps, total) = steps(rows);
    if total.positive <= 0.0 {
        return Err(undefined(Metric::AveragePrecision, "no label is positive"));
    }
    let (mut called, mut hits, mut sum) = (0.0, 0.0, 0.0);
    for step in steps {
        hits += step.positive;
        called += step.positive + step.negative;
        if called > 0.0 {
            sum += step.positive * hits / called;
        }
    }
    Ok(sum / total.positive)
}

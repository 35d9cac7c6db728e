//! Curves over all thresholds, and areas under them.
//!
//! Invariant: rows of one score enter together, so a curve never depends on row order. Points are
//! those of scikit-learn: the first threshold of a ROC curve is infinite, precision at no recall
//! is one.

use mlops_core::Result;

use crate::{
    metric::{Metric, Rows, undefined},
    ranking::{Step, steps},
};

/// False against true positives, from the highest threshold down.
#[derive(Debug, Clone, PartialEq)]
pub struct RocCurve {
    /// Share of negatives called positive.
    pub false_positive_rates: Vec<f64>,
    /// Share of positives called positive.
    pub true_positive_rates: Vec<f64>,
    /// Rows are called positive from this score on; infinite at the first point.
    pub thresholds: Vec<f64>,
}

/// Precision against recall, from the lowest threshold up.
#[derive(Debug, Clone, PartialEq)]
pub struct PrecisionRecallCurve {
    /// Share of positives among rows called positive; one at the last point, which has no
    /// threshold.
    pub precisions: Vec<f64>,
    /// Share of positives called positive; zero at the last point.
    pub recalls: Vec<f64>,
    /// One fewer than points.
    pub thresholds: Vec<f64>,
}

/// Both rates of errors (detection error trade-off), from the lowest threshold up.
#[derive(Debug, Clone, PartialEq)]
pub struct DetCurve {
    /// Share of negatives called positive.
    pub false_positive_rates: Vec<f64>,
    /// Share of positives called negative.
    pub false_negative_rates: Vec<f64>,
    /// Infinite at the last point when no finite threshold calls no negative.
    pub thresholds: Vec<f64>,
}

/// Counts of rows called positive from a threshold on.
#[derive(Debug, Clone, Copy)]
struct Called {
    threshold: f64,
    positive: f64,
    negative: f64,
}

/// One point per distinct score of a positive weight, highest first, after one that calls nothing.
fn called(metric: Metric, labels: &[f64], scores: &[f64], weights: Option<&[f64]>) -> Result<Vec<Called>> {
    metric.check(labels, scores, weights)?;
    let (steps, total) = steps(&Rows { labels, scores, weights });
    // Precision and recall need no negatives.
    let needs_both = metric != Metric::AveragePrecision;
    if total.positive <= 0.0 || (needs_both && total.negative <= 0.0) {
        return Err(undefined(metric, "labels have one class"));
    }
    let start = Called { threshold: f64::INFINITY, positive: 0.0, negative: 0.0 };
    let counted = |step: &Step| step.positive + step.negative > 0.0;
    let points = steps.into_iter().filter(counted).scan(start, |sum, step| {
        let (positive, negative) = (sum.positive + step.positive, sum.negative + step.negative);
        *sum = Called { threshold: step.score, positive, negative };
        Some(*sum)
    });
    Ok(std::iter::once(start).chain(points).collect())
}

fn last(points: &[Called]) -> Called {
    points.last().copied().unwrap_or(Called { threshold: 0.0, positive: 1.0, negative: 1.0 })
}

/// The receiver operating characteristic, a point per distinct score (scikit-learn's with
/// `drop_intermediate=False`).
///
/// ```
/// let curve = mlops_metrics::roc_curve(&[0.0, 0.0, 1.0, 1.0], &[0.1, 0.4, 0.35, 0.8], None)?;
/// assert_eq!(curve.false_positive_rates, [0.0, 0.0, 0.5, 0.5, 1.0]);
/// assert_eq!(curve.thresholds[1..], [0.8, 0.4, 0.35, 0.1]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// As [`Metric::compute_weighted`] for [`Metric::RocAuc`].
pub fn roc_curve(labels: &[f64], scores: &[f64], weights: Option<&[f64]>) -> Result<RocCurve> {
    let points = called(Metric::RocAuc, labels, scores, weights)?;
    let total = last(&points);
    Ok(RocCurve {
        false_positive_rates: points.iter().map(|point| point.negative / total.negative).collect(),
        true_positive_rates: points.iter().map(|point| point.positive / total.positive).collect(),
        thresholds: points.iter().map(|point| point.threshold).collect(),
    })
}

/// Precision and recall at every distinct score.
///
/// # Errors
/// As [`Metric::compute_weighted`] for [`Metric::AveragePrecision`].
pub fn precision_recall_curve(labels: &[f64], scores: &[f64], weights: Option<&[f64]>) -> Result<PrecisionRecallCurve> {
    let points = called(Metric::AveragePrecision, labels, scores, weights)?;
    let total = last(&points);
    let upward = || points.iter().skip(1).rev();
    let precision = |point: &Called| point.positive / (point.positive + point.negative);
    Ok(PrecisionRecallCurve {
        precisions: upward().map(precision).chain([1.0]).collect(),
        recalls: upward().map(|point| point.positive / total.positive).chain([0.0]).collect(),
        thresholds: upward().map(|point| point.threshold).collect(),
    })
}

/// The detection error trade-off, from where no positive is missed to where no negative is called.
///
/// # Errors
/// As [`roc_curve`].
pub fn det_curve(labels: &[f64], scores: &[f64], weights: Option<&[f64]>) -> Result<DetCurve> {
    let points = called(Metric::RocAuc, labels, scores, weights)?;
    let total = last(&points);
    let first = points.partition_point(|point| point.negative <= 0.0).saturating_sub(1);
    let end = points.partition_point(|point| point.positive < total.positive) + 1;
    let shown = || points.iter().take(end).skip(first).rev();
    Ok(DetCurve {
        false_positive_rates: shown().map(|point| point.negative / total.negative).collect(),
        false_negative_rates: shown().map(|point| (total.positive - point.positive) / total.positive).collect(),
        thresholds: shown().map(|point| point.threshold).collect(),
    })
}

/// The area under the ROC curve up to a false positive rate, scaled so that chance is 0.5 and
/// perfection 1 (McClish, Medical Decision Making 9, 1989).
///
/// # Errors
/// As [`roc_curve`]; `InvalidArgument` when the rate is not above 0 and at most 1.
pub fn partial_roc_auc(labels: &[f64], scores: &[f64], weights: Option<&[f64]>, rate_max: f64) -> Result<f64> {
    if !(rate_max > 0.0 && rate_max <= 1.0) {
        return Err(mlops_core::Error::invalid_argument(format!(
            "a partial area needs a false positive rate above 0 and at most 1, found {rate_max}"
        )));
    }
    let points = called(Metric::RocAuc, labels, scores, weights)?;
    let total = last(&points);
    let rates = points.iter().map(|point| (point.negative / total.negative, point.positive / total.positive));
    let rates: Vec<(f64, f64)> = rates.collect();
    let mut area = 0.0;
    for pair in rates.windows(2) {
        let &[(x0, y0), (x1, y1)] = pair else { continue };
        if x0 >= rate_max {
            break;
        }
        let (x, y) = if x1 > rate_max { (rate_max, y0 + (y1 - y0) * (rate_max - x0) / (x1 - x0)) } else { (x1, y1) };
        area += (x - x0) * (y0 + y) / 2.0;
    }
    let chance = rate_max * rate_max / 2.0;
    Ok(0.5 * (1.0 + (area - chance) / (rate_max - chance)))
}

/// The area under the precision-recall curve by trapezia. Interpolating between points is too
/// optimistic; [`Metric::AveragePrecision`] does not.
///
/// # Errors
/// As [`precision_recall_curve`].
pub fn precision_recall_auc(labels: &[f64], scores: &[f64], weights: Option<&[f64]>) -> Result<f64> {
    let curve = precision_recall_curve(labels, scores, weights)?;
    let points: Vec<(f64, f64)> = curve.recalls.into_iter().zip(curve.precisions).collect();
    let trapezium = |pair: &[(f64, f64)]| match pair {
        &[(x0, y0), (x1, y1)] => (x0 - x1) * (y0 + y1) / 2.0,
        _ => 0.0,
    };
    Ok(points.windows(2).map(trapezium).sum())
}

/// `1 - log loss / log loss of the share of positives`: one is perfect, zero no better than the
/// share, negative worse.
///
/// # Errors
/// As [`Metric::compute_weighted`] for [`Metric::LogLoss`]; `FailedPrecondition` when labels have
/// one class.
pub fn d2_log_loss(labels: &[f64], probabilities: &[f64], weights: Option<&[f64]>) -> Result<f64> {
    let loss = Metric::LogLoss.compute_weighted(labels, probabilities, weights)?;
    let share = Rows { labels, scores: probabilities, weights }.mean(|label, _| label);
    if share <= 0.0 || share >= 1.0 {
        return Err(undefined("d2_log_loss", "labels have one class"));
    }
    let chance = Metric::LogLoss.compute_weighted(labels, &vec![share; labels.len()], weights)?;
    Ok(1.0 - loss / chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_recall_need_no_negatives() {
        // sklearn.metrics 1.9.1 gives the same.
        let curve = precision_recall_curve(&[1.0, 1.0], &[0.5, 0.1], None).unwrap();
        assert_eq!((curve.precisions, curve.recalls), (vec![1.0; 3], vec![1.0, 0.5, 0.0]));
        assert_eq!(precision_recall_auc(&[1.0, 1.0], &[0.5, 0.1], None).unwrap(), 1.0);
        assert!(precision_recall_curve(&[0.0, 0.0], &[0.5, 0.1], None).is_err());
        assert!(roc_curve(&[1.0, 1.0], &[0.5, 0.1], None).is_err() && det_curve(&[1.0], &[0.5], None).is_err());
    }

    #[test]
    fn areas_under_curves_are_those_of_the_metrics() {
        let labels = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let scores = [0.1, 0.4, 0.4, 0.4, 0.8, 0.2, 0.2];
        let whole = partial_roc_auc(&labels, &scores, None, 1.0).unwrap();
        assert!((whole - Metric::RocAuc.compute(&labels, &scores).unwrap()).abs() < 1e-12);
        let curve = roc_curve(&labels, &scores, None).unwrap();
        let area: f64 = (1..curve.thresholds.len())
            .map(|i| {
                let (x, y) = (&curve.false_positive_rates, &curve.true_positive_rates);
                (x[i] - x[i - 1]) * (y[i] + y[i - 1]) / 2.0
            })
            .sum();
        assert!((area - whole).abs() < 1e-12);
    }

    #[test]
    fn rows_of_weight_zero_do_not_count() {
        let (labels, scores) = ([0.0, 1.0, 1.0, 0.0], [0.1, 0.4, 0.3, 0.9]);
        let with = roc_curve(&labels, &scores, Some(&[1.0, 1.0, 1.0, 0.0])).unwrap();
        assert_eq!(with, roc_curve(&labels[..3], &scores[..3], None).unwrap());
    }

    #[test]
    fn one_class_has_no_curve() {
        assert!(roc_curve(&[1.0, 1.0], &[0.1, 0.2], None).is_err());
        assert!(precision_recall_curve(&[0.0], &[0.1], None).is_err());
        assert!(det_curve(&[0.0, 0.0], &[0.1, 0.2], None).is_err());
        assert!(d2_log_loss(&[1.0, 1.0], &[0.1, 0.2], None).is_err());
        assert!(partial_roc_auc(&[0.0, 1.0], &[0.1, 0.2], None, 0.0).is_err());
    }
}

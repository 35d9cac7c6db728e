//! How far an estimate may lie from the truth by chance, and when it is bad news.
//!
//! Invariant: a verdict of alert needs enough rows and an estimate beyond a threshold that the reference, or the user,
//! has set; a metric that does not exist on a window is said to be degenerate, never zero.

use std::ops::Range;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::stats::{count_of, float};

/// When an estimate is an alert.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertRule {
    /// Further than so many standard deviations from the mean of the realised metric over the chunks of the reference.
    ReferenceDeviations(f64),
    /// Outside fixed bounds.
    Constant {
        /// Below it is an alert.
        lower: Option<f64>,
        /// Above it is an alert.
        upper: Option<f64>,
    },
}

/// How estimates are banded and judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BandSettings {
    /// Parts that the reference is cut into, in its order, for the alert thresholds; 2 to 10 000. Default 10. The last
    /// one takes the rows that are left. Thresholds are fair for windows about as large as a chunk.
    pub chunks: usize,
    /// Half width of the band in standard errors, above 0. Default 3.
    pub standard_errors: f64,
    /// When an estimate is an alert. Default beyond 3 standard deviations.
    pub alert: AlertRule,
    /// Fewest rows of a window for a verdict. Default 100.
    pub n_min: u64,
}

impl Default for BandSettings {
    fn default() -> Self {
        Self { chunks: 10, standard_errors: 3.0, alert: AlertRule::ReferenceDeviations(3.0), n_min: 100 }
    }
}

impl BandSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        if !(2..=10_000).contains(&self.chunks) {
            faults.push(format!("chunks must be 2 to 10000, found {}", self.chunks));
        }
        if !(self.standard_errors > 0.0 && self.standard_errors.is_finite()) {
            faults.push(format!("standard_errors must be finite and above 0, found {}", self.standard_errors));
        }
        match self.alert {
            AlertRule::ReferenceDeviations(deviations) if !(deviations > 0.0 && deviations.is_finite()) => {
                faults.push(format!("reference_deviations must be finite and above 0, found {deviations}"));
            }
            AlertRule::Constant { lower, upper } => {
                let (low, high) = (lower.unwrap_or(f64::NEG_INFINITY), upper.unwrap_or(f64::INFINITY));
                if (lower, upper) == (None, None) || low.is_nan() || high.is_nan() || low >= high {
                    faults.push(format!("a constant alert needs lower below upper, found {lower:?} and {upper:?}"));
                }
            }
            AlertRule::ReferenceDeviations(_) => {}
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("band settings: {}", faults.join("; "))))
    }

    /// The rows of each chunk of a reference.
    pub(super) fn chunk_rows(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let (chunks, width) = (self.chunks, rows / self.chunks.max(1));
        (0..chunks).map(move |chunk| chunk * width..if chunk + 1 == chunks { rows } else { (chunk + 1) * width })
    }

    /// Fewest rows of a reference: two for each chunk.
    pub(super) fn check_reference(&self, what: &str, rows: usize) -> Result<()> {
        let needed = (self.chunks * 2).max(usize::try_from(self.n_min).unwrap_or(usize::MAX));
        if rows >= needed {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("{what}: the reference has {rows} usable rows; {needed} are needed")))
    }
}

/// What an estimate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EstimateVerdict {
    /// Within the thresholds.
    Ok,
    /// Beyond a threshold.
    Alert,
    /// Too few rows.
    Insufficient {
        /// Usable rows of the window.
        n: u64,
        /// Rows that are needed.
        min_n: u64,
    },
    /// The metric does not exist on this window, such as precision when nothing is called.
    Degenerate,
}

/// One metric of a window, estimated. Numbers that do not exist are NaN, and `null` in JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricEstimate<M> {
    /// What was estimated.
    pub metric: M,
    /// The estimate.
    pub value: f64,
    /// Lower end of the band, within the metric's range.
    pub lower: f64,
    /// Upper end of the band.
    pub upper: f64,
    /// Standard error of the realised metric on so many rows.
    pub standard_error: f64,
    /// The realised metric of the whole reference.
    pub reference: f64,
    /// Below it is an alert.
    pub alert_lower: Option<f64>,
    /// Above it is an alert.
    pub alert_upper: Option<f64>,
    /// The conclusion.
    pub verdict: EstimateVerdict,
}

/// All metrics of a window, estimated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerformanceEstimate<M> {
    /// Usable rows.
    pub n: u64,
    /// Rows left out: a score that is no probability, or a prediction that is not finite.
    pub skipped: u64,
    /// One entry for each metric of the settings, in their order.
    pub metrics: Vec<MetricEstimate<M>>,
}

impl<M: PartialEq> PerformanceEstimate<M> {
    /// The estimate of one metric.
    #[must_use]
    pub fn get(&self, metric: &M) -> Option<&MetricEstimate<M>> {
        self.metrics.iter().find(|found| found.metric == *metric)
    }

    /// Whether any metric is beyond its thresholds.
    #[must_use]
    pub fn is_alert(&self) -> bool {
        self.metrics.iter().any(|found| found.verdict == EstimateVerdict::Alert)
    }
}

/// What the reference knows of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MetricReference<M> {
    pub(super) metric: M,
    value: Option<f64>,
    // Variance of the realised metric on one row.
    row_variance: Option<f64>,
    range: (Option<f64>, Option<f64>),
    alert_lower: Option<f64>,
    alert_upper: Option<f64>,
}

impl<M: Clone> MetricReference<M> {
    /// From the realised metric of the reference as a whole, with its variance on one row, and of its chunks.
    pub(super) fn new(
        metric: M,
        range: (f64, f64),
        whole: Option<(f64, f64)>,
        chunks: &[f64],
        settings: &BandSettings,
    ) -> Self {
        let (lower, upper) = match settings.alert {
            AlertRule::Constant { lower, upper } => (lower, upper),
            AlertRule::ReferenceDeviations(deviations) => match mean_and_deviation(chunks) {
                Some((mean, deviation)) => (Some(mean - deviations * deviation), Some(mean + deviations * deviation)),
                None => (None, None),
            },
        };
        let clip = |bound: f64| bound.clamp(range.0, range.1);
        let finite = |value: f64| value.is_finite().then_some(value);
        Self {
            metric,
            value: whole.and_then(|(value, _)| finite(value)),
            row_variance: whole.and_then(|(_, variance)| finite(variance)),
            range: (finite(range.0), finite(range.1)),
            alert_lower: lower.map(clip),
            alert_upper: upper.map(clip),
        }
    }

    /// Puts a band around an estimate and judges it.
    pub(super) fn judge(&self, value: Option<f64>, n: u64, settings: &BandSettings) -> MetricEstimate<M> {
        let value = value.filter(|value| value.is_finite());
        let standard_error = self.row_variance.map_or(f64::NAN, |variance| (variance / float(n)).sqrt());
        let (low, high) = (self.range.0.unwrap_or(f64::NEG_INFINITY), self.range.1.unwrap_or(f64::INFINITY));
        let (estimate, half) = (value.unwrap_or(f64::NAN), settings.standard_errors * standard_error);
        let min_n = settings.n_min.max(1);
        let verdict = match value {
            _ if n < min_n => EstimateVerdict::Insufficient { n, min_n },
            None => EstimateVerdict::Degenerate,
            Some(value) => {
                let beyond = self.alert_lower.is_some_and(|lower| value < lower)
                    || self.alert_upper.is_some_and(|upper| value > upper);
                if beyond { EstimateVerdict::Alert } else { EstimateVerdict::Ok }
            }
        };
        MetricEstimate {
            metric: self.metric.clone(),
            value: estimate,
            lower: within(estimate - half, low, high),
            upper: within(estimate + half, low, high),
            standard_error,
            reference: self.value.unwrap_or(f64::NAN),
            alert_lower: self.alert_lower,
            alert_upper: self.alert_upper,
            verdict,
        }
    }
}

/// The nearest value of the range; NaN for NaN. Unlike `clamp` it takes any range, damaged ones too.
fn within(value: f64, low: f64, high: f64) -> f64 {
    if value < low {
        low
    } else if value > high {
        high
    } else {
        value
    }
}

/// Mean and standard deviation, with n in the denominator; `None` for fewer than two values.
fn mean_and_deviation(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let n = float(count_of(values.len()));
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    Some((mean, (squares / n).sqrt())).filter(|(mean, deviation)| mean.is_finite() && deviation.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_at_once() {
        let settings = BandSettings {
            chunks: 1,
            standard_errors: f64::NAN,
            alert: AlertRule::Constant { lower: Some(0.5), upper: Some(0.4) },
            n_min: 0,
        };
        let error = settings.validate().unwrap_err();
        for word in ["chunks", "standard_errors", "constant alert"] {
            assert!(error.message().contains(word), "{error}");
        }
        BandSettings::default().validate().unwrap();
    }

    #[test]
    fn the_last_chunk_takes_the_rest() {
        let settings = BandSettings { chunks: 3, ..BandSettings::default() };
        assert_eq!(settings.chunk_rows(11).collect::<Vec<_>>(), [0..3, 3..6, 6..11]);
    }

    #[test]
    fn thresholds_stay_in_the_range_and_few_rows_give_no_verdict() {
        let settings = BandSettings::default();
        let reference = MetricReference::new("share", (0.0, 1.0), Some((0.9, 0.09)), &[0.8, 1.0], &settings);
        assert_eq!(reference.alert_upper, Some(1.0));
        let found = reference.judge(Some(0.95), 100, &settings);
        assert!((found.standard_error - 0.03).abs() < 1e-15);
        assert_eq!((found.upper, found.verdict), (1.0, EstimateVerdict::Ok));
        assert_eq!(reference.judge(Some(0.1), 100, &settings).verdict, EstimateVerdict::Alert);
        assert_eq!(reference.judge(None, 100, &settings).verdict, EstimateVerdict::Degenerate);
        let few = reference.judge(Some(0.1), 99, &settings).verdict;
        assert_eq!(few, EstimateVerdict::Insufficient { n: 99, min_n: 100 });
    }
}

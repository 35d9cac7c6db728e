//! Confidence-based performance estimation for two classes.
//!
//! A row whose calibrated probability is c and that is called is a true positive with chance c and a false one with
//! 1 - c; summed over the window these are the expected cells of the confusion matrix, and with them every metric.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    band::{BandSettings, MetricReference, PerformanceEstimate},
    calibration::{CalibrationRule, IsotonicCalibration, as_numbers, choose, same_length},
    expected::{Rows, row_variance},
    metric::CbpeMetric,
};
use crate::stats::count_of;

/// Settings of [`Cbpe`] and [`super::CbpeMulticlass`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CbpeSettings {
    /// What is estimated. Default accuracy, precision, recall, F1 and ROC AUC.
    pub metrics: Vec<CbpeMetric>,
    /// Whether scores are calibrated. Default when that helps.
    pub calibration: CalibrationRule,
    /// Bands and alerts.
    pub band: BandSettings,
}

impl Default for CbpeSettings {
    fn default() -> Self {
        use CbpeMetric::{Accuracy, F1, Precision, Recall, RocAuc};
        Self {
            metrics: vec![Accuracy, Precision, Recall, F1, RocAuc],
            calibration: CalibrationRule::Auto,
            band: BandSettings::default(),
        }
    }
}

impl CbpeSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no metric or a value is out of range.
    pub fn validate(&self) -> Result<()> {
        if self.metrics.is_empty() {
            return Err(Error::invalid_argument("cbpe settings: metrics must name at least one metric"));
        }
        self.metrics.iter().try_for_each(CbpeMetric::validate)?;
        self.band.validate()
    }
}

/// Rows with labels, in the order of time, of data that the model was **not** trained on.
#[derive(Debug, Clone, Copy)]
pub struct CbpeReference<'a> {
    /// Scores of the positive class, 0 to 1.
    pub scores: &'a [f64],
    /// Whether the model called the row positive.
    pub predictions: &'a [bool],
    /// Whether it was.
    pub labels: &'a [bool],
}

/// Estimates the metrics of a classifier from its scores alone.
///
/// **Valid only while the relation between inputs and outcome holds**: under concept shift the estimate stays where it
/// was while the model fails. Covariate shift is what it is for.
///
/// State is plain data: stored beside the model and read back, it answers the same.
///
/// ```
/// use mlops_monitor::estimate::{Cbpe, CbpeMetric, CbpeReference, CbpeSettings};
///
/// // A reference whose scores mean what they say: of the rows scored 0.9, nine in ten are positive.
/// let scores: Vec<f64> = (0..1_000).map(|i| if i % 2 == 0 { 0.9 } else { 0.2 }).collect();
/// let predictions: Vec<bool> = scores.iter().map(|score| *score >= 0.5).collect();
/// let labels: Vec<bool> = (0..1_000).map(|i| if i % 2 == 0 { i % 20 != 0 } else { i % 10 == 1 }).collect();
/// let reference = CbpeReference { scores: &scores, predictions: &predictions, labels: &labels };
/// let cbpe = Cbpe::fit(reference, CbpeSettings::default())?;
///
/// // Without labels: the window holds more of the rows that the model is less sure of.
/// let estimate = cbpe.estimate(&[0.2; 300], &[false; 300])?;
/// let accuracy = estimate.get(&CbpeMetric::Accuracy).expect("it is in the settings");
/// assert!((accuracy.value - 0.8).abs() < 1e-9, "{accuracy:?}");
/// assert!(accuracy.lower < accuracy.value && estimate.is_alert());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cbpe {
    band: BandSettings,
    calibration: Option<IsotonicCalibration>,
    metrics: Vec<MetricReference<CbpeMetric>>,
}

impl Cbpe {
    /// Learns calibration, sampling errors and thresholds from a labelled reference. Rows whose score is no
    /// probability are left out.
    ///
    /// # Errors
    /// `InvalidArgument` when settings are out of range, columns differ in length, or the usable rows are fewer than
    /// `n_min` or two a chunk.
    pub fn fit(reference: CbpeReference<'_>, settings: CbpeSettings) -> Result<Self> {
        settings.validate()?;
        let CbpeReference { scores, predictions, labels } = reference;
        same_length("predictions", scores.len(), predictions.len())?;
        same_length("labels", scores.len(), labels.len())?;
        let usable = scores.iter().map(|score| is_probability(*score));
        let (scores, predictions, labels) =
            (keep(scores, usable.clone()), keep(predictions, usable.clone()), keep(labels, usable));
        settings.band.check_reference("cbpe", scores.len())?;
        let calibration = choose(settings.calibration, &scores, &labels)?;
        let chances = as_numbers(&labels);
        let realised = Rows { scores: &scores, chances: &chances, called: &predictions };
        let chunks: Vec<Rows<'_>> =
            settings.band.chunk_rows(scores.len()).filter_map(|range| realised.slice(range)).collect();
        let metrics = settings.metrics.into_iter().map(|metric| {
            let whole = realised.expected(&metric).map(|found| (found.value, row_variance(&found.influences)));
            let chunks: Vec<f64> = chunks.iter().filter_map(|chunk| chunk.value(&metric)).collect();
            MetricReference::new(metric, metric.range(), whole, &chunks, &settings.band)
        });
        let metrics = metrics.collect();
        Ok(Self { band: settings.band, calibration, metrics })
    }

    /// Estimates the metrics of a window that has no labels yet. Rows whose score is no probability are counted as
    /// skipped.
    ///
    /// # Errors
    /// `InvalidArgument` when the columns differ in length.
    pub fn estimate(&self, scores: &[f64], predictions: &[bool]) -> Result<PerformanceEstimate<CbpeMetric>> {
        same_length("predictions", scores.len(), predictions.len())?;
        let usable = scores.iter().map(|score| is_probability(*score));
        let (kept, called) = (keep(scores, usable.clone()), keep(predictions, usable));
        let chances = self.calibrate(&kept);
        let rows = Rows { scores: &kept, chances: &chances, called: &called };
        let n = count_of(kept.len());
        let metrics = self.metrics.iter().map(|known| known.judge(rows.value(&known.metric), n, &self.band));
        Ok(PerformanceEstimate { n, skipped: count_of(scores.len()) - n, metrics: metrics.collect() })
    }

    /// The calibration in use, if any.
    #[must_use]
    pub fn calibration(&self) -> Option<&IsotonicCalibration> {
        self.calibration.as_ref()
    }

    fn calibrate(&self, scores: &[f64]) -> Vec<f64> {
        match &self.calibration {
            Some(calibration) => scores.iter().map(|score| calibration.calibrate(*score)).collect(),
            None => scores.to_vec(),
        }
    }
}

pub(super) fn is_probability(score: f64) -> bool {
    (0.0..=1.0).contains(&score)
}

/// The values whose mark is set.
pub(super) fn keep<T: Clone>(values: &[T], marks: impl Iterator<Item = bool>) -> Vec<T> {
    values.iter().zip(marks).filter(|(_, mark)| *mark).map(|(value, _)| value.clone()).collect()
}

//! Direct loss estimation: the performance of a regression model, foretold by a model of its losses.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    band::{BandSettings, MetricReference, PerformanceEstimate},
    calibration::same_length,
    cbpe::keep,
    loss::{Loss, LossMetric, LossModel},
};
use crate::stats::{count_of, float};

/// Settings of [`Dle`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DleSettings {
    /// What is estimated. Default MAE and RMSE.
    pub metrics: Vec<LossMetric>,
    /// Bands and alerts.
    pub band: BandSettings,
}

impl Default for DleSettings {
    fn default() -> Self {
        Self { metrics: vec![LossMetric::Mae, LossMetric::Rmse], band: BandSettings::default() }
    }
}

/// Rows with labels, in the order of time, of data that the model was **not** trained on.
#[derive(Debug, Clone, Copy)]
pub struct DleReference<'a> {
    /// Features as numbers, column by column; categories are to be encoded, missing values are NaN.
    pub features: &'a [Vec<f64>],
    /// What the model predicted.
    pub predictions: &'a [f64],
    /// What it was.
    pub labels: &'a [f64],
}

/// Estimates the error of a regression model on rows without labels.
///
/// **Valid only while the relation between inputs and outcome holds**, like [`super::Cbpe`]; and only as good as the
/// model of losses, which cannot foretell more than it has seen: where inputs leave the range of the reference, a
/// forest answers with the loss at its rim.
///
/// ```
/// use mlops_core::Result;
/// use mlops_monitor::estimate::{Dle, DleReference, DleSettings, LossMetric, LossModel};
///
/// // Any regressor serves; this one knows a mean loss below and above zero.
/// #[derive(Debug)]
/// struct Halves([f64; 2]);
/// impl LossModel for Halves {
///     fn predict(&self, columns: &[Vec<f64>]) -> Result<Vec<f64>> {
///         Ok(columns[0].iter().map(|x| if *x < 0.0 { self.0[0] } else { self.0[1] }).collect())
///     }
/// }
/// let learn = |columns: &[Vec<f64>], losses: &[f64]| {
///     let mean = |above: bool| {
///         let of: Vec<f64> = columns[0].iter().zip(losses).filter(|(x, _)| (**x >= 0.0) == above).map(|(_, l)| *l).collect();
///         of.iter().sum::<f64>() / of.len() as f64
///     };
///     Ok(Halves([mean(false), mean(true)]))
/// };
///
/// // The model errs by one below zero and by three above.
/// let x: Vec<f64> = (0..400).map(|i| if i % 2 == 0 { -1.0 } else { 1.0 }).collect();
/// let labels: Vec<f64> = x.iter().map(|x| 10.0 + x).collect();
/// let predictions: Vec<f64> = x.iter().map(|x| if *x < 0.0 { 8.0 } else { 14.0 }).collect();
/// let features = [x];
/// let reference = DleReference { features: &features, predictions: &predictions, labels: &labels };
/// let dle = Dle::fit(reference, DleSettings::default(), learn)?;
///
/// let estimate = dle.estimate(&[vec![1.0; 200]], &[14.0; 200])?;
/// assert_eq!(estimate.get(&LossMetric::Mae).expect("in the settings").value, 3.0);
/// assert!(estimate.is_alert());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dle<M> {
    band: BandSettings,
    features: usize,
    metrics: Vec<MetricReference<LossMetric>>,
    models: Vec<(Loss, M)>,
}

impl<M: LossModel> Dle<M> {
    /// Learns the losses of a labelled reference with `learn`, once for each loss that the metrics need, from features
    /// and prediction (the last column) to the loss. Rows whose prediction or label is not finite are left out.
    ///
    /// # Errors
    /// `InvalidArgument` when settings are out of range, columns differ in length, usable rows are too few, or a row
    /// has no such loss, as a label below -1 has no logarithmic one; and whatever `learn` returns.
    pub fn fit(
        reference: DleReference<'_>,
        settings: DleSettings,
        learn: impl Fn(&[Vec<f64>], &[f64]) -> Result<M>,
    ) -> Result<Self> {
        if settings.metrics.is_empty() {
            return Err(Error::invalid_argument("dle settings: metrics must name at least one metric"));
        }
        settings.band.validate()?;
        let DleReference { features, predictions, labels } = reference;
        same_length("labels", predictions.len(), labels.len())?;
        let marks: Vec<bool> =
            predictions.iter().zip(labels).map(|(p, label)| p.is_finite() && label.is_finite()).collect();
        let columns = columns(features, predictions, &marks)?;
        let (predictions, labels) = (keep(predictions, marks.iter().copied()), keep(labels, marks.iter().copied()));
        settings.band.check_reference("dle", labels.len())?;
        let mut models: Vec<(Loss, M)> = Vec::new();
        let mut metrics = Vec::new();
        for metric in settings.metrics {
            let losses = losses(metric.loss(), &labels, &predictions)?;
            if !models.iter().any(|(loss, _)| *loss == metric.loss()) {
                models.push((metric.loss(), learn(&columns, &losses)?));
            }
            metrics.push(realised(metric, &losses, &settings.band));
        }
        Ok(Self { band: settings.band, features: features.len(), metrics, models })
    }

    /// Estimates the metrics of a window that has no labels yet. Rows whose prediction is not finite are counted as
    /// skipped.
    ///
    /// # Errors
    /// `InvalidArgument` when features are more or fewer than were learnt or columns differ in length; `Internal` when
    /// the model of losses does not answer with one number a row.
    pub fn estimate(&self, features: &[Vec<f64>], predictions: &[f64]) -> Result<PerformanceEstimate<LossMetric>> {
        if features.len() != self.features {
            let message = format!("dle: {} feature columns are needed, found {}", self.features, features.len());
            return Err(Error::invalid_argument(message));
        }
        let marks: Vec<bool> = predictions.iter().map(|prediction| prediction.is_finite()).collect();
        let columns = columns(features, predictions, &marks)?;
        let rows = columns.first().map_or(0, Vec::len);
        let n = count_of(rows);
        let mut means = Vec::new();
        for (loss, model) in &self.models {
            let foretold = if rows == 0 { Vec::new() } else { model.predict(&columns)? };
            if foretold.len() != rows {
                let message = format!("dle: the loss model gave {} numbers for {rows} rows", foretold.len());
                return Err(Error::internal(message));
            }
            // No loss is below zero, whatever an extrapolating model says.
            let sum: f64 = foretold.iter().map(|loss| loss.max(0.0)).sum();
            means.push((*loss, (rows > 0).then(|| sum / float(n))));
        }
        let metrics = self.metrics.iter().map(|known| {
            let mean = means.iter().find(|(loss, _)| *loss == known.metric.loss()).and_then(|(_, mean)| *mean);
            known.judge(mean.map(|mean| known.metric.of_mean(mean)), n, &self.band)
        });
        Ok(PerformanceEstimate { n, skipped: count_of(predictions.len()) - n, metrics: metrics.collect() })
    }
}

/// The marked rows of features and prediction.
fn columns(features: &[Vec<f64>], predictions: &[f64], marks: &[bool]) -> Result<Vec<Vec<f64>>> {
    for column in features {
        same_length("a feature column", predictions.len(), column.len())?;
    }
    let all = features.iter().map(Vec::as_slice).chain([predictions]);
    Ok(all.map(|column| keep(column, marks.iter().copied())).collect())
}

fn losses(loss: Loss, labels: &[f64], predictions: &[f64]) -> Result<Vec<f64>> {
    let losses = labels.iter().zip(predictions).map(|(label, prediction)| loss.of(*label, *prediction));
    losses.collect::<Option<Vec<f64>>>().ok_or_else(|| {
        let message = format!("dle: the {loss:?} loss of a reference row does not exist or is above 1e150");
        Error::invalid_argument(message)
    })
}

/// What the reference knows of a metric, from its losses row by row.
fn realised(metric: LossMetric, losses: &[f64], settings: &BandSettings) -> MetricReference<LossMetric> {
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / float(count_of(losses.len()));
    let whole = mean(losses);
    let variance =
        losses.iter().map(|loss| (loss - whole) * (loss - whole)).sum::<f64>() / float(count_of(losses.len()));
    let chunks = settings.chunk_rows(losses.len()).filter_map(|range| losses.get(range));
    let chunks: Vec<f64> = chunks.map(|chunk| metric.of_mean(mean(chunk))).collect();
    let known = (metric.of_mean(whole), metric.row_variance(whole, variance));
    MetricReference::new(metric, (0.0, f64::INFINITY), Some(known), &chunks, settings)
}

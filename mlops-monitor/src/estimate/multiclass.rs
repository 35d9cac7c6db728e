//! Confidence-based performance estimation for more than two classes: one class against the rest.
//!
//! Each class is calibrated on its own and the probabilities of a row are scaled to sum to one; a metric is the plain
//! mean of that of the classes (macro average). Its sampling error comes from the influence of whole rows, so that what
//! one class gains where another loses is not counted twice.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    band::{BandSettings, MetricReference, PerformanceEstimate},
    calibration::{IsotonicCalibration, choose, same_length},
    cbpe::{CbpeSettings, is_probability, keep},
    expected::{Expected, Rows, row_variance},
    metric::CbpeMetric,
};
use crate::stats::{count_of, float};

/// Most classes.
const CLASSES_MAX: usize = 1_000;

/// Rows with labels, in the order of time, of data that the model was **not** trained on.
#[derive(Debug, Clone, Copy)]
pub struct CbpeMulticlassReference<'a> {
    /// Scores, 0 to 1: one column for each class.
    pub scores: &'a [Vec<f64>],
    /// The class that the model chose, as the index of its column.
    pub predictions: &'a [usize],
    /// The class that it was.
    pub labels: &'a [usize],
}

/// [`super::Cbpe`] for more than two classes. **Blind to concept shift** like that one.
///
/// ```
/// use mlops_monitor::estimate::{CbpeMetric, CbpeMulticlass, CbpeMulticlassReference, CbpeSettings};
///
/// // Three classes in turn; the model is right in four rows of five and says so.
/// let labels: Vec<usize> = (0..900).map(|i| i % 3).collect();
/// let predictions: Vec<usize> = (0..900).map(|i| if i % 5 == 0 { (i + 1) % 3 } else { i % 3 }).collect();
/// let column = |class| predictions.iter().map(|called| if *called == class { 0.8 } else { 0.1 }).collect();
/// let scores: Vec<Vec<f64>> = (0..3).map(column).collect();
/// let reference = CbpeMulticlassReference { scores: &scores, predictions: &predictions, labels: &labels };
/// let settings = CbpeSettings { metrics: vec![CbpeMetric::Accuracy, CbpeMetric::F1], ..CbpeSettings::default() };
/// let cbpe = CbpeMulticlass::fit(reference, settings)?;
///
/// let estimate = cbpe.estimate(&scores, &predictions)?;
/// assert!((estimate.get(&CbpeMetric::Accuracy).expect("in the settings").value - 0.8).abs() < 0.01);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CbpeMulticlass {
    band: BandSettings,
    calibrations: Vec<Option<IsotonicCalibration>>,
    metrics: Vec<MetricReference<CbpeMetric>>,
}

impl CbpeMulticlass {
    /// Learns calibrations, sampling errors and thresholds from a labelled reference. Rows with a score that is no
    /// probability are left out.
    ///
    /// # Errors
    /// `InvalidArgument` when settings are out of range or name a metric of two classes only, there are fewer than two
    /// or too many classes, columns differ in length, a class has no column, or usable rows are too few.
    pub fn fit(reference: CbpeMulticlassReference<'_>, settings: CbpeSettings) -> Result<Self> {
        settings.validate()?;
        if let Some(metric) = settings.metrics.iter().find(|metric| !metric.is_multiclass()) {
            let message = format!("cbpe settings: {metric} is not defined for more than two classes");
            return Err(Error::invalid_argument(message));
        }
        let classes = reference.scores.len();
        if !(2..=CLASSES_MAX).contains(&classes) {
            return Err(Error::invalid_argument(format!(
                "cbpe: 2 to {CLASSES_MAX} classes are needed, found {classes}"
            )));
        }
        let usable = usable(reference.scores, reference.predictions)?;
        same_length("labels", usable.len(), reference.labels.len())?;
        check_classes("labels", classes, reference.labels)?;
        let scores: Vec<Vec<f64>> =
            reference.scores.iter().map(|column| keep(column, usable.iter().copied())).collect();
        let predictions = keep(reference.predictions, usable.iter().copied());
        let labels = keep(reference.labels, usable.iter().copied());
        settings.band.check_reference("cbpe", labels.len())?;
        let calibrations = scores.iter().enumerate().map(|(class, column)| {
            let labels: Vec<bool> = labels.iter().map(|label| *label == class).collect();
            choose(settings.calibration, column, &labels)
        });
        let calibrations = calibrations.collect::<Result<Vec<_>>>()?;
        let truth = (0..classes).map(|class| indicator(&labels, class)).collect();
        let realised = Classes { scores, chances: truth, called: called(&predictions, classes) };
        let metrics = settings.metrics.into_iter().map(|metric| {
            let whole = realised.expected(&metric).map(|found| (found.value, row_variance(&found.influences)));
            let chunks = settings.band.chunk_rows(labels.len());
            let chunks: Vec<f64> = chunks.filter_map(|range| realised.value(&metric, &range)).collect();
            MetricReference::new(metric, metric.range(), whole, &chunks, &settings.band)
        });
        let metrics = metrics.collect();
        Ok(Self { band: settings.band, calibrations, metrics })
    }

    /// Estimates the metrics of a window that has no labels yet, from one column of scores for each class and the index
    /// of the class chosen. Rows with a score that is no probability are counted as skipped.
    ///
    /// # Errors
    /// `InvalidArgument` when columns are more or fewer than classes, differ in length, or a prediction has no column.
    pub fn estimate(&self, scores: &[Vec<f64>], predictions: &[usize]) -> Result<PerformanceEstimate<CbpeMetric>> {
        let classes = self.calibrations.len();
        if scores.len() != classes {
            let message = format!("cbpe: {classes} columns of scores are needed, one a class, found {}", scores.len());
            return Err(Error::invalid_argument(message));
        }
        let usable = usable(scores, predictions)?;
        let scores: Vec<Vec<f64>> = scores.iter().map(|column| keep(column, usable.iter().copied())).collect();
        let kept = keep(predictions, usable.iter().copied());
        let rows = Classes { chances: self.calibrate(&scores), scores, called: called(&kept, classes) };
        let (n, all) = (count_of(kept.len()), 0..kept.len());
        let metrics = self.metrics.iter().map(|known| known.judge(rows.value(&known.metric, &all), n, &self.band));
        Ok(PerformanceEstimate { n, skipped: count_of(predictions.len()) - n, metrics: metrics.collect() })
    }

    /// Probabilities that sum to one; equal ones where every class has none.
    fn calibrate(&self, scores: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let mut columns: Vec<Vec<f64>> = scores
            .iter()
            .zip(&self.calibrations)
            .map(|(column, calibration)| match calibration {
                Some(calibration) => column.iter().map(|score| calibration.calibrate(*score)).collect(),
                None => column.clone(),
            })
            .collect();
        let mut sums = vec![0.0; columns.first().map_or(0, Vec::len)];
        for column in &columns {
            sums.iter_mut().zip(column).for_each(|(sum, value)| *sum += value);
        }
        let equal = 1.0 / float(count_of(columns.len()));
        for column in &mut columns {
            for (value, sum) in column.iter_mut().zip(&sums) {
                *value = if *sum > 0.0 { *value / sum } else { equal };
            }
        }
        columns
    }
}

/// Column by column: each class against the rest.
struct Classes {
    scores: Vec<Vec<f64>>,
    chances: Vec<Vec<f64>>,
    called: Vec<Vec<bool>>,
}

impl Classes {
    fn rows(&self) -> impl Iterator<Item = Rows<'_>> {
        let columns = self.scores.iter().zip(&self.chances).zip(&self.called);
        columns.map(|((scores, chances), called)| Rows { scores, chances, called })
    }

    fn value(&self, metric: &CbpeMetric, range: &std::ops::Range<usize>) -> Option<f64> {
        let values = self.rows().map(|rows| one_of_rest(&rows.slice(range.clone())?, metric));
        let values = values.collect::<Option<Vec<f64>>>()?;
        let classes = if *metric == CbpeMetric::Accuracy { 1.0 } else { float(count_of(values.len())) };
        Some(values.iter().sum::<f64>() / classes)
    }

    fn expected(&self, metric: &CbpeMetric) -> Option<Expected> {
        // Being right is the sum over classes of being called and being it.
        let (of_class, classes) = match metric {
            CbpeMetric::Accuracy => (CbpeMetric::TruePositive, 1.0),
            _ => (*metric, float(count_of(self.scores.len()))),
        };
        let mut mean = Expected { value: 0.0, influences: vec![0.0; self.scores.first().map_or(0, Vec::len)] };
        for rows in self.rows() {
            let found = rows.expected(&of_class)?;
            mean.value += found.value / classes;
            mean.influences.iter_mut().zip(found.influences).for_each(|(sum, found)| *sum += found / classes);
        }
        Some(mean)
    }
}

fn one_of_rest(rows: &Rows<'_>, metric: &CbpeMetric) -> Option<f64> {
    match metric {
        CbpeMetric::Accuracy => rows.value(&CbpeMetric::TruePositive),
        _ => rows.value(metric),
    }
}

/// Marks the rows whose scores are all probabilities.
fn usable(scores: &[Vec<f64>], predictions: &[usize]) -> Result<Vec<bool>> {
    let mut marks = vec![true; predictions.len()];
    for column in scores {
        same_length("a column of scores", predictions.len(), column.len())?;
        marks.iter_mut().zip(column).for_each(|(mark, score)| *mark &= is_probability(*score));
    }
    check_classes("predictions", scores.len(), predictions)?;
    Ok(marks)
}

fn check_classes(what: &str, classes: usize, found: &[usize]) -> Result<()> {
    match found.iter().find(|class| **class >= classes) {
        None => Ok(()),
        Some(class) => Err(Error::invalid_argument(format!("{what}: class {class} has no column among {classes}"))),
    }
}

fn called(predictions: &[usize], classes: usize) -> Vec<Vec<bool>> {
    (0..classes).map(|class| predictions.iter().map(|called| *called == class).collect()).collect()
}

fn indicator(labels: &[usize], class: usize) -> Vec<f64> {
    labels.iter().map(|label| f64::from(u8::from(*label == class))).collect()
}

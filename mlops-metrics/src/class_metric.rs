//! Metrics of several classes.
//!
//! Invariant: labels are class indices and probabilities lie row by row, one per class. Metrics
//! with one definition for two and more classes are in [`Metric`](crate::Metric).

use std::{fmt, str::FromStr};

use mlops_core::{Error, Result};

use crate::{
    confusion::{Average, ConfusionMatrix},
    metric::{Rows, undefined},
    ranking,
};

/// A metric of several classes with the way its classes are averaged.
///
/// ```
/// use mlops_metrics::{Average, ClassMetric, ClassRows};
///
/// let rows = ClassRows::from_probabilities(3, &[0, 1, 2], &[0.8, 0.1, 0.1, 0.2, 0.5, 0.3, 0.6, 0.1, 0.3])?;
/// assert_eq!(ClassMetric::Recall(Average::Macro).compute(&rows)?, 2.0 / 3.0);
/// assert_eq!(ClassMetric::RocAucOvr(Average::Macro).to_string(), "roc_auc_ovr_macro");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ClassMetric {
    /// Share of the rows called a class that are.
    Precision(Average),
    /// Share of the rows of a class that are called so.
    Recall(Average),
    /// Harmonic mean of precision and recall.
    F1(Average),
    /// Area under the curve of each class against the rest; needs probabilities, and all classes
    /// among the labels.
    RocAucOvr(Average),
    /// Cohen's kappa.
    Kappa,
}

/// Labels and predictions of several classes, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassRows<'a> {
    pub(crate) classes: usize,
    pub(crate) labels: &'a [usize],
    pub(crate) predicted: Vec<usize>,
    pub(crate) probabilities: Option<&'a [f64]>,
}

impl<'a> ClassRows<'a> {
    /// Rows whose prediction is the most probable class, the first of equals.
    ///
    /// # Errors
    /// `InvalidArgument` when there are no rows, lengths do not fit, a label is not below
    /// `classes` or a probability not within 0 and 1.
    pub fn from_probabilities(classes: usize, labels: &'a [usize], probabilities: &'a [f64]) -> Result<Self> {
        if classes == 0 || probabilities.len() != labels.len().saturating_mul(classes) {
            return Err(Error::invalid_argument(format!(
                "{} rows of {classes} classes need as many probabilities each, found {} in all",
                labels.len(),
                probabilities.len()
            )));
        }
        if !probabilities.iter().all(|p| (0.0..=1.0).contains(p)) {
            return Err(Error::invalid_argument("probabilities must lie within 0 and 1"));
        }
        let predicted = probabilities.chunks(classes).map(most_probable).collect();
        Ok(Self { probabilities: Some(probabilities), ..Self::from_classes(classes, labels, predicted)? })
    }

    /// Rows of which only the predicted class is known.
    ///
    /// # Errors
    /// `InvalidArgument` when there are no rows, lengths differ or a class is not below `classes`.
    pub fn from_classes(classes: usize, labels: &'a [usize], predicted: Vec<usize>) -> Result<Self> {
        if labels.is_empty() || labels.len() != predicted.len() {
            return Err(Error::invalid_argument("classes need as many predictions as labels, and at least one"));
        }
        if let Some(class) = labels.iter().chain(&predicted).find(|class| **class >= classes) {
            return Err(Error::invalid_argument(format!("class {class} is unknown; indices must be below {classes}")));
        }
        Ok(Self { classes, labels, predicted, probabilities: None })
    }

    /// Counts of labels against predictions.
    ///
    /// # Errors
    /// As [`ConfusionMatrix::new`].
    pub fn confusion(&self) -> Result<ConfusionMatrix> {
        ConfusionMatrix::from_classes(self.classes, self.labels, &self.predicted)
    }

    /// The probability that each row gave to its own class.
    pub(crate) fn own_probabilities(&self) -> Option<Vec<f64>> {
        let rows = self.probabilities?.chunks(self.classes).zip(self.labels);
        Some(rows.map(|(row, &label)| row.get(label).copied().unwrap_or(0.0)).collect())
    }

    /// The area of one class against the rest.
    pub(crate) fn one_versus_rest(&self, class: usize) -> Option<(Vec<f64>, Vec<f64>)> {
        let labels = self.labels.iter().map(|&label| f64::from(u8::from(label == class))).collect();
        let column = self.probabilities?.chunks(self.classes).map(|row| row.get(class).copied().unwrap_or(0.0));
        Some((labels, column.collect()))
    }
}

fn most_probable(row: &[f64]) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (class, &p) in row.iter().enumerate() {
        if p > best.1 {
            best = (class, p);
        }
    }
    best.0
}

impl ClassMetric {
    /// Every metric.
    pub fn all() -> impl Iterator<Item = Self> {
        let averages = [Average::Macro, Average::Micro, Average::Weighted];
        let kinds = [Self::Precision, Self::Recall, Self::F1, Self::RocAucOvr];
        kinds.into_iter().flat_map(move |kind| averages.map(kind)).chain([Self::Kappa])
    }

    /// Its value.
    ///
    /// # Errors
    /// `InvalidArgument` as [`ConfusionMatrix::new`]; `FailedPrecondition` when an area lacks
    /// probabilities or a class has no label or nothing but labels.
    pub fn compute(self, rows: &ClassRows<'_>) -> Result<f64> {
        Ok(match self {
            Self::Precision(average) => rows.confusion()?.averaged_precision(average),
            Self::Recall(average) => rows.confusion()?.averaged_recall(average),
            Self::F1(average) => rows.confusion()?.averaged_f1(average),
            Self::Kappa => rows.confusion()?.kappa(),
            Self::RocAucOvr(average) => self.one_versus_rest(average, rows)?,
        })
    }

    fn one_versus_rest(self, average: Average, rows: &ClassRows<'_>) -> Result<f64> {
        let missing = || undefined(self, "it needs probabilities of every class");
        let columns = (0..rows.classes).map(|class| rows.one_versus_rest(class).ok_or_else(missing));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let area = |labels: &[f64], scores: &[f64]| {
            ranking::roc_auc(&Rows { labels, scores, weights: None })
                .map_err(|_| undefined(self, "every class needs rows with and without it"))
        };
        if average == Average::Micro {
            let (labels, scores): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
            return area(&labels.concat(), &scores.concat());
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for (labels, scores) in &columns {
            let weight = if average == Average::Macro { 1.0 } else { labels.iter().sum() };
            sum += weight * area(labels, scores)?;
            weights += weight;
        }
        Ok(sum / weights)
    }
}

impl fmt::Display for ClassMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Precision(average) => write!(f, "precision_{}", average.as_str()),
            Self::Recall(average) => write!(f, "recall_{}", average.as_str()),
            Self::F1(average) => write!(f, "f1_{}", average.as_str()),
            Self::RocAucOvr(average) => write!(f, "roc_auc_ovr_{}", average.as_str()),
            Self::Kappa => f.write_str("kappa"),
        }
    }
}

impl FromStr for ClassMetric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::all().find(|metric| metric.to_string() == name).ok_or_else(|| {
            let names: Vec<String> = Self::all().map(|metric| metric.to_string()).collect();
            Error::invalid_argument(format!("metric {name:?} is unknown; there are {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_rows_are_refused() {
        assert!(ClassRows::from_probabilities(2, &[0], &[0.5]).is_err());
        assert!(ClassRows::from_probabilities(2, &[0], &[0.5, f64::NAN]).is_err());
        assert!(ClassRows::from_probabilities(2, &[2], &[0.5, 0.5]).is_err());
        assert!(ClassRows::from_classes(2, &[], Vec::new()).is_err());
        let rows = ClassRows::from_classes(2, &[0, 1], vec![1, 1]).unwrap();
        assert!(ClassMetric::RocAucOvr(Average::Macro).compute(&rows).is_err());
        let one = ClassRows::from_probabilities(2, &[0, 0], &[0.5, 0.5, 0.1, 0.9]).unwrap();
        assert!(ClassMetric::RocAucOvr(Average::Weighted).compute(&one).is_err());
    }
}

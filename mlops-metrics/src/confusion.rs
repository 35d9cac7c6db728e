//! Counts of true against predicted classes, and every metric that needs nothing else.
//!
//! Invariant: cells are finite and not negative, so matrices of parts add up to the matrix of the
//! whole and the metrics of merged windows are those of their rows together. It does not know of
//! scores or thresholds.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most classes of one matrix.
pub const CLASSES_MAX: usize = 1_000;

/// Weights of rows by true class (rows) and predicted class (columns).
///
/// Ratios without a denominator are zero, as scikit-learn's are by default. Class 1 of a matrix
/// with two classes is the positive one.
///
/// ```
/// use mlops_metrics::{Average, ConfusionMatrix};
///
/// let mut matrix = ConfusionMatrix::from_classes(3, &[0, 1, 2, 2], &[0, 2, 2, 2])?;
/// assert_eq!((matrix.accuracy(), matrix.recall(2), matrix.precision(2)), (0.75, 1.0, 2.0 / 3.0));
/// assert_eq!(matrix.averaged_recall(Average::Macro), 2.0 / 3.0);
/// matrix.merge(&ConfusionMatrix::from_classes(3, &[1], &[1])?)?;
/// assert_eq!(matrix.accuracy(), 0.8);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Cells", into = "Cells")]
pub struct ConfusionMatrix {
    classes: usize,
    cells: Vec<f64>,
}

/// How the numbers of classes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// The mean over classes that occur among labels or predictions.
    Macro,
    /// From the sums over classes.
    Micro,
    /// The mean over classes weighted by their labels.
    Weighted,
}

impl Average {
    /// The name in names of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Macro => "macro",
            Self::Micro => "micro",
            Self::Weighted => "weighted",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Cells(Vec<Vec<f64>>);

impl TryFrom<Cells> for ConfusionMatrix {
    type Error = Error;

    fn try_from(Cells(rows): Cells) -> Result<Self> {
        let classes = rows.len();
        let mut matrix = Self::new(classes)?;
        if rows.iter().any(|row| row.len() != classes || !row.iter().all(|cell| cell.is_finite() && *cell >= 0.0)) {
            return Err(Error::invalid_argument(
                "a confusion matrix needs as many columns as rows and finite cells of at least 0",
            ));
        }
        matrix.cells = rows.into_iter().flatten().collect();
        Ok(matrix)
    }
}

impl From<ConfusionMatrix> for Cells {
    fn from(matrix: ConfusionMatrix) -> Self {
        Self(matrix.cells.chunks(matrix.classes).map(<[f64]>::to_vec).collect())
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

impl ConfusionMatrix {
    /// An empty matrix.
    ///
    /// # Errors
    /// `InvalidArgument` for fewer than 2 or more than [`CLASSES_MAX`] classes.
    pub fn new(classes: usize) -> Result<Self> {
        if !(2..=CLASSES_MAX).contains(&classes) {
            return Err(Error::invalid_argument(format!(
                "a confusion matrix needs 2 to {CLASSES_MAX} classes, found {classes}"
            )));
        }
        Ok(Self { classes, cells: vec![0.0; classes * classes] })
    }

    /// The matrix of labels and predictions, both class indices.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ, an index is not below `classes`, or as
    /// [`ConfusionMatrix::new`].
    pub fn from_classes(classes: usize, labels: &[usize], predicted: &[usize]) -> Result<Self> {
        let mut matrix = Self::new(classes)?;
        if labels.len() != predicted.len() {
            return Err(Error::invalid_argument("a confusion matrix needs as many predictions as labels"));
        }
        for (&label, &predicted) in labels.iter().zip(predicted) {
            matrix.add(label, predicted, 1.0)?;
        }
        Ok(matrix)
    }

    /// The matrix of labels 0 and 1 and scores, called positive from the threshold on.
    pub(crate) fn from_scores(rows: impl Iterator<Item = (f64, f64, f64)>, threshold: f64) -> Self {
        let mut cells = vec![0.0; 4];
        for (label, score, weight) in rows {
            let index = 2 * usize::from(label > 0.5) + usize::from(score >= threshold);
            if let Some(cell) = cells.get_mut(index) {
                *cell += weight;
            }
        }
        Self { classes: 2, cells }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// `InvalidArgument` when an index is not below the number of classes or the weight is
    /// negative or not finite.
    pub fn add(&mut self, label: usize, predicted: usize, weight: f64) -> Result<()> {
        let classes = self.classes;
        if label >= classes || predicted >= classes || !(weight >= 0.0 && weight.is_finite()) {
            return Err(Error::invalid_argument(format!(
                "a confusion matrix of {classes} classes takes class indices below {classes} and finite weights of at \
                 least 0, found label {label}, prediction {predicted}, weight {weight}"
            )));
        }
        if let Some(cell) = self.cells.get_mut(label * classes + predicted) {
            *cell += weight;
        }
        Ok(())
    }

    /// Adds the rows of another matrix.
    ///
    /// # Errors
    /// `InvalidArgument` when the numbers of classes differ.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.classes != other.classes {
            return Err(Error::invalid_argument(format!(
                "confusion matrices of {} and {} classes cannot be merged",
                self.classes, other.classes
            )));
        }
        self.cells.iter_mut().zip(&other.cells).for_each(|(cell, more)| *cell += more);
        Ok(())
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Weight of rows with this label and this prediction; zero for classes there are not.
    #[must_use]
    pub fn cell(&self, label: usize, predicted: usize) -> f64 {
        if label >= self.classes || predicted >= self.classes {
            return 0.0;
        }
        self.cells.get(label * self.classes + predicted).copied().unwrap_or(0.0)
    }

    /// Weight of all rows.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.cells.iter().sum()
    }

    /// Weight of rows with this label.
    #[must_use]
    pub fn support(&self, class: usize) -> f64 {
        (0..self.classes).map(|predicted| self.cell(class, predicted)).sum()
    }

    /// Weight of rows with this prediction.
    #[must_use]
    pub fn called(&self, class: usize) -> f64 {
        (0..self.classes).map(|label| self.cell(label, class)).sum()
    }

    /// Weight of rows on the diagonal.
    #[must_use]
    pub fn correct(&self) -> f64 {
        (0..self.classes).map(|class| self.cell(class, class)).sum()
    }

    /// Share of rows on the diagonal.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        ratio(self.correct(), self.total())
    }

    /// Share of the rows called `class` that are.
    #[must_use]
    pub fn precision(&self, class: usize) -> f64 {
        ratio(self.cell(class, class), self.called(class))
    }

    /// Share of the rows of `class` that are called so.
    #[must_use]
    pub fn recall(&self, class: usize) -> f64 {
        ratio(self.cell(class, class), self.support(class))
    }

    /// Harmonic mean of precision and recall of `class`.
    #[must_use]
    pub fn f1(&self, class: usize) -> f64 {
        ratio(2.0 * self.cell(class, class), self.support(class) + self.called(class))
    }

    /// Weighted harmonic mean of precision and recall of `class`, recall counting `beta` times as
    /// much; F1 at one.
    #[must_use]
    pub fn f_beta(&self, class: usize, beta: f64) -> f64 {
        let square = beta * beta;
        ratio((1.0 + square) * self.cell(class, class), square * self.support(class) + self.called(class))
    }

    /// Rows rightly called `class` among those that are or are called so.
    #[must_use]
    pub fn jaccard(&self, class: usize) -> f64 {
        let both = self.cell(class, class);
        ratio(both, self.support(class) + self.called(class) - both)
    }

    /// Precision over classes.
    #[must_use]
    pub fn averaged_precision(&self, average: Average) -> f64 {
        self.averaged(average, Self::precision)
    }

    /// Recall over classes.
    #[must_use]
    pub fn averaged_recall(&self, average: Average) -> f64 {
        self.averaged(average, Self::recall)
    }

    /// F1 over classes.
    #[must_use]
    pub fn averaged_f1(&self, average: Average) -> f64 {
        self.averaged(average, Self::f1)
    }

    /// With one label and one prediction a row, all micro averages are the accuracy.
    fn averaged(&self, average: Average, of: fn(&Self, usize) -> f64) -> f64 {
        let classes = 0..self.classes;
        match average {
            Average::Micro => self.accuracy(),
            Average::Weighted => ratio(classes.map(|class| of(self, class) * self.support(class)).sum(), self.total()),
            Average::Macro => {
                let occurring: Vec<f64> = classes
                    .filter(|&class| self.support(class) + self.called(class) > 0.0)
                    .map(|class| of(self, class))
                    .collect();
                ratio(occurring.iter().sum(), occurring.len() as f64)
            }
        }
    }

    /// Mean of the recalls of the classes that have labels.
    #[must_use]
    pub fn balanced_accuracy(&self) -> f64 {
        let with_labels = || (0..self.classes).filter(|&class| self.support(class) > 0.0);
        ratio(with_labels().map(|class| self.recall(class)).sum(), with_labels().count() as f64)
    }

    /// Matthews' correlation of labels and predictions (for several classes Gorodkin, Comput. Biol.
    /// Chem. 28, 2004); zero when either is constant.
    #[must_use]
    pub fn mcc(&self) -> f64 {
        let total = self.total();
        let (mut both, mut labels, mut calls) = (0.0, 0.0, 0.0);
        for class in 0..self.classes {
            let (support, called) = (self.support(class) / total, self.called(class) / total);
            both += support * called;
            labels += support * support;
            calls += called * called;
        }
        // One when the other side is constant, up to rounding.
        let spread = |squares: f64| if 1.0 - squares < 1e-15 { 0.0 } else { 1.0 - squares };
        ratio(self.accuracy() - both, (spread(labels) * spread(calls)).sqrt())
    }

    /// Cohen's kappa of ordered classes, in which an error counts by its distance, or its square when
    /// `squared` (Cohen, Psychological Bulletin 70, 1968); zero when both sides are one constant.
    #[must_use]
    pub fn ordinal_kappa(&self, squared: bool) -> f64 {
        self.kappa_by(|distance| if squared { distance * distance } else { distance })
    }

    /// Cohen's kappa: agreement beyond that of independent labels and predictions; zero when both
    /// are one constant.
    #[must_use]
    pub fn kappa(&self) -> f64 {
        self.kappa_by(|_| 1.0)
    }

    /// `1 - found / expected` disagreement, by what each distance between two classes costs. Unlike the difference of
    /// two agreements it keeps its digits where all classes but one are rare.
    fn kappa_by(&self, cost: impl Fn(f64) -> f64) -> f64 {
        let total = self.total();
        let (mut found, mut chance) = (0.0, 0.0);
        for label in 0..self.classes {
            for predicted in (0..self.classes).filter(|predicted| *predicted != label) {
                let cost = cost(label.abs_diff(predicted) as f64);
                found += cost * self.cell(label, predicted);
                chance += cost * self.support(label) * self.called(predicted) / total;
            }
        }
        if chance > 0.0 { 1.0 - found / chance } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kappa_keeps_its_digits_where_one_class_is_rare() {
        // Called one class throughout, agreement is that of chance, whatever the weights.
        let mut matrix = ConfusionMatrix::new(2).unwrap();
        matrix.add(0, 0, 8.1e5).unwrap();
        matrix.add(1, 0, 3.7e-6).unwrap();
        assert!(matrix.kappa().abs() < 1e-15 && matrix.ordinal_kappa(true).abs() < 1e-15, "{}", matrix.kappa());
    }

    #[test]
    fn constant_sides_have_no_correlation() {
        let matrix = ConfusionMatrix::from_classes(3, &[0, 1, 2], &[1, 1, 1]).unwrap();
        assert_eq!((matrix.mcc(), matrix.kappa()), (0.0, 0.0));
        let same = ConfusionMatrix::from_classes(2, &[1, 1], &[1, 1]).unwrap();
        assert_eq!((same.mcc(), same.kappa(), same.f1(1), same.f1(0)), (0.0, 0.0, 1.0, 0.0));
        assert_eq!((same.ordinal_kappa(true), same.jaccard(1), same.jaccard(0)), (0.0, 1.0, 0.0));
        let empty = ConfusionMatrix::new(2).unwrap();
        assert_eq!((empty.ordinal_kappa(false), empty.f_beta(1, 2.0)), (0.0, 0.0));
        assert_eq!((empty.accuracy(), empty.mcc(), empty.averaged_f1(Average::Macro)), (0.0, 0.0, 0.0));
    }

    #[test]
    fn wrong_indices_are_refused_and_json_is_rows() {
        assert!(ConfusionMatrix::from_classes(2, &[2], &[0]).is_err());
        assert!(ConfusionMatrix::from_classes(2, &[1], &[]).is_err());
        assert!(ConfusionMatrix::new(1).is_err() && ConfusionMatrix::new(CLASSES_MAX + 1).is_err());
        let matrix = ConfusionMatrix::from_classes(2, &[1, 0], &[1, 1]).unwrap();
        let json = serde_json::to_string(&matrix).unwrap();
        assert_eq!(json, "[[0.0,1.0],[0.0,1.0]]");
        assert_eq!(serde_json::from_str::<ConfusionMatrix>(&json).unwrap(), matrix);
        assert!(serde_json::from_str::<ConfusionMatrix>("[[0.0,-1.0],[0.0,1.0]]").is_err());
        assert!(serde_json::from_str::<ConfusionMatrix>("[[0.0],[0.0,1.0]]").is_err());
    }
}

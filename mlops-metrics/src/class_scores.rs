//! Scores of probabilities of several classes that have no counterpart in two.

use mlops_core::{Error, Result};

use crate::{
    class_metric::ClassRows,
    confusion::Average,
    metric::{Rows, undefined},
    probability::class_log_loss_of,
    ranking,
};

impl ClassRows<'_> {
    fn probabilities(&self, score: &str) -> Result<&[f64]> {
        self.probabilities.ok_or_else(|| undefined(score, "it needs probabilities of every class"))
    }

    /// Rows of probabilities with their class.
    fn rows(&self, score: &str) -> Result<impl Iterator<Item = (&[f64], usize)>> {
        Ok(self.probabilities(score)?.chunks(self.classes).zip(self.labels.iter().copied()))
    }

    /// The mean over rows of a value per row.
    fn mean_of(&self, score: &str, value: impl Fn(&[f64], usize) -> f64) -> Result<f64> {
        let sum: f64 = self.rows(score)?.map(|(row, label)| value(row, label)).sum();
        Ok(sum / self.labels.len() as f64)
    }

    /// Share of rows whose class is among the `k` most probable; of equal probabilities the later
    /// class comes first, as scikit-learn has it.
    ///
    /// ```
    /// use mlops_metrics::ClassRows;
    ///
    /// let rows = ClassRows::from_probabilities(3, &[0, 1], &[0.2, 0.3, 0.5, 0.2, 0.3, 0.5])?;
    /// assert_eq!(rows.top_k_accuracy(2)?, 0.5);
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `FailedPrecondition` without probabilities.
    pub fn top_k_accuracy(&self, k: usize) -> Result<f64> {
        self.mean_of("top_k_accuracy", |row, label| {
            let own = row.get(label).copied().unwrap_or(0.0);
            let before = row.iter().enumerate().filter(|&(class, &p)| p > own || (p == own && class > label)).count();
            f64::from(u8::from(before < k))
        })
    }

    /// The mean over rows of the squared distances to the truth, summed over classes; 0 to 2.
    ///
    /// # Errors
    /// As [`ClassRows::top_k_accuracy`].
    pub fn brier(&self) -> Result<f64> {
        self.mean_of("brier", |row, label| {
            let truth = |class| f64::from(u8::from(class == label));
            row.iter().enumerate().map(|(class, p)| (p - truth(class)).powi(2)).sum()
        })
    }

    /// The mean negative log likelihood in nats; probabilities are clipped as in
    /// [`Metric::LogLoss`](crate::Metric::LogLoss).
    ///
    /// # Errors
    /// As [`ClassRows::top_k_accuracy`].
    pub fn log_loss(&self) -> Result<f64> {
        self.mean_of("log_loss", |row, label| class_log_loss_of(row.get(label).copied().unwrap_or(0.0)))
    }

    /// The mean over pairs of classes of the area that separates them, each class's probability
    /// ranking in turn (Hand and Till, Machine Learning 45, 2001). It does not depend on shares of
    /// classes, unless weighted by the rows of each pair.
    ///
    /// # Errors
    /// `InvalidArgument` for [`Average::Micro`], which pairs have not; `FailedPrecondition` without
    /// probabilities or when a class has no row.
    pub fn roc_auc_ovo(&self, average: Average) -> Result<f64> {
        const NAME: &str = "roc_auc_ovo";
        if average == Average::Micro {
            return Err(Error::invalid_argument("metric roc_auc_ovo is averaged macro or weighted"));
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for first in 0..self.classes {
            for second in first + 1..self.classes {
                let rows = || self.rows(NAME).map(|rows| rows.filter(|row| row.1 == first || row.1 == second));
                let area = |class: usize| -> Result<f64> {
                    let pairs = rows()?.map(|(row, label)| {
                        (f64::from(u8::from(label == class)), row.get(class).copied().unwrap_or(0.0))
                    });
                    let (labels, scores): (Vec<f64>, Vec<f64>) = pairs.unzip();
                    ranking::roc_auc(&Rows { labels: &labels, scores: &scores, weights: None })
                        .map_err(|_| undefined(NAME, "every class needs rows"))
                };
                let weight = if average == Average::Macro { 1.0 } else { rows()?.count() as f64 };
                sum += weight * (area(first)? + area(second)?) / 2.0;
                weights += weight;
            }
        }
        if weights > 0.0 { Ok(sum / weights) } else { Err(undefined(NAME, "it needs two classes")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_classes_are_the_binary_case() {
        let (labels, p) = ([0, 1, 1, 0, 1], [0.2, 0.9, 0.4, 0.5, 0.7]);
        let both: Vec<f64> = p.iter().flat_map(|p| [1.0 - p, *p]).collect();
        let rows = ClassRows::from_probabilities(2, &labels, &both).unwrap();
        let binary: Vec<f64> = labels.iter().map(|label| *label as f64).collect();
        let area = crate::Metric::RocAuc.compute(&binary, &p).unwrap();
        assert!((rows.roc_auc_ovo(Average::Macro).unwrap() - area).abs() < 1e-12);
        let brier = crate::Metric::Brier.compute(&binary, &p).unwrap();
        assert!((rows.brier().unwrap() - 2.0 * brier).abs() < 1e-12);
        assert_eq!(rows.top_k_accuracy(2).unwrap(), 1.0);
    }

    #[test]
    fn what_has_no_value_is_refused() {
        let bare = ClassRows::from_classes(2, &[0, 1], vec![0, 1]).unwrap();
        assert!(bare.brier().is_err() && bare.top_k_accuracy(1).is_err() && bare.log_loss().is_err());
        let rows = ClassRows::from_probabilities(3, &[0, 1], &[0.2, 0.3, 0.5, 0.2, 0.3, 0.5]).unwrap();
        assert!(rows.roc_auc_ovo(Average::Macro).is_err() && rows.roc_auc_ovo(Average::Micro).is_err());
    }
}

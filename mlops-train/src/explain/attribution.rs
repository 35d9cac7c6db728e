//! What features contributed to the scores of rows.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Contributions of features to the scores of some rows.
///
/// Invariant: `predictions` has a number per row, `attributions` one per row and feature, row after
/// row. Over the features of a row they sum up to the prediction less the base value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// What is explained by: inputs, numbers of the preprocessor or groups, by name.
    pub features: Vec<String>,
    /// What the model says of no row in particular.
    pub base_value: f64,
    /// What it says of the rows.
    pub predictions: Vec<f64>,
    /// How far each feature moved the score from the base value.
    pub attributions: Vec<f64>,
}

impl Attribution {
    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.predictions.len()
    }

    /// What the features contributed to one row, in their order; none for a row that is not there.
    #[must_use]
    pub fn row(&self, row: usize) -> Option<&[f64]> {
        let width = self.features.len();
        self.attributions.get(row.checked_mul(width)?..(row + 1).checked_mul(width)?).filter(|_| row < self.rows())
    }

    /// Contributions row by row.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        (0..self.rows()).filter_map(|row| self.row(row))
    }

    /// The largest distance between a prediction and the sum that should give it, relative to the
    /// largest number that takes part in the sum.
    #[must_use]
    pub fn additivity_error(&self) -> f64 {
        let error = |(prediction, row): (&f64, &[f64])| {
            let sum = self.base_value + row.iter().sum::<f64>();
            let scale = row.iter().fold(self.base_value.abs().max(prediction.abs()), |most, v| most.max(v.abs()));
            if scale > 0.0 { (prediction - sum).abs() / scale } else { 0.0 }
        };
        // `max` would pass over NaN.
        let worse = |worst: f64, error: f64| if error > worst || error.is_nan() { error } else { worst };
        self.predictions.iter().zip(self.iter()).map(error).fold(0.0, worse)
    }

    /// Checks that contributions sum up within a relative tolerance.
    ///
    /// # Errors
    /// `Internal` with the error that was found.
    pub fn check_additivity(&self, tolerance: f64) -> Result<()> {
        let error = self.additivity_error();
        if error <= tolerance {
            return Ok(());
        }
        Err(Error::internal(format!(
            "contributions differ from the prediction by {error:.3e} of their size, at most {tolerance:.1e} is allowed"
        )))
    }

    /// The same with contributions of features of one new name added up: `names` gives each
    /// feature's, such as the raw column of a one-hot number. Sums of contributions still sum up to
    /// the prediction.
    ///
    /// # Errors
    /// `InvalidArgument` when there are not as many names as features.
    pub fn summed_by<S: AsRef<str>>(&self, names: &[S]) -> Result<Self> {
        if names.len() != self.features.len() {
            return Err(Error::invalid_argument(format!(
                "{} features need as many names, found {}",
                self.features.len(),
                names.len()
            )));
        }
        let mut features: Vec<String> = Vec::new();
        let mut places = Vec::with_capacity(names.len());
        for name in names.iter().map(AsRef::as_ref) {
            places.push(features.iter().position(|known| known == name).unwrap_or_else(|| {
                features.push(name.to_owned());
                features.len() - 1
            }));
        }
        let mut attributions = vec![0.0; self.rows() * features.len()];
        for (sums, row) in attributions.chunks_exact_mut(features.len().max(1)).zip(self.iter()) {
            for (&place, value) in places.iter().zip(row) {
                if let Some(sum) = sums.get_mut(place) {
                    *sum += value;
                }
            }
        }
        Ok(Self { features, base_value: self.base_value, predictions: self.predictions.clone(), attributions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribution() -> Attribution {
        Attribution {
            features: ["a", "b = x", "b = y"].map(str::to_owned).to_vec(),
            base_value: 1.0,
            predictions: vec![7.0, -2.0],
            attributions: vec![1.0, 2.0, 3.0, 0.5, -2.5, -1.0],
        }
    }

    #[test]
    fn sums_by_column_keep_the_total() {
        let attribution = attribution();
        attribution.check_additivity(1e-15).unwrap();
        let by_column = attribution.summed_by(&["a", "b", "b"]).unwrap();
        assert_eq!(by_column.features, ["a", "b"]);
        assert_eq!(by_column.attributions, [1.0, 5.0, 0.5, -3.5]);
        by_column.check_additivity(1e-15).unwrap();
        assert!(attribution.summed_by(&["a"]).is_err());
        assert!(attribution.row(2).is_none() && attribution.row(usize::MAX).is_none());
    }

    #[test]
    fn what_does_not_sum_up_is_told() {
        let mut wrong = attribution();
        wrong.attributions[0] = 1.1;
        assert!(wrong.check_additivity(1e-3).unwrap_err().message().contains("1.429e-2"));
        wrong.attributions[0] = f64::NAN;
        assert!(wrong.check_additivity(1e-3).is_err());
    }
}

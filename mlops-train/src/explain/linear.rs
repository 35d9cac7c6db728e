//! Shapley values of a linear model.

use mlops_core::{Error, Result};

use super::{attribution::Attribution, background::Background};
use crate::preprocess::Matrix;

/// A score that is a weighted sum of the numbers of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearScore {
    /// The weight of each number.
    pub weights: Vec<f64>,
    /// What is added to the sum.
    pub intercept: f64,
}

/// Contributions `w_i (x_i - mean of x_i over the background)`, the Shapley values of a linear
/// model against a background (Strumbelj and Kononenko 2014). Features are named `x0`, `x1`...
///
/// ```
/// use mlops_train::{Matrix, explain::{LinearScore, linear_shap}};
///
/// let model = LinearScore { weights: vec![2.0, -1.0], intercept: 0.5 };
/// let background = Matrix::new(2, vec![0.0, 0.0, 2.0, 4.0])?;
/// let explained = linear_shap(&model, &background, &[1.0, 1.0], &Matrix::new(2, vec![3.0, 2.0])?)?;
/// assert_eq!((explained.base_value, &explained.attributions[..]), (0.5, &[4.0, 0.0][..]));
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` for rows of another width than the weights or with missing numbers, for no
/// background rows, and for `background_weights` that do not fit them.
pub fn linear_shap(
    model: &LinearScore,
    background: &Matrix,
    background_weights: &[f64],
    rows: &Matrix,
) -> Result<Attribution> {
    let width = model.weights.len();
    for matrix in [background, rows] {
        let missing = (0..matrix.rows()).any(|row| matrix.row(row).iter().any(|value| !value.is_finite()));
        if matrix.columns() != width || missing {
            return Err(Error::invalid_argument(format!(
                "a linear score of {width} weights needs rows of {width} finite numbers, found rows of {}{}",
                matrix.columns(),
                if missing { " with missing ones" } else { "" }
            )));
        }
    }
    let shares = Background::shares(background.rows(), background_weights)?;
    let mean = |column| background.column(column).zip(&shares).map(|(value, share)| value * share).sum::<f64>();
    let means: Vec<f64> = (0..width).map(mean).collect();
    let score = |row: &[f64]| model.intercept + row.iter().zip(&model.weights).map(|(x, w)| x * w).sum::<f64>();
    let gains = |row: usize| {
        let differences = rows.row(row).iter().zip(&means).zip(&model.weights);
        differences.map(|((value, mean), weight)| weight * (value - mean)).collect::<Vec<f64>>()
    };
    Ok(Attribution {
        features: (0..width).map(|feature| format!("x{feature}")).collect(),
        base_value: score(&means),
        predictions: (0..rows.rows()).map(|row| score(rows.row(row))).collect(),
        attributions: (0..rows.rows()).flat_map(gains).collect(),
    })
}

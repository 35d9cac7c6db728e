//! Integrated gradients: contributions of numbers to a differentiable score.
//!
//! `(x_i - x'_i)` times the mean of the score's slope along `i` on the straight way from a baseline
//! `x'` to `x` (Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks"). Were
//! the mean exact, contributions would sum up to `f(x) - f(x')`; what they miss is the convergence
//! delta, which is always given.

use std::fmt;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{attribution::Attribution, context::ExplainContext, quadrature::gauss_legendre};
use crate::preprocess::Matrix;

/// Steps on the way at most.
const STEPS_MAX: usize = 10_000;

/// A score whose slopes are known.
pub trait Differentiable: fmt::Debug {
    /// Names of the numbers of a row.
    fn features(&self) -> Vec<String>;

    /// The scores of rows, and the slope of each row's score along each of its numbers.
    ///
    /// # Errors
    /// `InvalidArgument` for rows of another width.
    fn slopes(&self, rows: &Matrix) -> Result<(Vec<f64>, Matrix)>;
}

/// Where on the way slopes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathRule {
    /// At the points of Gauss and Legendre's rule: far more exact where the score is smooth.
    GaussLegendre,
    /// In the middle of equal steps.
    Midpoint,
}

/// How finely the way is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntegratedGradientsSettings {
    /// Where slopes are taken.
    pub rule: PathRule,
    /// At how many places, 1 to 10,000.
    pub steps: usize,
}

impl Default for IntegratedGradientsSettings {
    fn default() -> Self {
        Self { rule: PathRule::GaussLegendre, steps: 50 }
    }
}

/// Contributions and how far their sums are off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntegratedGradients {
    /// The contributions; the base value is the score of the baseline.
    pub attribution: Attribution,
    /// By row: the sum of contributions less the difference of the scores. When it is not small
    /// against that difference, take more steps.
    pub convergence_deltas: Vec<f64>,
}

/// Contributions of the numbers of rows against a baseline.
///
/// # Errors
/// `InvalidArgument` for steps out of range, a baseline of another width, or numbers that are not
/// finite; `Cancelled`, `DeadlineExceeded`; what the score returns.
pub fn integrated_gradients(
    score: &dyn Differentiable,
    baseline: &[f64],
    rows: &Matrix,
    settings: &IntegratedGradientsSettings,
    context: &ExplainContext,
) -> Result<IntegratedGradients> {
    let width = baseline.len();
    let finite = |row: usize| rows.row(row).iter().all(|value| value.is_finite());
    let fits =
        rows.columns() == width && baseline.iter().all(|value| value.is_finite()) && (0..rows.rows()).all(finite);
    if !fits || !(1..=STEPS_MAX).contains(&settings.steps) {
        return Err(Error::invalid_argument(format!(
            "integrated gradients need finite rows and a finite baseline of one width and from 1 to {STEPS_MAX} \
             steps, found widths {} and {width} and {} steps",
            rows.columns(),
            settings.steps
        )));
    }
    let points = settings.points();
    let base_value = score.slopes(&Matrix::new(width, baseline.to_vec())?)?.0.first().copied().unwrap_or(f64::NAN);
    let (predictions, _) = score.slopes(rows)?;
    let mut attributions = Vec::with_capacity(rows.rows() * width);
    let mut convergence_deltas = Vec::with_capacity(rows.rows());
    for (row, prediction) in predictions.iter().enumerate() {
        context.check()?;
        let row = rows.row(row);
        let gains = gains(score, baseline, row, &points)?;
        convergence_deltas.push(gains.iter().sum::<f64>() - (prediction - base_value));
        attributions.extend(gains);
    }
    let attribution = Attribution { features: score.features(), base_value, predictions, attributions };
    Ok(IntegratedGradients { attribution, convergence_deltas })
}

impl IntegratedGradientsSettings {
    /// Places from 0 to 1 with their weights.
    fn points(&self) -> Vec<(f64, f64)> {
        let share = 1.0 / self.steps as f64;
        match self.rule {
            PathRule::GaussLegendre => gauss_legendre(self.steps),
            PathRule::Midpoint => (0..self.steps).map(|step| ((step as f64 + 0.5) * share, share)).collect(),
        }
    }
}

fn gains(score: &dyn Differentiable, baseline: &[f64], row: &[f64], points: &[(f64, f64)]) -> Result<Vec<f64>> {
    let between = |&(place, _): &(f64, f64)| baseline.iter().zip(row).map(move |(from, to)| from + place * (to - from));
    let way = Matrix::new(baseline.len(), points.iter().flat_map(between).collect())?;
    let (_, slopes) = score.slopes(&way)?;
    let mean = |feature| slopes.column(feature).zip(points).map(|(slope, (_, weight))| slope * weight).sum::<f64>();
    let differences = row.iter().zip(baseline).enumerate();
    Ok(differences.map(|(feature, (to, from))| (to - from) * mean(feature)).collect())
}

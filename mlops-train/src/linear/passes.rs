//! The penalized mean loss and its derivatives: one pass over the rows.
//!
//! Invariant: sums run in row order and in strands of a fixed number, so they have the same bits on
//! every processor.

#![allow(
    clippy::indexing_slicing,
    reason = "parameters are as many as columns plus the intercept, rows below their count"
)]

use pulp::NullaryFnOnce;

use super::{cholesky::Factor, curvature::Curvature};
use crate::{
    data::TableDataset,
    gbdt::loss::{LossSum, derivatives_and_loss},
    preprocess::Matrix,
    strands::dot,
};

/// Share of zeros from which on only pairs of other numbers are multiplied, as where most columns are
/// categories.
const SPARSE: f64 = 0.7;

/// The function that is minimized; parameters are the coefficients and then the intercept.
#[derive(Debug)]
pub(super) struct Objective<'a> {
    data: &'a TableDataset,
    matrix: &'a Matrix,
    /// Every so many rows are looked at.
    stride: usize,
    weight_sum: f64,
    l2: f64,
    sparse: bool,
}

/// Value and gradient at a point.
#[derive(Debug)]
pub(super) struct Slopes {
    pub(super) value: f64,
    pub(super) gradient: Vec<f64>,
}

impl Slopes {
    /// The size of the entry of the gradient that is farthest from zero; NaN if one is.
    pub(super) fn steepest(&self) -> f64 {
        let steeper = |most: f64, entry: &f64| if entry.abs() > most || entry.is_nan() { entry.abs() } else { most };
        self.gradient.iter().fold(0.0, steeper)
    }
}

impl<'a> Objective<'a> {
    pub(super) fn new(data: &'a TableDataset, matrix: &'a Matrix, l2: f64) -> Self {
        let weight_sum = (0..data.rows()).map(|row| data.weight(row)).sum();
        let looked_at = matrix.rows().min(1_000);
        let zeros: usize =
            (0..looked_at).map(|row| matrix.row(row).iter().filter(|value| **value == 0.0).count()).sum();
        let sparse = zeros as f64 >= SPARSE * (looked_at * matrix.columns()) as f64;
        Self { data, matrix, stride: 1, weight_sum, l2, sparse }
    }

    /// The same function over every `stride`-th row, with a penalty that is smaller in proportion.
    pub(super) fn every(&self, stride: usize) -> Self {
        let weight_sum: f64 = (0..self.data.rows()).step_by(stride).map(|row| self.data.weight(row)).sum();
        Self { stride, weight_sum, l2: self.l2 * weight_sum / self.weight_sum, ..*self }
    }

    /// The value without coefficients.
    pub(super) fn value_of(&self, intercept: f64) -> f64 {
        let mut losses = LossSum::default();
        for row in (0..self.data.rows()).step_by(self.stride) {
            let (label, weight) = (self.data.labels()[row], self.data.weight(row));
            derivatives_and_loss(self.data.task(), intercept, label, weight, &mut losses);
        }
        losses.total() / self.weight_sum
    }

    /// Value and gradient.
    pub(super) fn slopes(&self, at: &[f64]) -> Slopes {
        pulp::Arch::new().dispatch(Pass { objective: self, at, curvature: None })
    }

    /// The same in one pass with the second derivatives.
    pub(super) fn evaluate(&self, at: &[f64]) -> (Slopes, Factor) {
        let size = at.len();
        let mut curvature = Curvature::new(size);
        let slopes = pulp::Arch::new().dispatch(Pass { objective: self, at, curvature: Some(&mut curvature) });
        let mut matrix = curvature.into_sums();
        (0..size - 1).for_each(|index| matrix[index * size + index] += self.l2);
        matrix.iter_mut().for_each(|value| *value /= self.weight_sum);
        (slopes, Factor::of(size, matrix))
    }
}

/// One pass over the rows: value and gradient, and second derivatives where they are wanted. Not a closure: the compiler keeps a large one out of the code that it writes for newer
/// processors.
struct Pass<'p, 'a> {
    objective: &'p Objective<'a>,
    at: &'p [f64],
    curvature: Option<&'p mut Curvature>,
}

impl NullaryFnOnce for Pass<'_, '_> {
    type Output = Slopes;

    #[inline(always)]
    fn call(mut self) -> Slopes {
        let Objective { data, matrix, stride, weight_sum, l2, sparse } = *self.objective;
        let size = self.at.len();
        let width = size - 1;
        let (coefficients, intercept) = (&self.at[..width], self.at[width]);
        let (mut gradient, mut losses) = (vec![0.0; size], LossSum::default());
        // A row with a one for the intercept behind it.
        let mut extended = vec![0.0; self.curvature.as_deref().map_or(size, Curvature::stride)];
        extended[width] = 1.0;
        let mut present = Vec::with_capacity(size);
        for row in (0..data.rows()).step_by(stride) {
            let numbers = matrix.row(row);
            let score = intercept + dot(coefficients, numbers);
            let (label, weight) = (data.labels()[row], data.weight(row));
            let slope = derivatives_and_loss(data.task(), score, label, weight, &mut losses);
            gradient.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += slope.gradient * number);
            gradient[width] += slope.gradient;
            if let Some(curvature) = self.curvature.as_deref_mut() {
                extended[..width].copy_from_slice(numbers);
                match sparse {
                    true => curvature.add_pairs(&extended, slope.curvature, &mut present),
                    false => curvature.add(&extended, slope.curvature),
                }
            }
        }
        gradient.iter_mut().zip(coefficients).for_each(|(sum, weight)| *sum += l2 * weight);
        gradient.iter_mut().for_each(|sum| *sum /= weight_sum);
        let squares = dot(coefficients, coefficients);
        Slopes { value: (losses.total() + 0.5 * l2 * squares) / weight_sum, gradient }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, RecordBatch};

    use super::*;
    use crate::rng::SeededRng;

    /// Weighted rows of nine numbers, most of them zero if `sparse`.
    fn table(rows: usize, sparse: bool) -> (TableDataset, Matrix) {
        let mut rng = SeededRng::new(5, 0);
        let mut number = || if sparse && rng.uniform() < 0.9 { 0.0 } else { rng.normal() };
        let matrix = Matrix::new(9, (0..rows * 9).map(|_| number()).collect()).unwrap();
        let column =
            |value: &dyn Fn(usize) -> f64| Arc::new(Float64Array::from_iter_values((0..rows).map(value))) as ArrayRef;
        let batch = RecordBatch::try_from_iter([
            ("x", column(&|row| row as f64)),
            ("y", column(&|row| f64::from(u8::from(row % 3 == 0)))),
            ("w", column(&|row| 0.5 + (row % 4) as f64)),
        ]);
        (TableDataset::classification(batch.unwrap(), "y").with_weight("w").build().unwrap(), matrix)
    }

    #[test]
    fn derivatives_are_those_of_the_value() {
        for (rows, sparse) in [(203, false), (203, true)] {
            let (data, matrix) = table(rows, sparse);
            let objective = Objective::new(&data, &matrix, 0.7);
            assert_eq!(objective.sparse, sparse);
            for objective in [objective.every(1), objective.every(5)] {
                let at: Vec<f64> = (0..10).map(|index| 0.3 * f64::from(index) - 1.2).collect();
                let found = objective.slopes(&at);
                let (same, factor) = objective.evaluate(&at);
                assert_eq!((found.value, &found.gradient), (same.value, &same.gradient));
                let constant: Vec<f64> = (0..10).map(|index| if index < 9 { 0.0 } else { 0.4 }).collect();
                assert!((objective.slopes(&constant).value - objective.value_of(0.4)).abs() < 1e-14);
                let moved = |index: usize, by: f64| {
                    let mut moved = at.clone();
                    moved[index] += by;
                    objective.slopes(&moved)
                };
                for index in 0..10 {
                    let (above, below) = (moved(index, 1e-5), moved(index, -1e-5));
                    let slope = (above.value - below.value) / 2e-5;
                    assert!((found.gradient[index] - slope).abs() < 1e-8, "{index}");
                    // The second derivatives times what solves for the unit vector are that vector.
                    let unit: Vec<f64> = (0..10).map(|other| f64::from(u8::from(other == index))).collect();
                    let solved = factor.solve(&unit);
                    let step = |by: f64| -> Vec<f64> {
                        let next: Vec<f64> = at.iter().zip(&solved).map(|(at, step)| at + by * step).collect();
                        objective.slopes(&next).gradient
                    };
                    for ((above, below), unit) in step(1e-5).iter().zip(step(-1e-5)).zip(unit) {
                        assert!(((above - below) / 2e-5 - unit).abs() < 1e-5, "{index}");
                    }
                }
            }
        }
    }
}

//! The penalized mean loss and its derivatives: one pass over the rows.
//!
//! Invariant: sums run in row order and in lanes of a fixed number, so they have the same bits on
//! every processor.

#![allow(
    clippy::indexing_slicing,
    reason = "parameters are as many as columns plus the intercept, rows below their count"
)]

use crate::{
    data::TableDataset,
    gbdt::loss::{LossSum, derivatives_and_loss},
    preprocess::Matrix,
};

/// Rows whose products are added to the second derivatives together.
const BLOCK: usize = 4;

/// Lanes of a sum of products.
const LANES: usize = 4;

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

/// What a pass came to.
#[derive(Debug)]
pub(super) struct Evaluation {
    pub(super) value: f64,
    pub(super) gradient: Vec<f64>,
    /// The lower triangle of the second derivatives, row-major.
    pub(super) curvature: Vec<f64>,
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

    /// The value alone.
    pub(super) fn value(&self, at: &[f64]) -> f64 {
        let mut losses = LossSum::default();
        pulp::Arch::new().dispatch(|| {
            for row in (0..self.data.rows()).step_by(self.stride) {
                let score = self.score(at, row);
                derivatives_and_loss(
                    self.data.task(),
                    score,
                    self.data.labels()[row],
                    self.data.weight(row),
                    &mut losses,
                );
            }
        });
        self.penalized(losses.total(), at)
    }

    /// Value, gradient and second derivatives.
    pub(super) fn evaluate(&self, at: &[f64]) -> Evaluation {
        let size = at.len();
        let mut found = Evaluation { value: 0.0, gradient: vec![0.0; size], curvature: vec![0.0; size * size] };
        let mut losses = LossSum::default();
        pulp::Arch::new().dispatch(|| self.add_rows(at, &mut found, &mut losses));
        let width = size - 1;
        for (index, value) in at.iter().enumerate().take(width) {
            found.gradient[index] += self.l2 * value;
            found.curvature[index * size + index] += self.l2;
        }
        found.gradient.iter_mut().chain(&mut found.curvature).for_each(|value| *value /= self.weight_sum);
        found.value = self.penalized(losses.total(), at);
        found
    }

    fn penalized(&self, losses: f64, at: &[f64]) -> f64 {
        let squares: f64 = at[..at.len() - 1].iter().map(|value| value * value).sum();
        (losses + 0.5 * self.l2 * squares) / self.weight_sum
    }

    #[inline(always)]
    fn score(&self, at: &[f64], row: usize) -> f64 {
        let width = self.matrix.columns();
        at[width] + dot(&at[..width], self.matrix.row(row))
    }

    #[inline(always)]
    fn add_rows(&self, at: &[f64], found: &mut Evaluation, losses: &mut LossSum) {
        let (size, width) = (at.len(), at.len() - 1);
        // Rows with a one for the intercept behind them, and how much each curves.
        let mut block = vec![1.0; BLOCK * size];
        let mut curvatures = [0.0; BLOCK];
        let mut present = Vec::with_capacity(size);
        let mut filled = 0;
        for row in (0..self.data.rows()).step_by(self.stride) {
            let score = self.score(at, row);
            let (label, weight) = (self.data.labels()[row], self.data.weight(row));
            let slope = derivatives_and_loss(self.data.task(), score, label, weight, losses);
            let extended = &mut block[filled * size..(filled + 1) * size];
            extended[..width].copy_from_slice(self.matrix.row(row));
            found.gradient.iter_mut().zip(&*extended).for_each(|(sum, value)| *sum += slope.gradient * value);
            if self.sparse {
                add_pairs(&mut found.curvature, extended, slope.curvature, &mut present);
                continue;
            }
            curvatures[filled] = slope.curvature;
            filled += 1;
            if filled == BLOCK {
                add_products(&mut found.curvature, &block, &curvatures, size);
                filled = 0;
            }
        }
        if filled > 0 {
            curvatures[filled..].fill(0.0);
            add_products(&mut found.curvature, &block, &curvatures, size);
        }
    }
}

/// Adds `c x x^T` of a block of rows to a lower triangle.
#[inline(always)]
fn add_products(curvature: &mut [f64], block: &[f64], curvatures: &[f64; BLOCK], size: usize) {
    for index in 0..size {
        let scaled: [f64; BLOCK] = std::array::from_fn(|row| curvatures[row] * block[row * size + index]);
        let line = &mut curvature[index * size..=index * size + index];
        let [first, second, third, fourth]: [&[f64]; BLOCK] =
            std::array::from_fn(|row| &block[row * size..=row * size + index]);
        let rows = first.iter().zip(second).zip(third.iter().zip(fourth));
        for (sum, ((first, second), (third, fourth))) in line.iter_mut().zip(rows) {
            *sum += (scaled[0] * first + scaled[1] * second) + (scaled[2] * third + scaled[3] * fourth);
        }
    }
}

/// The same of one row, of which only what is not zero is looked at.
#[inline(always)]
fn add_pairs(curvature: &mut [f64], row: &[f64], factor: f64, present: &mut Vec<usize>) {
    present.clear();
    present.extend(row.iter().enumerate().filter(|(_, value)| **value != 0.0).map(|(index, _)| index));
    for (place, &index) in present.iter().enumerate() {
        let scaled = factor * row[index];
        let line = &mut curvature[index * row.len()..=index * row.len() + index];
        present[..=place].iter().for_each(|&other| line[other] += scaled * row[other]);
    }
}

/// A sum of products in a fixed number of lanes.
#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
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
                let found = objective.evaluate(&at);
                assert_eq!(found.value, objective.value(&at));
                let moved = |index: usize, by: f64| {
                    let mut moved = at.clone();
                    moved[index] += by;
                    objective.evaluate(&moved)
                };
                for index in 0..10 {
                    let (above, below) = (moved(index, 1e-5), moved(index, -1e-5));
                    let slope = (above.value - below.value) / 2e-5;
                    assert!((found.gradient[index] - slope).abs() < 1e-8, "{index}");
                    for other in 0..=index {
                        let curve = (above.gradient[other] - below.gradient[other]) / 2e-5;
                        assert!((found.curvature[index * 10 + other] - curve).abs() < 1e-8, "{index} {other}");
                    }
                }
            }
        }
    }
}

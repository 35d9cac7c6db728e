//! Solving `A x = b` for a symmetric matrix that is positive semi-definite.
//!
//! A column that depends on earlier ones (its pivot is below `DEPENDENT` of its diagonal) is left
//! out: its unknown is zero. So a constant or repeated feature costs nothing but itself.

#![allow(clippy::indexing_slicing, reason = "the matrix has size * size entries and the vector size")]

use crate::strands::dot;

/// Share of a diagonal entry below which its pivot counts as zero.
const DEPENDENT: f64 = 1e-12;

/// The decomposition of a matrix, for any number of right sides.
#[derive(Debug)]
pub(super) struct Factor {
    size: usize,
    /// Row-major; what lies above the diagonal is not read.
    lower: Vec<f64>,
}

impl Factor {
    /// Decomposes a row-major matrix of `size` by `size`, of which the lower triangle is read.
    pub(super) fn of(size: usize, mut matrix: Vec<f64>) -> Self {
        for row in 0..size {
            for column in 0..row {
                let dot = dot(&matrix[row * size..row * size + column], &matrix[column * size..column * size + column]);
                let pivot = matrix[column * size + column];
                let value = matrix[row * size + column] - dot;
                matrix[row * size + column] = if pivot > 0.0 { value / pivot } else { 0.0 };
            }
            let diagonal = matrix[row * size + row];
            let own = &matrix[row * size..row * size + row];
            let left = diagonal - dot(own, own);
            matrix[row * size + row] = if left > DEPENDENT * diagonal { left.sqrt() } else { 0.0 };
        }
        Self { size, lower: matrix }
    }

    /// `A^-1` times a vector of `size`.
    pub(super) fn solve(&self, vector: &[f64]) -> Vec<f64> {
        let (size, lower) = (self.size, &self.lower);
        let mut solved = vector.to_vec();
        for row in 0..size {
            let sum = dot(&lower[row * size..row * size + row], &solved[..row]);
            solved[row] = divide(solved[row] - sum, lower[row * size + row]);
        }
        for row in (0..size).rev() {
            let sum: f64 = (row + 1..size).map(|below| lower[below * size + row] * solved[below]).sum();
            solved[row] = divide(solved[row] - sum, lower[row * size + row]);
        }
        solved
    }
}

fn divide(value: f64, pivot: f64) -> f64 {
    if pivot > 0.0 { value / pivot } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_unknowns_by_hand() {
        // A = L L^T with L = [[2, 0, 0], [1, 3, 0], [0, -1, 1]]; x = [1, 2, 3].
        let factor = Factor::of(3, vec![4.0, 2.0, 0.0, 2.0, 10.0, -3.0, 0.0, -3.0, 2.0]);
        for (right, expected) in [([8.0, 13.0, 0.0], [1.0, 2.0, 3.0]), ([4.0, 2.0, 0.0], [1.0, 0.0, 0.0])] {
            let found = factor.solve(&right);
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{found:?}");
        }
    }

    #[test]
    fn dependent_and_empty_columns_get_zero() {
        // The second column repeats the first, the third is all zero.
        let factor = Factor::of(3, vec![4.0, 4.0, 0.0, 4.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(factor.solve(&[8.0, 8.0, 0.0]), [2.0, 0.0, 0.0]);
    }
}

//! Solving `A x = b` for a symmetric matrix that is positive semi-definite.
//!
//! A column that depends on earlier ones (its pivot is below `DEPENDENT` of its diagonal) is left
//! out: its unknown is zero. So a constant or repeated feature costs nothing but itself.

#![allow(clippy::indexing_slicing, reason = "the matrix has size * size entries and the vector size")]

/// Share of a diagonal entry below which its pivot counts as zero.
const DEPENDENT: f64 = 1e-12;

/// Solves in place: `matrix` is row-major of `size` by `size`, of which the lower triangle is read
/// and overwritten by the factor; `vector` becomes the solution.
pub(crate) fn solve(matrix: &mut [f64], vector: &mut [f64]) {
    let size = vector.len();
    for row in 0..size {
        for column in 0..row {
            let dot = dot(&matrix[row * size..], &matrix[column * size..], column);
            let pivot = matrix[column * size + column];
            let value = matrix[row * size + column] - dot;
            matrix[row * size + column] = if pivot > 0.0 { value / pivot } else { 0.0 };
        }
        let diagonal = matrix[row * size + row];
        let left = diagonal - dot(&matrix[row * size..], &matrix[row * size..], row);
        matrix[row * size + row] = if left > DEPENDENT * diagonal { left.sqrt() } else { 0.0 };
    }
    for row in 0..size {
        let sum: f64 = (0..row).map(|column| matrix[row * size + column] * vector[column]).sum();
        vector[row] = divide(vector[row] - sum, matrix[row * size + row]);
    }
    for row in (0..size).rev() {
        let sum: f64 = (row + 1..size).map(|below| matrix[below * size + row] * vector[below]).sum();
        vector[row] = divide(vector[row] - sum, matrix[row * size + row]);
    }
}

fn divide(value: f64, pivot: f64) -> f64 {
    if pivot > 0.0 { value / pivot } else { 0.0 }
}

fn dot(a: &[f64], b: &[f64], length: usize) -> f64 {
    a[..length].iter().zip(&b[..length]).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_unknowns_by_hand() {
        // A = L L^T with L = [[2, 0, 0], [1, 3, 0], [0, -1, 1]]; x = [1, 2, 3].
        let mut matrix = vec![4.0, 2.0, 0.0, 2.0, 10.0, -3.0, 0.0, -3.0, 2.0];
        let mut vector = vec![8.0, 13.0, 0.0];
        solve(&mut matrix, &mut vector);
        for (found, expected) in vector.iter().zip([1.0, 2.0, 3.0]) {
            assert!((found - expected).abs() < 1e-12, "{vector:?}");
        }
    }

    #[test]
    fn dependent_and_empty_columns_get_zero() {
        // The second column repeats the first, the third is all zero.
        let mut matrix = vec![4.0, 4.0, 0.0, 4.0, 4.0, 0.0, 0.0, 0.0, 0.0];
        let mut vector = vec![8.0, 8.0, 0.0];
        solve(&mut matrix, &mut vector);
        assert_eq!(vector, [2.0, 0.0, 0.0]);
    }
}

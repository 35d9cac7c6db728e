//! Symmetric positive definite systems by Cholesky's decomposition. Matrices are square, row by row.

#![allow(clippy::indexing_slicing, reason = "rows and columns are below the order of the matrix")]

use crate::strands::dot;

/// The lower triangle `L` with `L L' = a`; none when the matrix is not positive definite.
pub(super) fn cholesky(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    for i in 0..n {
        for j in 0..=i {
            let (above, row) = a.split_at(i * n);
            let (left, value) = (&row[..j], row[j]);
            let other = if i == j { left } else { &above[j * n..j * n + j] };
            let value = value - dot(left, other);
            if i != j {
                a[i * n + j] = value / a[j * n + j];
            } else if value > 0.0 {
                a[i * n + i] = value.sqrt();
            } else {
                return None;
            }
        }
        a[i * n + i + 1..(i + 1) * n].fill(0.0);
    }
    Some(a)
}

/// `a^-1` from its lower triangle.
pub(super) fn inverse(lower: &[f64], n: usize) -> Vec<f64> {
    // Row `j` of `columns` is column `j` of the inverse triangle.
    let mut columns = vec![0.0; n * n];
    for j in 0..n {
        columns[j * n + j] = 1.0 / lower[j * n + j];
        for i in j + 1..n {
            let sum = dot(&lower[i * n + j..i * n + i], &columns[j * n + j..j * n + i]);
            columns[j * n + i] = -sum / lower[i * n + i];
        }
    }
    let mut inverse = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let value = dot(&columns[i * n + i..(i + 1) * n], &columns[j * n + i..(j + 1) * n]);
            inverse[i * n + j] = value;
            inverse[j * n + i] = value;
        }
    }
    inverse
}

/// `m x`.
pub(super) fn times(m: &[f64], x: &[f64]) -> Vec<f64> {
    m.chunks_exact(x.len()).map(|row| dot(row, x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_is_one() {
        for n in [1, 2, 5, 17] {
            let entry =
                |i: usize, j: usize| (-(i as f64 - j as f64).powi(2) / 3.0).exp() + if i == j { 0.1 } else { 0.0 };
            let a: Vec<f64> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
            let inverse = inverse(&cholesky(a.clone(), n).unwrap(), n);
            for j in 0..n {
                let column: Vec<f64> = (0..n).map(|i| inverse[i * n + j]).collect();
                for (i, value) in times(&a, &column).into_iter().enumerate() {
                    assert!((value - if i == j { 1.0 } else { 0.0 }).abs() < 1e-9);
                }
            }
        }
        assert!(cholesky(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
    }
}

//! Eigenvalues and eigenvectors of a symmetric matrix by Jacobi's rotations.
//!
//! Invariant: every rotation is orthogonal, so the vectors stay orthonormal to rounding, and small eigenvalues are as
//! good as large ones. Cubic in the width times a few sweeps: for hundreds of features, once per fit, not for thousands;
//! a linear algebra crate would be the largest dependency of this one.
//!
//! Source: Golub, Van Loan, Matrix Computations, 4th edition, 8.5.
#![allow(clippy::indexing_slicing, reason = "square matrices of side n, indexed by loops over 0..n")]

use super::matrix::dot;

/// Sweeps over all pairs; convergence is quadratic, and takes six to ten.
const SWEEPS_MAX: usize = 50;

/// One eigenvalue and its vector of length one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Eigen {
    pub(super) value: f64,
    pub(super) vector: Vec<f64>,
}

/// All of them, the largest eigenvalue first. The matrix is given row by row. Of the two vectors of length one, the one
/// whose largest component is positive.
pub(super) fn symmetric(mut a: Vec<f64>, n: usize) -> Vec<Eigen> {
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let scale = dot(&a, &a);
    for _ in 0..SWEEPS_MAX {
        let off: f64 = (0..n).map(|p| dot(&a[p * n + p + 1..(p + 1) * n], &a[p * n + p + 1..(p + 1) * n])).sum();
        if off <= scale * f64::EPSILON * f64::EPSILON {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, n, (p, q));
            }
        }
    }
    let mut found: Vec<Eigen> = vectors
        .into_iter()
        .enumerate()
        .map(|(i, vector)| Eigen { value: a[i * n + i], vector: signed(vector) })
        .collect();
    found.sort_by(|left, right| right.value.total_cmp(&left.value));
    found
}

/// Makes the element (p, q) zero. Vectors are kept as rows.
fn rotate(a: &mut [f64], vectors: &mut [Vec<f64>], n: usize, (p, q): (usize, usize)) {
    let (app, aqq, apq) = (a[p * n + p], a[q * n + q], a[p * n + q]);
    if apq == 0.0 {
        return;
    }
    let tau = (aqq - app) / (2.0 * apq);
    // The smaller root of t^2 + 2 tau t - 1.
    let t = tau.signum() / (tau.abs() + tau.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    for k in 0..n {
        let (x, y) = (a[p * n + k], a[q * n + k]);
        (a[p * n + k], a[q * n + k]) = (c * x - s * y, s * x + c * y);
    }
    for k in 0..n {
        let (x, y) = (a[k * n + p], a[k * n + q]);
        (a[k * n + p], a[k * n + q]) = (c * x - s * y, s * x + c * y);
    }
    (a[p * n + q], a[q * n + p]) = (0.0, 0.0);
    let (head, tail) = vectors.split_at_mut(q);
    for (x, y) in head[p].iter_mut().zip(&mut tail[0]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

fn signed(mut vector: Vec<f64>) -> Vec<f64> {
    let largest =
        vector.iter().copied().fold(0.0_f64, |most, value| if value.abs() > most.abs() { value } else { most });
    if largest < 0.0 {
        vector.iter_mut().for_each(|value| *value = -*value);
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Draws;

    #[test]
    fn a_matrix_by_hand() {
        let found = symmetric(vec![2.0, 1.0, 1.0, 2.0], 2);
        let half = 0.5_f64.sqrt();
        assert!((found[0].value - 3.0).abs() < 1e-15 && (found[1].value - 1.0).abs() < 1e-15);
        assert!(found[0].vector.iter().all(|value| (value - half).abs() < 1e-15), "{found:?}");
        assert_eq!(symmetric(Vec::new(), 0), []);
        assert_eq!(symmetric(vec![0.0; 9], 3).iter().map(|eigen| eigen.value).sum::<f64>(), 0.0);
    }

    #[test]
    fn vectors_are_orthonormal_and_rebuild_the_matrix() {
        let (n, mut draws) = (24, Draws::new(4));
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let value = crate::stats::float(draws.below(2_001)) / 1_000.0 - 1.0;
                (a[i * n + j], a[j * n + i]) = (value, value);
            }
        }
        let found = symmetric(a.clone(), n);
        assert!(found.is_sorted_by(|x, y| x.value >= y.value));
        for i in 0..n {
            for j in 0..n {
                let inner = dot(&found[i].vector, &found[j].vector);
                assert!((inner - f64::from(u8::from(i == j))).abs() < 1e-13);
                let rebuilt: f64 = found.iter().map(|eigen| eigen.value * eigen.vector[i] * eigen.vector[j]).sum();
                assert!((rebuilt - a[i * n + j]).abs() < 1e-13);
            }
        }
    }
}

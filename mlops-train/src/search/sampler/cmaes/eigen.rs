//! Eigenvalues and eigenvectors of a small symmetric matrix by Jacobi's rotations.

#![allow(clippy::indexing_slicing, reason = "rows and columns are below the order of the matrix")]

/// Values, and the matrix whose columns are their vectors, row by row. `matrix` is symmetric, row by row, of `order`.
///
/// Sweeps over all pairs until nothing is left off the diagonal (Golub and Van Loan, "Matrix Computations", 8.5).
pub(super) fn eigen(matrix: &[f64], order: usize) -> (Vec<f64>, Vec<f64>) {
    const SWEEPS_MAX: usize = 60;
    let mut a = matrix.to_vec();
    let mut v = vec![0.0; order * order];
    (0..order).for_each(|at| v[at * order + at] = 1.0);
    for _ in 0..SWEEPS_MAX {
        let outside: f64 =
            (0..order).flat_map(|p| (0..p).map(move |q| (p, q))).map(|(p, q)| a[p * order + q].powi(2)).sum();
        let inside: f64 = (0..order).map(|p| a[p * order + p].powi(2)).sum();
        if outside <= 1e-30 * inside {
            break;
        }
        for p in 0..order {
            for q in p + 1..order {
                rotate(&mut a, &mut v, order, p, q);
            }
        }
    }
    ((0..order).map(|at| a[at * order + at]).collect(), v)
}

fn rotate(a: &mut [f64], v: &mut [f64], order: usize, p: usize, q: usize) {
    let apq = a[p * order + q];
    if apq == 0.0 {
        return;
    }
    let tau = (a[q * order + q] - a[p * order + p]) / (2.0 * apq);
    let t = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
    let c = 1.0 / (1.0 + t * t).sqrt();
    let s = t * c;
    for k in 0..order {
        let (x, y) = (a[k * order + p], a[k * order + q]);
        (a[k * order + p], a[k * order + q]) = (c * x - s * y, s * x + c * y);
    }
    for k in 0..order {
        let (x, y) = (a[p * order + k], a[q * order + k]);
        (a[p * order + k], a[q * order + k]) = (c * x - s * y, s * x + c * y);
        let (x, y) = (v[k * order + p], v[k * order + q]);
        (v[k * order + p], v[k * order + q]) = (c * x - s * y, s * x + c * y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_values_give_the_matrix_back() {
        let order = 6;
        let entry = |i: usize, j: usize| ((i * j) as f64 * 0.7).sin() + if i == j { 3.0 } else { 0.0 };
        let matrix: Vec<f64> = (0..order * order).map(|at| entry(at / order, at % order)).collect();
        let (values, v) = eigen(&matrix, order);
        for i in 0..order {
            for j in 0..order {
                let back: f64 = (0..order).map(|k| v[i * order + k] * values[k] * v[j * order + k]).sum();
                assert!((back - matrix[i * order + j]).abs() < 1e-12, "{i} {j}");
            }
        }
    }
}

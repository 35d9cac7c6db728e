//! The laws of the Kolmogorov-Smirnov statistic for large samples, with accurate tails.
//!
//! Two different laws are in use under the word "asymptotic", and both are here under their own
//! name: Kolmogorov's limit, and the exact law of the one-sample statistic taken at the effective
//! sample size. The two-sample law for small samples is in `lattice`.
//!
//! Sources: Marsaglia, Tsang, Wang, J. Stat. Softw. 8(18), 2003 (Durbin's matrix); Pelz, Good,
//! JRSS B 38, 1976 (expansion in 1/sqrt(n)); Birnbaum, Tingey, Ann. Math. Stat. 22, 1951 (exact
//! one-sided law); Maag, Dicaire, Biometrika 58, 1971 (one-sided law for huge n); Simard,
//! L'Ecuyer, J. Stat. Softw. 39(11), 2011 (which of them where).
#![allow(clippy::indexing_slicing, reason = "square matrices of side `size`, indexed by loops over 0..size")]

use std::f64::consts::{LN_2, PI};

use super::{
    float,
    gamma::{ln_factorial, ln_one_minus_exp},
};

/// Beyond this sample size the one-sided law is summed by its expansion.
const SUMMED_N_MAX: u64 = 1_000_000;

/// ln P(K >= lambda) for Kolmogorov's limit law:
/// 2 sum_{k>=1} (-1)^(k-1) exp(-2 k^2 lambda^2).
///
/// Below lambda = 1 the complement is summed instead (Jacobi's theta identity):
/// sqrt(2 pi) / lambda sum_{k>=1} exp(-(2k-1)^2 pi^2 / (8 lambda^2)).
pub(crate) fn ln_limit_tail(lambda: f64) -> f64 {
    if lambda <= 0.0 {
        return 0.0;
    }
    if lambda < 1.0 {
        let exponent = PI * PI / (8.0 * lambda * lambda);
        let sum: f64 = (1..=6).map(|k| (-(2.0 * f64::from(k) - 1.0).powi(2) * exponent).exp()).sum();
        return (-(2.0 * PI).sqrt() / lambda * sum).ln_1p();
    }
    let unit = -2.0 * lambda * lambda;
    // Relative to the first term, so that nothing underflows.
    let rest: f64 =
        (2..=8).map(|k: i32| (if k % 2 == 0 { -1.0 } else { 1.0 }) * (unit * (f64::from(k).powi(2) - 1.0)).exp()).sum();
    LN_2 + unit + rest.ln_1p()
}

/// ln P(D_n >= x) for the exact law of the two-sided one-sample statistic, n >= 1.
///
/// Relative error of p: about 1e-11 up to n = 140; beyond, of the order 1/n^2 in the middle of the
/// law (7e-6 at n = 400), where the expansion's next term is missing, and far less in the tails.
/// Methods and regions are those of Simard and L'Ecuyer, as in scipy's `kstwo`, with which it agrees to
/// 1e-6 everywhere.
pub(crate) fn ln_one_sample_tail(n: u64, x: f64) -> f64 {
    let size = float(n);
    let (nx, nx2) = (size * x, size * x * x);
    if x >= 1.0 {
        f64::NEG_INFINITY
    } else if nx <= 0.5 {
        0.0
    } else if nx <= 1.0 {
        ln_one_minus_exp(ln_factorial(n) + size * (2.0 * x - 1.0 / size).ln())
    } else if x >= 1.0 - 1.0 / size {
        LN_2 + size * (-x).ln_1p()
    } else if x >= 0.5 || (n <= 140 && nx2 > 4.0) || (n > 140 && nx2 >= 2.2) {
        LN_2 + ln_one_sided_tail(n, x)
    } else if n <= 140 || (n <= 100_000 && size * x.powf(1.5) <= 1.4) {
        (-durbin_cdf(n, x)).ln_1p()
    } else {
        (-pelz_good_cdf(size, x)).ln_1p()
    }
}

/// ln P(D_n^+ >= x), Birnbaum and Tingey:
/// x sum_{j=0}^{floor(n(1-x))} C(n, j) (x + j/n)^(j-1) (1 - x - j/n)^(n-j).
///
/// All terms are positive; they are added in log space.
fn ln_one_sided_tail(n: u64, x: f64) -> f64 {
    let size = float(n);
    if n > SUMMED_N_MAX {
        return -(6.0 * size * x + 1.0).powi(2) / (18.0 * size);
    }
    let (mut highest, mut sum) = (f64::NEG_INFINITY, 0.0);
    let (mut ln_choose, mut compensation) = (0.0, 0.0);
    for j in 0..n {
        let index = float(j);
        let rest = 1.0 - x - index / size;
        if rest <= 0.0 {
            break;
        }
        let term = ln_choose + (index - 1.0) * (x + index / size).ln() + (size - index) * rest.ln();
        if term > highest {
            sum = sum * (highest - term).exp() + 1.0;
            highest = term;
        } else {
            sum += (term - highest).exp();
        }
        // Kahan's compensated sum: up to a million terms must not cost digits.
        let step = ((size - index) / (index + 1.0)).ln() - compensation;
        let next = ln_choose + step;
        compensation = (next - ln_choose) - step;
        ln_choose = next;
    }
    x.ln() + highest + sum.ln()
}

/// P(D_n < x) as an element of Durbin's matrix to the power n, times n!/n^n.
fn durbin_cdf(n: u64, x: f64) -> f64 {
    let size = float(n);
    let nx = size * x;
    let k = nx.floor() + 1.0;
    let overhang = k - nx;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 <= k <= 140 by the regions above")]
    let k = k as usize;
    let matrix = durbin_matrix(2 * k - 1, overhang);
    let (power, ln_scale) = matrix_power(matrix, 2 * k - 1, n);
    let element = power[(k - 1) * (2 * k - 1) + (k - 1)];
    (element.ln() + ln_scale + ln_factorial(n) - size * size.ln()).exp().min(1.0)
}

fn durbin_matrix(side: usize, overhang: f64) -> Vec<f64> {
    let reciprocal_factorial = |i: usize| (-ln_factorial(i as u64)).exp();
    let power = |base: f64, i: usize| base.powf(float(i as u64));
    let mut matrix = vec![0.0; side * side];
    for i in 0..side {
        for j in 0..=(i + 1).min(side - 1) {
            let mut value = 1.0;
            if j == 0 {
                value -= power(overhang, i + 1);
            }
            if i == side - 1 {
                value -= power(overhang, side - j);
            }
            if j == 0 && i == side - 1 && overhang > 0.5 {
                value += power(2.0 * overhang - 1.0, side);
            }
            matrix[i * side + j] = value * reciprocal_factorial(i + 1 - j);
        }
    }
    matrix
}

/// The matrix to the power n, divided by exp of the second result to stay within range.
fn matrix_power(mut base: Vec<f64>, side: usize, mut n: u64) -> (Vec<f64>, f64) {
    let mut result: Vec<f64> = (0..side * side).map(|i| if i % (side + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let (mut ln_result, mut ln_base) = (0.0, 0.0);
    while n > 0 {
        if n % 2 == 1 {
            result = matrix_product(&result, &base, side);
            ln_result += ln_base + normalize(&mut result);
        }
        base = matrix_product(&base, &base, side);
        ln_base = 2.0 * ln_base + normalize(&mut base);
        n /= 2;
    }
    (result, ln_result)
}

fn matrix_product(left: &[f64], right: &[f64], side: usize) -> Vec<f64> {
    let mut product = vec![0.0; side * side];
    for i in 0..side {
        for k in 0..side {
            let factor = left[i * side + k];
            for j in 0..side {
                product[i * side + j] += factor * right[k * side + j];
            }
        }
    }
    product
}

/// Divides by the largest element and returns its logarithm.
fn normalize(matrix: &mut [f64]) -> f64 {
    let largest = matrix.iter().fold(0.0_f64, |largest, v| largest.max(v.abs()));
    if largest <= 0.0 {
        return 0.0;
    }
    matrix.iter_mut().for_each(|v| *v /= largest);
    largest.ln()
}

/// P(D_n < x) by the first four terms of Pelz and Good's expansion, z = sqrt(n) x:
/// K0 + K1/n^(1/2) + K2/n + K3/n^(3/2). Used for n > 140 and n x^2 < 2.2.
fn pelz_good_cdf(n: f64, x: f64) -> f64 {
    let z = n.sqrt() * x;
    let (z2, z4, z6, z8) = (z.powi(2), z.powi(4), z.powi(6), z.powi(8));
    let (pi2, pi4, pi6) = (PI.powi(2), PI.powi(4), PI.powi(6));
    let (mut k0, mut k1, mut k2, mut k3) = (0.0, 0.0, 0.0, 0.0);
    let (mut k2_whole, mut k3_whole) = (0.0, 0.0);
    // Both sums are even in k: half-odd indices k + 1/2 with k >= 0 and whole k >= 1, doubled.
    for k in (0..20).map(f64::from) {
        let h2 = (k + 0.5).powi(2);
        let half = 2.0 * (-pi2 * h2 / (2.0 * z2)).exp();
        k0 += half;
        k1 += half * (pi2 * h2 - z2);
        k2 += half * (6.0 * z6 + 2.0 * z4 + pi2 * (2.0 * z4 - 5.0 * z2) * h2 + pi4 * (1.0 - 2.0 * z2) * h2 * h2);
        k3 += half
            * (pi6 * (5.0 - 30.0 * z2) * h2.powi(3)
                + pi4 * (-60.0 * z2 + 212.0 * z4) * h2.powi(2)
                + pi2 * (135.0 * z4 - 96.0 * z6) * h2
                - (30.0 * z6 + 90.0 * z8));
        let w2 = k * k;
        let whole = 2.0 * (-pi2 * w2 / (2.0 * z2)).exp();
        k2_whole += whole * pi2 * w2;
        k3_whole += whole * (3.0 * pi2 * w2 * z2 - pi4 * w2 * w2);
    }
    let root = (PI / 2.0).sqrt();
    let first = root / z * k0;
    let second = root / (6.0 * z4) * k1;
    let third = root * (k2 / (72.0 * z.powi(7)) - k2_whole / (36.0 * z.powi(3)));
    let fourth = root * (k3 / (6480.0 * z.powi(10)) + k3_whole / (108.0 * z6));
    (first + second / n.sqrt() + third / n + fourth / n.powf(1.5)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64, relative: f64) {
        assert!((left - right).abs() <= relative * right.abs(), "{left} != {right}");
    }

    #[test]
    fn the_limit_law_is_continuous_where_the_series_meet() {
        close(ln_limit_tail(1.0 - 1e-12), ln_limit_tail(1.0), 1e-10);
        // Smirnov's table, 1948: 95 % point 1.3581.
        close(ln_limit_tail(1.358_098_638_933_1), 0.05_f64.ln(), 1e-6);
    }

    #[test]
    fn durbin_matches_the_published_example() {
        // Marsaglia, Tsang, Wang 2003: P(D_10 < 0.274) = 0.6284796154565.
        close(durbin_cdf(10, 0.274), 0.628_479_615_456_5, 1e-11);
    }

    #[test]
    fn expansion_and_exact_matrix_agree_beyond_140() {
        for z in [0.5_f64, 0.8, 1.1, 1.45] {
            let n = 400_u64;
            let x = z / float(n).sqrt();
            close(pelz_good_cdf(float(n), x), durbin_cdf(n, x), 1e-5);
        }
    }

    #[test]
    fn the_one_sided_sum_and_the_matrix_agree_in_the_tail() {
        let (n, x) = (100, 0.2);
        close((-durbin_cdf(n, x)).ln_1p(), LN_2 + ln_one_sided_tail(n, x), 1e-9);
    }

    #[test]
    fn huge_samples_join_smoothly() {
        let x = 0.002;
        let summed = ln_one_sided_tail(SUMMED_N_MAX, x);
        let expanded = ln_one_sided_tail(SUMMED_N_MAX + 1, x);
        close(summed, expanded, 1e-5);
    }
}

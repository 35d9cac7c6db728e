//! What a comparison of this size could have seen: effects detectable with 80 % power at 5 %.
//!
//! Invariant: the answer depends on sample sizes only, never on the data, so it can be printed
//! next to "no drift found".

use super::{POWER, POWER_ALPHA, chi_squared_tail, float, gamma::ln_gamma_q};

/// The 95 % point of Kolmogorov's limit law.
const KOLMOGOROV_95: f64 = 1.358_098_638_933_1;
/// The 80 % point of the standard normal law.
const NORMAL_80: f64 = 0.841_621_233_572_914_4;

/// The 95 % point of the standard normal law.
const NORMAL_95: f64 = 1.644_853_626_951_472_7;
/// Degrees of freedom up to which the noncentral law is summed; beyond, its normal limit is used.
const MIXTURE_DF_MAX: u64 = 10_000;

/// The Kolmogorov distance found with at least 80 % power: (1.358 + 0.842 / 2) sqrt(1/n + 1/m).
///
/// At the point where the true distributions are furthest apart, the difference of the two
/// empirical ones is about normal with a standard deviation of at most sqrt(1/n + 1/m) / 2; it
/// must exceed the critical value. At most one; one when a side is empty.
#[must_use]
pub fn detectable_d(n: u64, m: u64) -> f64 {
    if n == 0 || m == 0 {
        return 1.0;
    }
    ((KOLMOGOROV_95 + NORMAL_80 / 2.0) * (1.0 / float(n) + 1.0 / float(m)).sqrt()).min(1.0)
}

/// The noncentrality at which a chi-squared test with so many degrees of freedom has 80 % power
/// at the 5 % level; 7.849 for one. Zero for none.
///
/// Divided by n + m and rooted it is a detectable Cramer's V; times 1/n + 1/m a detectable PSI.
#[must_use]
pub fn detectable_noncentrality(degrees_of_freedom: u64) -> f64 {
    if degrees_of_freedom == 0 {
        return 0.0;
    }
    if degrees_of_freedom > MIXTURE_DF_MAX {
        // Normal limit: (z_0.95 + z_0.80) sqrt(2 df).
        return (NORMAL_95 + NORMAL_80) * (2.0 * float(degrees_of_freedom)).sqrt();
    }
    let upper = 2.0 * float(degrees_of_freedom) + 50.0;
    let critical = bisect(upper, |x| chi_squared_tail(x, degrees_of_freedom).p() > POWER_ALPHA);
    bisect(4.0 * upper, |noncentrality| noncentral_tail(critical, degrees_of_freedom, noncentrality) < POWER)
}

/// The point in [0, high] where `is_below` turns from true to false.
fn bisect(high: f64, is_below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, high);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if is_below(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// P(X >= x) for the noncentral chi-squared law: a Poisson(noncentrality / 2) mixture of central
/// laws with df + 2j degrees of freedom, each from the one before by
/// Q(a + 1, y) = Q(a, y) + y^a exp(-y) / Gamma(a + 1).
fn noncentral_tail(x: f64, degrees_of_freedom: u64, noncentrality: f64) -> f64 {
    let (a, y, mean) = (float(degrees_of_freedom) / 2.0, x / 2.0, noncentrality / 2.0);
    let mut central = ln_gamma_q(a, y).exp();
    let mut step = (a * y.ln() - y - super::gamma::ln_gamma(a + 1.0)).exp();
    let mut weight = (-mean).exp();
    let (mut tail, mut covered, mut j) = (0.0, 0.0, 0.0);
    while covered < 1.0 - 1e-12 && j < 10_000.0 {
        tail += weight * central;
        covered += weight;
        central += step;
        j += 1.0;
        step *= y / (a + j);
        weight *= mean / j;
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_degree_of_freedom_is_the_normal_case() {
        // (1.959964 + 0.841621)^2, the other side of the two-sided test adding nothing visible.
        assert!((detectable_noncentrality(1) - 7.848_9).abs() < 1e-3);
        // R, package pwr: pwr.chisq.test(N = 100, df = 9, power = .8) gives w^2 N = 15.65.
        assert!((detectable_noncentrality(9) - 15.65).abs() < 0.05, "{}", detectable_noncentrality(9));
        assert_eq!(detectable_noncentrality(0), 0.0);
    }

    #[test]
    fn more_data_sees_smaller_effects() {
        assert!(detectable_d(100, 100) > detectable_d(1000, 100));
        assert_eq!(detectable_d(0, 5), 1.0);
    }
}

//! The sequential probability ratio test with a mixture (mSPRT) of a difference d of two means, with estimated
//! variance V = s1^2/n1 + s2^2/n2.
//!
//! Johari, Koomen, Pekelis and Walsh, Always valid inference, Operations Research 70, 2022; the mixture is Robbins'
//! (Ann. Math. Stat. 41, 1970). `tau` is the size of an effect worth detecting, in the unit of d: the test is fastest
//! about there and valid whatever it is. Valid as V is that of the sampling distribution: with very few events of a
//! rare kind it is not, which is what [`rare_event`](super::rare_event) is for.

use mlops_metrics::stats::normal_cdf;

/// ln of the ratio against d = 0, both directions: effects drawn from N(0, tau^2).
///
/// L = sqrt(V / (V + tau^2)) exp(d^2 tau^2 / (2 V (V + tau^2))). 0 when V or tau is not positive.
#[must_use]
pub fn ln_ratio(difference: f64, variance: f64, tau: f64) -> f64 {
    if !(variance > 0.0 && tau > 0.0 && difference.is_finite()) {
        return 0.0;
    }
    let square = tau * tau;
    let whole = variance + square;
    0.5 * (variance / whole).ln() + 0.5 * difference * difference * square / (variance * whole)
}

/// ln of the ratio against d <= 0: effects drawn from the upper half of N(0, tau^2).
///
/// 2 L Phi(d tau / sqrt(V (V + tau^2))), L as in [`ln_ratio`]: every component is a supermartingale for every d <= 0.
#[must_use]
pub fn ln_ratio_above(difference: f64, variance: f64, tau: f64) -> f64 {
    if !(variance > 0.0 && tau > 0.0 && difference.is_finite()) {
        return 0.0;
    }
    let z = difference * tau / (variance * (variance + tau * tau)).sqrt();
    ln_ratio(difference, variance, tau) + std::f64::consts::LN_2 + normal_cdf(z).ln()
}

/// Half the width of the always-valid interval of d: those values that [`ln_ratio`] does not refuse at `alpha`.
///
/// sqrt(V (V + tau^2) / tau^2 ln((V + tau^2) / (V alpha^2))). Infinite when V or tau is not positive.
#[must_use]
pub fn half_width(variance: f64, tau: f64, alpha: f64) -> f64 {
    if !(variance > 0.0 && tau > 0.0) {
        return f64::INFINITY;
    }
    let whole = variance + tau * tau;
    (variance * whole / (tau * tau) * (whole / (variance * alpha * alpha)).ln()).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// scipy 1.17.1 `quad` over the mixing density: log of the integral of norm.pdf(d, t, sqrt(V)) norm.pdf(t, 0, tau) dt
    /// less norm.logpdf(d, 0, sqrt(V)); over t > 0 with twice the density for the second.
    const INTEGRALS: [(f64, f64, f64, f64, f64); 4] = [
        (0.003, 1.000000e-06, 0.01, 2.1478852861338247, 2.839614086728192),
        (0.02, 4.000000e-04, 0.05, -0.5594662516746711, -0.060608166066637235),
        (-0.01, 1.000000e-05, 0.01, 3.346506909055361, -2.617797233154298),
        (0.0, 2.000000e-05, 0.003, -0.18578177821624167, -0.18578177821624153),
    ];

    #[test]
    fn ratios_are_the_integrals_over_the_mixture() {
        for (difference, variance, tau, both, above) in INTEGRALS {
            let found = (ln_ratio(difference, variance, tau), ln_ratio_above(difference, variance, tau));
            assert!((found.0 - both).abs() < 1e-9 && (found.1 - above).abs() < 1e-7, "{found:?} is not {both} {above}");
        }
    }

    #[test]
    fn without_variance_nothing_is_said() {
        assert_eq!((ln_ratio(1.0, 0.0, 0.1), ln_ratio_above(1.0, f64::NAN, 0.1)), (0.0, 0.0));
        assert!(half_width(0.0, 0.1, 0.05).is_infinite());
    }

    proptest! {
        #[test]
        fn the_interval_ends_where_the_test_refuses(variance in 1e-8..1.0_f64, tau in 1e-3..1.0_f64, alpha in 1e-4..0.5_f64) {
            let edge = half_width(variance, tau, alpha);
            prop_assert!((ln_ratio(edge, variance, tau) + alpha.ln()).abs() < 1e-6);
        }

        #[test]
        fn more_difference_is_more_evidence(d in -1.0..1.0_f64, more in 0.0..1.0_f64, variance in 1e-6..1.0_f64) {
            prop_assert!(ln_ratio_above(d + more, variance, 0.1) >= ln_ratio_above(d, variance, 0.1) - 1e-9);
        }
    }
}

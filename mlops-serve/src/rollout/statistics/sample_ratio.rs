//! Was traffic split as the weights say? A mismatch of sample ratios (SRM) means that what is compared is not alike, and
//! no conclusion holds (Fabijan et al., Diagnosing sample ratio mismatch, KDD 2019).

use mlops_metrics::{special::ln_gamma, stats::normal_cdf};

/// Weight of the weights in the mixture, in requests: how near a mismatch is looked for.
const CONCENTRATION: f64 = 10_000.0;

/// Pearson's chi-square of counts against shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquare {
    /// Sum of (observed - expected)^2 / expected.
    pub statistic: f64,
    /// Arms less one.
    pub degrees: u32,
    /// Chance of at least this much under the shares; for one look.
    pub p_value: f64,
}

/// Compares counts with shares, which are taken relative to their sum; arms with share 0 must be left out. Nothing for
/// fewer than two arms, without counts, or with a share that is not positive.
///
/// ```
/// use mlops_serve::rollout::statistics::sample_ratio::chi_square;
///
/// let ratio = chi_square(&[821_588, 815_482], &[0.5, 0.5]).expect("two arms with counts");
/// assert!(ratio.p_value < 2e-6, "half and half it is not");
/// ```
#[must_use]
pub fn chi_square(counts: &[u64], shares: &[f64]) -> Option<ChiSquare> {
    let (n, whole) = checked(counts, shares)?;
    let terms = counts.iter().zip(shares).map(|(&count, share)| {
        let expected = n * share / whole;
        (count as f64 - expected).powi(2) / expected
    });
    let (statistic, degrees) = (terms.sum(), u32::try_from(counts.len() - 1).ok()?);
    Some(ChiSquare { statistic, degrees, p_value: survival(statistic, degrees) })
}

/// ln of the e-value of counts against shares, to be looked at continuously: a Dirichlet mixture about the shares against
/// them, with alpha_i = 10,000 share_i (Lindon and Malek, Anytime-valid inference for multinomial count data, NeurIPS
/// 2022):
///
/// E = Gamma(A) / Gamma(A + n) prod Gamma(alpha_i + n_i) / Gamma(alpha_i) / share_i^n_i, A the sum of alpha_i. 0 where
/// [`chi_square`] has no answer.
#[must_use]
pub fn ln_e_value(counts: &[u64], shares: &[f64]) -> f64 {
    let Some((n, whole)) = checked(counts, shares) else { return 0.0 };
    let terms = counts.iter().zip(shares).map(|(&count, share)| {
        let (count, share) = (count as f64, share / whole);
        let prior = CONCENTRATION * share;
        ln_gamma(prior + count) - ln_gamma(prior) - count * share.ln()
    });
    ln_gamma(CONCENTRATION) - ln_gamma(CONCENTRATION + n) + terms.sum::<f64>()
}

fn checked(counts: &[u64], shares: &[f64]) -> Option<(f64, f64)> {
    let n: f64 = counts.iter().map(|&count| count as f64).sum();
    let whole: f64 = shares.iter().sum();
    let fits = counts.len() == shares.len() && counts.len() >= 2 && n > 0.0;
    (fits && whole.is_finite() && shares.iter().all(|&share| share > 0.0)).then_some((n, whole))
}

/// P(chi-square with k degrees > x), by the finite sums of Abramowitz and Stegun 26.4.4 and 26.4.5.
fn survival(x: f64, degrees: u32) -> f64 {
    let odd = degrees % 2 == 1;
    // Terms x^(i) / (1 3 5 ...) or x^(i) / (2 4 6 ...), each from the one before.
    let first = if odd { x.sqrt() } else { 1.0 };
    let steps = if odd { (1..degrees).step_by(2) } else { (0..degrees).step_by(2) };
    let mut term = first;
    let mut sum = 0.0;
    for at in steps {
        if at > u32::from(odd) {
            term *= x / f64::from(at);
        }
        sum += term;
    }
    if !odd {
        return ((-0.5 * x).exp() * sum).min(1.0);
    }
    let density = (-0.5 * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (2.0 * normal_cdf(-x.sqrt()) + 2.0 * density * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use mlops_core::testing::SplitMix64;

    use super::*;

    /// scipy 1.17.1 `chisquare(counts, n * shares)` and `gammaln`.
    #[test]
    fn values_are_those_of_scipy() {
        for (counts, shares, statistic, p_value, ln_e) in [
            (vec![9100, 900], vec![0.9, 0.1], 11.11111111111111, 0.0008581206663936758, 2.49626846681349),
            (vec![5100, 4900], vec![0.5, 0.5], 4.0, 0.04550026389635857, 0.6534805811825208),
            (vec![3300, 3400, 3150], vec![1.0, 1.0, 1.0], 9.644670050761423, 0.008047972960729472, 1.7105821318546077),
            (
                vec![480, 250, 260, 130],
                vec![0.4, 0.2, 0.2, 0.1],
                1.3839285714285714,
                0.7093062500038616,
                -0.09248956736337277,
            ),
            (
                vec![100, 120, 90, 110, 95],
                vec![0.2, 0.2, 0.2, 0.2, 0.2],
                5.631067961165049,
                0.22844647139539528,
                0.03739185361609998,
            ),
        ] {
            let found = chi_square(&counts, &shares).unwrap();
            assert!((found.statistic - statistic).abs() < 1e-9 * statistic.max(1.0), "{found:?}");
            assert!((found.p_value - p_value).abs() < 1e-7 * p_value, "{found:?} is not {p_value}");
            let found = ln_e_value(&counts, &shares);
            assert!((found - ln_e).abs() < 1e-6, "{found} is not {ln_e}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_not() {
        assert_eq!(chi_square(&[5], &[1.0]), None);
        assert_eq!(chi_square(&[0, 0], &[0.5, 0.5]), None);
        assert_eq!(chi_square(&[1, 2], &[1.0, 0.0]), None);
        assert_eq!(ln_e_value(&[1, 2, 3], &[0.5, 0.5]), 0.0);
    }

    /// 300 fair splits of 20,000 requests, looked at every 100: a mismatch is claimed in none at 0.001, in few at 0.05; a
    /// split of 55 to 45 is always found.
    #[test]
    fn fair_splits_pass_however_often_one_looks_and_unfair_ones_do_not() {
        let data = SplitMix64::new(3);
        let claims = |share: f64, alpha: f64| {
            let claimed = (0..300_u64).filter(|run| {
                let mut counts = [0_u64; 2];
                (0..20_000_u64).any(|i| {
                    counts[usize::from(data.uniform(run * 20_000 + i) >= share)] += 1;
                    i % 100 == 99 && ln_e_value(&counts, &[0.5, 0.5]) >= -f64::ln(alpha)
                })
            });
            claimed.count()
        };
        assert_eq!((claims(0.5, 0.001), claims(0.55, 0.001)), (0, 300));
        assert!(claims(0.5, 0.05) <= 15);
    }
}

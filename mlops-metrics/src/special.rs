//! Special functions and quantiles behind intervals.
//!
//! Sources: NIST DLMF 5.11.1 (Stirling's series), 8.7.1 and 8.9.2 (series of P and continued fraction
//! of Q), 8.17.22 (continued fraction of the incomplete beta function), Abramowitz and Stegun 26.2.23 and 26.7.5.

use crate::stats::normal_cdf;

/// Terms before a series or fraction is taken as converged; near `x = a` about `6 sqrt(a)` are
/// needed, so this serves every `a` up to 1e9.
const TERMS_MAX: usize = 200_000;
/// Degrees of freedom beyond which Student's quantile is taken from its normal expansion, whose
/// relative error is then below 1e-9.
const NORMAL_FROM_DF: f64 = 1e5;

/// ln Gamma(x) for x > 0.
///
/// Stirling's series after shifting x above 12, where the first term left out is below 2e-18.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 12.0 {
        product *= x;
        x += 1.0;
    }
    // B_2k / (2k (2k - 1)) for k = 1..7.
    const COEFFICIENTS: [f64; 7] =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0, 1.0 / 156.0];
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = COEFFICIENTS.iter().rev().fold(0.0, |sum, c| sum * square + c) * inverse;
    let half_ln_two_pi = 0.918_938_533_204_672_8;
    (x - 0.5) * x.ln() - x + half_ln_two_pi + series - f64::ln(product)
}

/// ln(1 - exp(y)) for y <= 0, without cancellation at either end.
#[must_use]
pub fn ln_one_minus_exp(y: f64) -> f64 {
    if y >= 0.0 {
        f64::NEG_INFINITY
    } else if y > -std::f64::consts::LN_2 {
        (-y.exp_m1()).ln()
    } else {
        (-y.exp()).ln_1p()
    }
}

/// ln Q(a, x), the regularised upper incomplete gamma function, for a > 0 and x >= 0; its relative error
/// stays near machine precision however small Q is. The series and the fraction are evaluated by
/// Lentz's method (Applied Optics 15, 1976).
#[must_use]
pub fn ln_gamma_q(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x.is_infinite() {
        return f64::NEG_INFINITY;
    }
    let ln_front = a * x.ln() - x - ln_gamma(a);
    if x < a + 1.0 {
        ln_one_minus_exp((ln_front + lower_series(a, x).ln()).min(0.0))
    } else {
        ln_front + upper_fraction(a, x).ln()
    }
}

/// P(a, x) without its front factor: sum of x^k / (a (a+1) ... (a+k)).
fn lower_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut divisor) = (1.0 / a, 1.0 / a, a);
    for _ in 0..TERMS_MAX {
        divisor += 1.0;
        term *= x / divisor;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

/// Q(a, x) without its front factor, as a continued fraction.
fn upper_fraction(a: f64, x: f64) -> f64 {
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / tiny;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for i in (1..TERMS_MAX).map(|i| i as f64) {
        let numerator = -i * (i - a);
        b += 2.0;
        let next_d = numerator * d + b;
        d = 1.0 / if next_d.abs() < tiny { tiny } else { next_d };
        let next_c = b + numerator / c;
        c = if next_c.abs() < tiny { tiny } else { next_c };
        let delta = c * d;
        fraction *= delta;
        if (delta - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}

/// The continued fraction of I_x(a, b) by Lentz's method; its front factor is
/// x^a (1-x)^b / (a B(a, b)). Converges fast for x < (a + 1) / (a + b + 2).
#[must_use]
pub fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let tiny = 1e-300;
    let away = |value: f64| if value.abs() < tiny { tiny } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for step in 1..TERMS_MAX {
        #[allow(clippy::cast_precision_loss, reason = "at most TERMS_MAX")]
        let m = step as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let delta = d * c;
        value *= delta;
        if (delta - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

/// I_x(a, b), the regularized incomplete beta function, for a, b > 0 and x from 0 to 1.
///
/// ```
/// // I_x(2, 3) = 6x^2 - 8x^3 + 3x^4
/// assert!((mlops_metrics::special::incomplete_beta(2.0, 3.0, 0.5) - 0.6875).abs() < 1e-14);
/// ```
#[must_use]
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        (front * beta_fraction(a, b, x) / a).min(1.0)
    } else {
        (1.0 - front * beta_fraction(b, a, 1.0 - x) / b).max(0.0)
    }
}

/// The x at which I_x(a, b) reaches `p`, by bisection.
#[must_use]
pub fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if incomplete_beta(a, b, middle) < p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The z at which the standard normal distribution reaches `p`; infinite at 0 and 1.
///
/// ```
/// assert!((mlops_metrics::special::normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-12);
/// ```
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let t = (-2.0 * p.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let mut z = above / below - t;
    // Halley's steps: each triples the number of right digits, of which there are three.
    for _ in 0..3 {
        let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let step = (normal_cdf(z) - p) / density;
        z -= step / (1.0 + 0.5 * z * step);
    }
    z
}

/// The t at which Student's distribution with `df` > 0 degrees of freedom reaches `p`.
///
/// ```
/// // scipy.stats.t.ppf(0.975, 10)
/// assert!((mlops_metrics::special::student_quantile(0.975, 10.0) - 2.228_138_851_986_274).abs() < 1e-10);
/// ```
#[must_use]
pub fn student_quantile(p: f64, df: f64) -> f64 {
    if p < 0.5 {
        return -student_quantile(1.0 - p, df);
    }
    if df > NORMAL_FROM_DF {
        let z = normal_quantile(p);
        return z + z * (z * z + 1.0) / (4.0 * df);
    }
    // T^2 / (df + T^2) follows the beta law with 1/2 and df/2.
    let y = beta_quantile(2.0 * p - 1.0, 0.5, df / 2.0);
    (df * y / (1.0 - y)).sqrt()
}

#[cfg(test)]
#[allow(clippy::unreadable_literal, clippy::excessive_precision, reason = "printed by another program")]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_scipy() {
        // scipy 1.17.1: norm.ppf, t.ppf, beta.ppf.
        for (p, z) in [(1e-10, -6.361340902404056), (0.3, -0.5244005127080409), (0.999, 3.090232306167813)] {
            assert!((normal_quantile(p) - z).abs() < 1e-11, "{p}");
        }
        for (p, df, t) in [
            (0.975, 1.0, 12.706204736174694),
            (0.95, 4.5, 2.065575888878524),
            (0.995, 1e3, 2.580754698065951),
            (0.975, 2e5, 1.959975845966768),
        ] {
            assert!((student_quantile(p, df) / t - 1.0).abs() < 1e-9, "{p} {df} {}", student_quantile(p, df));
        }
        for (p, a, b, x) in [(0.025, 47.0, 74.0, 0.30385670055360754), (0.975, 1.0, 1000.0, 0.003682083896865671)] {
            assert!((beta_quantile(p, a, b) / x - 1.0).abs() < 1e-8, "{p} {a} {b} {}", beta_quantile(p, a, b));
        }
    }

    #[test]
    fn ends_are_ends() {
        assert_eq!((incomplete_beta(2.0, 3.0, 0.0), incomplete_beta(2.0, 3.0, 1.0)), (0.0, 1.0));
        assert_eq!(normal_quantile(0.5).abs(), normal_quantile(0.5).abs().min(1e-15));
        assert!(normal_quantile(0.0).is_infinite() && normal_quantile(1.0).is_infinite());
    }
}

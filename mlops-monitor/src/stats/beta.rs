//! The tail of Student's t law in log space, by the incomplete beta function.
//!
//! Source: NIST DLMF 5.11.13 (ratio of gamma functions).

use mlops_metrics::special::beta_fraction as fraction;

use super::{
    Tail,
    gamma::{ln_gamma, ln_one_minus_exp},
};

/// P(|T| >= |t|) for `df` > 0 degrees of freedom, which need not be whole.
///
/// It is I_x(df/2, 1/2) with x = df / (df + t^2).
///
/// ```
/// use mlops_monitor::stats::student_tail;
///
/// // R: 2 * pt(-2.0, 10)
/// assert!((student_tail(2.0, 10.0).p() - 0.073_388_034_770_740_37).abs() < 1e-14);
/// ```
#[must_use]
pub fn student_tail(t: f64, df: f64) -> Tail {
    let ratio = t * t / df;
    if ratio.is_nan() {
        return Tail::ONE;
    }
    if ratio.is_infinite() {
        return Tail::from_ln(f64::NEG_INFINITY);
    }
    // With x = 1 / (1 + ratio), ln x and ln (1 - x) without cancellation.
    let (ln_x, ln_y) = (-ratio.ln_1p(), if ratio > 0.0 { -(1.0 / ratio).ln_1p() } else { f64::NEG_INFINITY });
    let (a, b) = (df / 2.0, 0.5);
    let x = ln_x.exp();
    let ln_front = a * ln_x + b * ln_y + ln_gamma_half_step(a) - std::f64::consts::PI.sqrt().ln();
    if x < (a + 1.0) / (a + b + 2.0) {
        Tail::from_ln(ln_front - a.ln() + fraction(a, b, x).ln())
    } else if ln_y == f64::NEG_INFINITY {
        Tail::ONE
    } else {
        Tail::from_ln(ln_one_minus_exp((ln_front - b.ln() + fraction(b, a, ln_y.exp()).ln()).min(0.0)))
    }
}

/// ln Gamma(a + 1/2) - ln Gamma(a).
fn ln_gamma_half_step(a: f64) -> f64 {
    if a < 40.0 {
        return ln_gamma(a + 0.5) - ln_gamma(a);
    }
    let inverse = 1.0 / a;
    let square = inverse * inverse;
    0.5 * a.ln() - inverse * (1.0 / 8.0 - square * (1.0 / 192.0 - square * (1.0 / 640.0 - square * 17.0 / 14_336.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_two_degrees_of_freedom_have_closed_forms() {
        for t in [1e-8, 0.1, 1.0, 3.0, 50.0, 1e9] {
            let cauchy =
                (1.0 - 2.0 / std::f64::consts::PI * f64::atan(t)).max(2.0 / std::f64::consts::PI * (1.0 / t).atan());
            assert!((student_tail(t, 1.0).p() / cauchy - 1.0).abs() < 1e-11, "{t}");
            let root = (2.0 + t * t).sqrt();
            let two = 2.0 / (root * (root + t));
            assert!((student_tail(t, 2.0).p() / two - 1.0).abs() < 1e-11, "{t}");
        }
    }

    #[test]
    fn many_degrees_of_freedom_are_nearly_normal() {
        let normal = super::super::chi_squared_tail(9.0, 1);
        assert!((student_tail(3.0, 1e9).ln() - normal.ln()).abs() < 1e-7);
        assert!(student_tail(100.0, 1e6).log10() < -2_000.0);
    }
}

//! Tests of counted levels beside Pearson's: the likelihood ratio G, goodness of fit to a given law, Fisher's exact test.

use super::{Tail, chi_squared_tail, contingency::cross_difference, float, total_of};

/// Relative slack within which two tables count as equally probable.
const SAME_PROBABILITY: f64 = 1e-7;

/// A statistic that follows the chi-squared law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LikelihoodRatio {
    /// The statistic.
    pub statistic: f64,
    /// Levels that count, minus one.
    pub degrees_of_freedom: u64,
    /// Upper tail of the chi-squared law.
    pub tail: Tail,
}

impl LikelihoodRatio {
    fn new(statistic: f64, levels: usize) -> Self {
        let degrees_of_freedom = super::count_of(levels).saturating_sub(1);
        Self { statistic, degrees_of_freedom, tail: chi_squared_tail(statistic, degrees_of_freedom) }
    }
}

/// G = 2 sum O ln(O / E) over the 2 x k table of two samples (Wilks' theorem); `None` when a row is all zero.
///
/// Levels that occur on neither side are ignored.
#[must_use]
pub fn g_test(reference: &[u64], current: &[u64]) -> Option<LikelihoodRatio> {
    let totals = (total_of(reference), total_of(current));
    let (n, m) = (float(totals.0), float(totals.1));
    if n == 0.0 || m == 0.0 {
        return None;
    }
    let (mut g, mut levels) = (0.0, 0);
    for (&a, &b) in reference.iter().zip(current).filter(|(a, b)| **a > 0 || **b > 0) {
        levels += 1;
        // n and m times O / E - 1, whose logarithm loses nothing when it is near zero.
        let distance = cross_difference(a, b, totals.0, totals.1);
        let higher = u128::from(a) * u128::from(totals.1) >= u128::from(b) * u128::from(totals.0);
        let (a, b) = (float(a), float(b));
        let excess = if higher { distance } else { -distance } / (a + b);
        let term = |count: f64, ratio: f64| if count > 0.0 { count * ratio.ln_1p() } else { 0.0 };
        g += term(a, excess / n) + term(b, -excess / m);
    }
    Some(LikelihoodRatio::new((2.0 * g).max(0.0), levels))
}

/// Pearson's goodness of fit of the current counts to the shares of the reference, taken as the true law; `None` when a
/// side is all zero.
///
/// The reference is a sample too, so this rejects too often (up to twice the statistic when it is as small as the
/// current sample): it is here to reproduce peers that do so. [`super::chi_squared`] is the test to use. A level that
/// the reference lacks makes the statistic infinite.
#[must_use]
pub fn goodness_of_fit(reference: &[u64], current: &[u64]) -> Option<LikelihoodRatio> {
    let (n, m) = (float(total_of(reference)), float(total_of(current)));
    if n == 0.0 || m == 0.0 {
        return None;
    }
    let piece = |(a, b): (&u64, &u64)| {
        let expected = float(*a) / n * m;
        let deviation = float(*b) - expected;
        if deviation == 0.0 { 0.0 } else { deviation * deviation / expected }
    };
    let levels = reference.iter().zip(current).filter(|(a, b)| **a > 0 || **b > 0);
    Some(LikelihoodRatio::new(levels.clone().map(piece).sum(), levels.count()))
}

/// Fisher's exact test of a 2 x 2 table, two-sided: the probability, with all totals given, of tables that are no more
/// probable than the one observed. `reference` and `current` are (with, without) a property.
///
/// ```
/// use mlops_monitor::stats::fisher;
///
/// // R: fisher.test(matrix(c(3, 1, 1, 3), 2))$p.value
/// assert!((fisher((3, 1), (1, 3)).p() - 34.0 / 70.0).abs() < 1e-12);
/// ```
#[must_use]
pub fn fisher(reference: (u64, u64), current: (u64, u64)) -> Tail {
    let (n, m) = (reference.0.saturating_add(reference.1), current.0.saturating_add(current.1));
    let with = reference.0.saturating_add(current.0);
    let (low, high) = (with.saturating_sub(m), with.min(n));
    // ln P(x + 1) / P(x). Ratios from the observed table outward keep every digit; differences of factorials would not.
    let observed = reference.0;
    let up = |x: u64| {
        let without = float((m + x + 1).saturating_sub(with));
        (float(n - x) / float(x + 1)).ln() + (float(with - x) / without).ln()
    };
    let mode = {
        // Floor of (n + 1)(with + 1) / (n + m + 2).
        let numerator = u128::from(n + 1) * u128::from(with + 1);
        u64::try_from(numerator / u128::from(n + m + 2)).unwrap_or(high).clamp(low, high)
    };
    let (mut extreme, mut others) = (Sum::new(), Sum::new());
    let mut add = |ln: f64| if ln <= SAME_PROBABILITY { extreme.add(ln) } else { others.add(ln) };
    add(0.0);
    let mut ln = 0.0;
    for x in observed..high {
        ln += up(x);
        add(ln);
        if x > mode && ln < FAR {
            break;
        }
    }
    ln = 0.0;
    for x in (low..observed).rev() {
        ln -= up(x);
        add(ln);
        if x < mode && ln < FAR {
            break;
        }
    }
    Tail::from_ln(extreme.ln() - others.join(&extreme))
}

/// Tables less probable than the observed one by this factor add nothing.
const FAR: f64 = -60.0;

/// A sum of exponentials of any size.
#[derive(Debug, Clone, Copy)]
struct Sum {
    most: f64,
    scaled: f64,
}

impl Sum {
    fn new() -> Self {
        Self { most: f64::NEG_INFINITY, scaled: 0.0 }
    }

    fn add(&mut self, ln: f64) {
        if ln > self.most {
            self.scaled = self.scaled * (self.most - ln).exp() + 1.0;
            self.most = ln;
        } else {
            self.scaled += (ln - self.most).exp();
        }
    }

    fn ln(&self) -> f64 {
        self.most + self.scaled.ln()
    }

    /// The logarithm of both sums together.
    fn join(&self, other: &Self) -> f64 {
        if self.scaled == 0.0 {
            return other.ln();
        }
        let (a, b) = (self.ln().max(other.ln()), self.ln().min(other.ln()));
        a + (b - a).exp().ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::gamma::ln_factorial, *};

    #[test]
    fn fisher_matches_tables_done_by_hand() {
        // The lady tasting tea, and a table with one order only.
        assert!((fisher((4, 0), (0, 4)).p() - 2.0 / 70.0).abs() < 1e-14);
        assert_eq!(fisher((0, 5), (0, 7)), Tail::ONE);
        assert_eq!(fisher((0, 0), (3, 7)), Tail::ONE);
        assert!((fisher((10, 10), (10, 10)).p() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn fisher_goes_beyond_doubles() {
        let tail = fisher((5_000, 0), (0, 5_000));
        let all = ln_factorial(10_000) - 2.0 * ln_factorial(5_000);
        assert!((tail.ln() - (2_f64.ln() - all)).abs() < 1e-6 * all, "{}", tail.ln());
        assert_eq!(tail.p(), 0.0);
    }

    #[test]
    fn g_of_equal_shares_is_zero() {
        let test = g_test(&[10, 20, 0], &[100, 200, 0]).unwrap();
        assert_eq!((test.statistic, test.degrees_of_freedom, test.tail), (0.0, 1, Tail::ONE));
        assert!(goodness_of_fit(&[5, 0], &[5, 1]).unwrap().statistic.is_infinite());
    }
}

//! Tests of location: Student's and Welch's t, and Mann and Whitney's U.

use super::{Tail, chi_squared_tail, count_of, float, student_tail};

/// Largest sample on either side for which the law of U is counted out.
pub const MANN_WHITNEY_EXACT_MAX: u64 = 60;

/// Mean and variance of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// Values.
    pub n: u64,
    /// Their mean.
    pub mean: f64,
    /// Their variance with n - 1 in the denominator; zero for one value.
    pub variance: f64,
    /// What rounding took from the mean.
    mean_rest: f64,
}

/// Moments of a sample, in two passes with compensated sums; `None` when it is empty.
#[must_use]
pub fn moments(values: &[f64]) -> Option<Moments> {
    let n = count_of(values.len());
    if n == 0 {
        return None;
    }
    let mean = sum(values.iter().copied()) / float(n);
    let mean_rest = sum(values.iter().map(|value| value - mean)) / float(n);
    let squares = sum(values.iter().map(|value| (value - mean) * (value - mean)));
    let variance = match n {
        1 => 0.0,
        // Beyond the range of doubles it is infinite, not unknown.
        _ if squares.is_infinite() => f64::INFINITY,
        _ => ((squares - mean_rest * mean_rest * float(n)) / float(n - 1)).max(0.0),
    };
    Some(Moments { n, mean, variance, mean_rest })
}

/// Neumaier's compensated sum (ZAMM 54, 1974).
pub(crate) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    for value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    if lost.is_finite() { sum + lost } else { sum }
}

/// Outcome of [`student_t`] and [`welch_t`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TTest {
    /// Difference of the means, reference minus current, over its standard error.
    pub t: f64,
    /// Degrees of freedom.
    pub degrees_of_freedom: f64,
    /// Two-sided tail.
    pub tail: Tail,
}

/// The difference of the means, with the digits that each lost to rounding.
fn difference(reference: &Moments, current: &Moments) -> f64 {
    (reference.mean - current.mean) + (reference.mean_rest - current.mean_rest)
}

fn t_test(difference: f64, error: f64, degrees_of_freedom: f64) -> Option<TTest> {
    let t = difference / error;
    let usable = t.is_finite() && degrees_of_freedom.is_finite();
    usable.then(|| TTest { t, degrees_of_freedom, tail: student_tail(t, degrees_of_freedom) })
}

/// Student's t with a pooled variance; `None` when it does not exist: fewer than three values, or no spread.
#[must_use]
pub fn student_t(reference: &Moments, current: &Moments) -> Option<TTest> {
    let (n, m) = (float(reference.n), float(current.n));
    let df = n + m - 2.0;
    let pooled = ((n - 1.0) * reference.variance + (m - 1.0) * current.variance) / df;
    if df < 1.0 || pooled <= 0.0 {
        return None;
    }
    t_test(difference(reference, current), (pooled * (1.0 / n + 1.0 / m)).sqrt(), df)
}

/// Welch's t, which lets the variances differ, with Welch and Satterthwaite's degrees of freedom (Biometrika 34, 1947);
/// `None` when it does not exist: a side with one value, or no spread on both.
#[must_use]
pub fn welch_t(reference: &Moments, current: &Moments) -> Option<TTest> {
    if reference.n < 2 || current.n < 2 {
        return None;
    }
    let (n, m) = (float(reference.n), float(current.n));
    let (a, b) = (reference.variance / n, current.variance / m);
    if a + b <= 0.0 {
        return None;
    }
    let df = (a + b) * (a + b) / (a * a / (n - 1.0) + b * b / (m - 1.0));
    t_test(difference(reference, current), (a + b).sqrt(), df)
}

/// How the ranks of two samples lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// U of the reference: pairs in which its value is the higher one, ties counting half.
    pub u: f64,
    /// Values of the reference.
    pub n: u64,
    /// Values of the current sample.
    pub m: u64,
    /// Sum of t^3 - t over groups of t equal values; zero without ties.
    pub ties: f64,
}

/// Ranks two ascending samples of finite numbers; `None` when one is empty.
#[must_use]
pub fn mann_whitney(reference: &[f64], current: &[f64]) -> Option<MannWhitney> {
    let (n, m) = (count_of(reference.len()), count_of(current.len()));
    if n == 0 || m == 0 {
        return None;
    }
    let (mut below, mut twice_u, mut ties) = (0_u64, 0_u128, 0.0);
    for group in super::merge::Groups::new(reference, current) {
        // Each reference value beats the current ones below it and ties with its group.
        twice_u += u128::from(group.reference) * u128::from(2 * below + group.current);
        below += group.current;
        let size = float(group.reference + group.current);
        ties += size * (size * size - 1.0);
    }
    #[allow(clippy::cast_precision_loss, reason = "the exact integer is rounded once")]
    let u = twice_u as f64 / 2.0;
    Some(MannWhitney { u, n, m, ties })
}

impl MannWhitney {
    /// Share of pairs in which the reference is higher, ties counting half: 1/2 when neither side tends to be higher.
    #[must_use]
    pub fn probability_of_superiority(&self) -> f64 {
        self.u / (float(self.n) * float(self.m))
    }

    /// Two-sided tail by the normal limit, corrected for ties and continuity; `None` when all values are equal.
    #[must_use]
    pub fn limit_tail(&self) -> Option<Tail> {
        let (n, m) = (float(self.n), float(self.m));
        let total = n + m;
        let variance = n * m / 12.0 * ((total + 1.0) - self.ties / (total * (total - 1.0)));
        let excess = (self.u - n * m / 2.0).abs() - 0.5;
        if variance <= 0.0 {
            return None;
        }
        Some(if excess <= 0.0 { Tail::ONE } else { chi_squared_tail(excess * excess / variance, 1) })
    }

    /// Two-sided tail by counting all orders; `None` with ties, and beyond [`MANN_WHITNEY_EXACT_MAX`] values on a side.
    #[must_use]
    pub fn exact_tail(&self) -> Option<Tail> {
        if self.ties > 0.0 || self.n.max(self.m) > MANN_WHITNEY_EXACT_MAX {
            return None;
        }
        let counts = orders(self.n, self.m);
        let extreme = self.u.max(float(self.n) * float(self.m) - self.u);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 0 to n m")]
        let from = extreme as usize;
        let upper: u128 = counts.iter().skip(from).sum();
        let all: u128 = counts.iter().sum();
        #[allow(clippy::cast_precision_loss, reason = "the exact integers are rounded once")]
        let p = 2.0 * (upper as f64 / all as f64);
        Some(Tail::from_ln(p.ln()))
    }
}

/// In how many orders of n and m values U is 0, 1, ..., nm: the coefficients of the Gaussian binomial
/// prod (1 - q^(m+i)) / (1 - q^i), i = 1..n. They are below 2^128, so arithmetic modulo 2^128 is exact.
fn orders(n: u64, m: u64) -> Vec<u128> {
    let length = usize::try_from(n * m + 1).unwrap_or(usize::MAX);
    let mut counts = vec![0_u128; length];
    if let Some(first) = counts.first_mut() {
        *first = 1;
    }
    for i in 1..=n {
        let up = usize::try_from(m + i).unwrap_or(usize::MAX);
        for at in (up..length).rev() {
            let lower = counts.get(at - up).copied().unwrap_or_default();
            if let Some(count) = counts.get_mut(at) {
                *count = count.wrapping_sub(lower);
            }
        }
        let step = usize::try_from(i).unwrap_or(usize::MAX);
        for at in step..length {
            let lower = counts.get(at - step).copied().unwrap_or_default();
            if let Some(count) = counts.get_mut(at) {
                *count = count.wrapping_add(lower);
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_add_up_to_the_binomial() {
        assert_eq!(orders(2, 2), [1, 1, 2, 1, 1]);
        assert_eq!(orders(3, 5).iter().sum::<u128>(), 56);
        // C(120, 60).
        assert_eq!(orders(60, 60).iter().sum::<u128>(), 96_614_908_840_363_322_603_893_139_521_372_656);
    }

    #[test]
    fn ties_count_half() {
        let found = mann_whitney(&[1.0, 2.0, 2.0], &[2.0, 3.0]).unwrap();
        assert_eq!((found.u, found.ties), (1.0, 24.0));
        assert!(found.exact_tail().is_none());
        assert!(mann_whitney(&[5.0; 4], &[5.0; 9]).unwrap().limit_tail().is_none());
    }

    #[test]
    fn constant_samples_have_no_t() {
        let same = moments(&[3.0, 3.0, 3.0]).unwrap();
        assert!(student_t(&same, &same).is_none() && welch_t(&same, &same).is_none());
        assert!(moments(&[]).is_none());
    }

    #[test]
    fn a_large_offset_keeps_the_variance() {
        let values: Vec<f64> = (0..1_000).map(|i| 1e9 + f64::from(i % 2)).collect();
        let found = moments(&values).unwrap();
        assert!((found.variance - 250.0 / 999.0).abs() < 1e-12, "{}", found.variance);
        assert_eq!(moments(&[1e300, -1e300]).unwrap().variance, f64::INFINITY);
    }

    #[test]
    fn means_an_ulp_apart_keep_their_difference() {
        let ulp = f64::EPSILON;
        let a = [1.0, 1.0 + ulp, 1.0 + 2.0 * ulp];
        let b = [1.0 + ulp, 1.0 + 2.0 * ulp, 1.0 + 2.0 * ulp];
        // (-2/3) / sqrt((1 + 1/3) / 2 * 2 / 3) in units of the last place.
        let t = student_t(&moments(&a).unwrap(), &moments(&b).unwrap()).unwrap().t;
        assert!((t + 1.0).abs() < 1e-9, "{t}");
    }
}

//! Intervals that cover a true value with a stated confidence, and the formula behind each.
//!
//! Invariant: `low <= high`, both finite, and the method is named in the result. Counts come in as
//! numbers of trials; nothing here knows of metrics.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::special::{beta_quantile, normal_quantile, student_quantile};

/// Where an unknown true value lies with a stated confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Confidence, between 0 and 1.
    pub level: f64,
    /// The formula.
    pub method: IntervalMethod,
}

/// How an interval was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IntervalMethod {
    /// Wilson's score interval of a proportion (JASA 22, 1927).
    Wilson,
    /// Clopper and Pearson's exact interval of a proportion (Biometrika 26, 1934); never too narrow.
    ClopperPearson,
    /// Newcombe's hybrid of two Wilson intervals for a difference (Statistics in Medicine 17,
    /// 1998, method 10).
    Newcombe,
    /// Recovered from the intervals of the parts (MOVER; Zou and Donner, Statistics in Medicine
    /// 27, 2008).
    Mover,
    /// Katz's interval of a ratio of proportions on the log scale (Biometrics 34, 1978).
    KatzLog,
    /// DeLong's standard error, symmetric about the area.
    DeLong,
    /// DeLong's standard error on the logit scale; stays within 0 and 1.
    DeLongLogit,
    /// Student's t of a mean.
    StudentT,
    /// Delta method on Fisher's z scale, for correlations.
    DeltaFisherZ,
    /// Quantiles of resampled values.
    BootstrapPercentile,
    /// Resampled values mirrored at the estimate.
    BootstrapBasic,
    /// Bias-corrected and accelerated bootstrap (Efron, JASA 82, 1987).
    BootstrapBca,
}

impl Interval {
    pub(crate) fn new(low: f64, high: f64, level: f64, method: IntervalMethod) -> Self {
        Self { low, high, level, method }
    }

    /// Whether it covers a value.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// The interval of an increasing function of the value.
    #[must_use]
    pub fn map(self, increasing: impl Fn(f64) -> f64) -> Self {
        Self { low: increasing(self.low), high: increasing(self.high), ..self }
    }
}

/// Checks that a confidence lies strictly between 0 and 1.
///
/// # Errors
/// `InvalidArgument` otherwise.
pub fn check_level(level: f64) -> Result<()> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("confidence level must be above 0 and below 1, found {level}")))
}

/// The standard normal deviate of a two-sided level.
pub(crate) fn deviate(level: f64) -> f64 {
    normal_quantile(0.5 + 0.5 * level)
}

fn check_counts(successes: u64, trials: u64, level: f64) -> Result<()> {
    check_level(level)?;
    if trials == 0 {
        return Err(Error::failed_precondition("a proportion of no trials has no interval"));
    }
    if successes > trials {
        return Err(Error::invalid_argument(format!(
            "a proportion needs successes <= trials, found {successes} of {trials}"
        )));
    }
    Ok(())
}

/// Wilson's interval of `successes` among `trials`.
///
/// ```
/// let interval = mlops_metrics::wilson(47, 120, 0.95)?;
/// assert!((interval.low - 0.308_991_969_7).abs() < 1e-9);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when there are more successes than trials or the level is not between 0 and
/// 1; `FailedPrecondition` without trials.
pub fn wilson(successes: u64, trials: u64, level: f64) -> Result<Interval> {
    check_counts(successes, trials, level)?;
    let (k, n) = (successes as f64, trials as f64);
    let z = deviate(level);
    let (p, z2n) = (k / n, z * z / n);
    let center = p + z2n / 2.0;
    let half = z * (p * (1.0 - p) / n + z2n / (4.0 * n)).sqrt();
    let at = |edge: f64| (edge / (1.0 + z2n)).clamp(0.0, 1.0);
    // At the ends the formula is exact, its rounding is not.
    let low = if successes == 0 { 0.0 } else { at(center - half) };
    let high = if successes == trials { 1.0 } else { at(center + half) };
    Ok(Interval::new(low, high, level, IntervalMethod::Wilson))
}

/// Clopper and Pearson's interval of `successes` among `trials`, by quantiles of the beta law.
///
/// # Errors
/// As [`wilson`].
pub fn clopper_pearson(successes: u64, trials: u64, level: f64) -> Result<Interval> {
    check_counts(successes, trials, level)?;
    let (k, n) = (successes as f64, trials as f64);
    let tail = 0.5 * (1.0 - level);
    let low = if successes == 0 { 0.0 } else { beta_quantile(tail, k, n - k + 1.0) };
    let high = if successes == trials { 1.0 } else { beta_quantile(1.0 - tail, k + 1.0, n - k) };
    Ok(Interval::new(low, high, level, IntervalMethod::ClopperPearson))
}

/// Newcombe's interval of the difference of two independent proportions, first minus second, each
/// as (successes, trials).
///
/// ```
/// // Newcombe (1998), table II (a): 56/70 - 48/80.
/// let interval = mlops_metrics::newcombe((56, 70), (48, 80), 0.95)?;
/// assert_eq!(((interval.low * 1e4).round(), (interval.high * 1e4).round()), (524.0, 3339.0));
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// As [`wilson`].
pub fn newcombe(first: (u64, u64), second: (u64, u64), level: f64) -> Result<Interval> {
    let (a, b) = (wilson(first.0, first.1, level)?, wilson(second.0, second.1, level)?);
    let share = |(successes, trials): (u64, u64)| successes as f64 / trials as f64;
    let interval = mover_difference((share(first), a), (share(second), b));
    Ok(Interval { method: IntervalMethod::Newcombe, ..interval })
}

/// The interval of the difference of two independent estimates, first minus second, from each
/// value and its interval at the same level:
/// `d - sqrt((a - l_a)^2 + (u_b - b)^2)` to `d + sqrt((u_a - a)^2 + (b - l_b)^2)`.
#[must_use]
pub fn mover_difference((a, of_a): (f64, Interval), (b, of_b): (f64, Interval)) -> Interval {
    let low = a - b - f64::hypot(a - of_a.low, of_b.high - b);
    let high = a - b + f64::hypot(of_a.high - a, b - of_b.low);
    Interval::new(low, high, of_a.level.min(of_b.level), IntervalMethod::Mover)
}

/// The interval of the mean of independent estimates, from each value and its interval; `None`
/// when there are none.
#[must_use]
pub fn mover_mean(parts: &[(f64, Interval)]) -> Option<Interval> {
    let level = parts.first()?.1.level;
    let count = parts.len() as f64;
    let mean = parts.iter().map(|(value, _)| value).sum::<f64>() / count;
    let reach = |side: fn(f64, Interval) -> f64| {
        parts.iter().map(|&(value, interval)| side(value, interval).powi(2)).sum::<f64>().sqrt() / count
    };
    let (below, above) = (reach(|value, part| value - part.low), reach(|value, part| part.high - value));
    Some(Interval::new(mean - below, mean + above, level, IntervalMethod::Mover))
}

/// Katz's interval of the ratio of two independent proportions, first over second; `None` when
/// either has no success.
#[must_use]
pub fn katz_ratio(first: (u64, u64), second: (u64, u64), level: f64) -> Option<Interval> {
    if first.0 == 0 || second.0 == 0 || first.0 > first.1 || second.0 > second.1 {
        return None;
    }
    check_level(level).ok()?;
    let part = |(k, n): (u64, u64)| 1.0 / k as f64 - 1.0 / n as f64;
    let ln = ((first.0 as f64 / first.1 as f64) / (second.0 as f64 / second.1 as f64)).ln();
    let half = deviate(level) * (part(first) + part(second)).max(0.0).sqrt();
    Some(Interval::new((ln - half).exp(), (ln + half).exp(), level, IntervalMethod::KatzLog))
}

/// Student's interval of a mean from n, the mean and the variance (n - 1 in its denominator);
/// `None` for fewer than two values or when a number is not finite.
#[must_use]
pub fn student_mean(n: u64, mean: f64, variance: f64, level: f64) -> Option<Interval> {
    if n < 2 || !mean.is_finite() || !variance.is_finite() {
        return None;
    }
    check_level(level).ok()?;
    let half = student_quantile(0.5 + 0.5 * level, n as f64 - 1.0) * (variance.max(0.0) / n as f64).sqrt();
    Some(Interval::new(mean - half, mean + half, level, IntervalMethod::StudentT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_stay_within_zero_and_one() {
        for method in [wilson, clopper_pearson] {
            for n in [1, 2, 30, 100_000] {
                let (none, all) = (method(0, n, 0.95).unwrap(), method(n, n, 0.95).unwrap());
                assert!(none.low == 0.0 && none.high < 1.0 && all.high == 1.0 && all.low > 0.0, "{n}");
                assert!((none.high - (1.0 - all.low)).abs() < 1e-9, "{n}");
            }
            assert!(method(1, 0, 0.95).is_err() && method(2, 1, 0.95).is_err() && method(1, 2, 1.0).is_err());
        }
    }

    #[test]
    fn exact_interval_contains_wilsons_center() {
        for (k, n) in [(0, 5), (3, 7), (47, 120), (999, 1000)] {
            let (score, exact) = (wilson(k, n, 0.95).unwrap(), clopper_pearson(k, n, 0.95).unwrap());
            assert!(exact.contains(k as f64 / n as f64) && score.contains(k as f64 / n as f64));
        }
        assert!(katz_ratio((0, 5), (3, 5), 0.95).is_none());
        assert!(student_mean(1, 0.0, 1.0, 0.95).is_none());
    }
}

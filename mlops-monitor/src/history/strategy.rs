//! Ways to say what is expected, with Deequ's definitions where it has them.

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    holt_winters::HoltWinters,
    normal::{Online, batch, ewma, online},
    series::MetricHistory,
    verdict::{AnomalyVerdict, Expected, PointFault},
};
use crate::{stats::count_of, stream::is_usable};

/// Highest order of a difference.
const ORDER_MAX: usize = 10;

/// What is expected of the next value. A bound that is `None` is open; at least one is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Strategy {
    /// A value in a fixed range (Deequ's `SimpleThresholdStrategy`).
    Threshold {
        /// Smallest value.
        lower: Option<f64>,
        /// Largest value.
        upper: Option<f64>,
    },
    /// A difference in a range (`AbsoluteChangeStrategy`).
    AbsoluteChange {
        /// Smallest difference; below zero for a decrease.
        change_min: Option<f64>,
        /// Largest difference.
        change_max: Option<f64>,
        /// Order of the difference, 0 (the value itself) to 10; 1 is the step from the last value.
        order: usize,
    },
    /// A ratio to an earlier value in a range (`RelativeRateOfChangeStrategy`). After a zero only zero is expected.
    RelativeChange {
        /// Smallest ratio, such as 0.9.
        ratio_min: Option<f64>,
        /// Largest ratio, such as 1.1.
        ratio_max: Option<f64>,
        /// How many values back the earlier one is, 1 to 10.
        order: usize,
    },
    /// A step from the last value that is in proportion to the time between, so that gaps do no harm. (What Deequ calls
    /// `RateOfChangeStrategy` ignores time: it is its `AbsoluteChangeStrategy` of order 1.)
    RateOfChange {
        /// Smallest step in `per_seconds`; below zero for a decrease.
        change_min: Option<f64>,
        /// Largest step in `per_seconds`.
        change_max: Option<f64>,
        /// The unit of time, above 0.
        per_seconds: f64,
    },
    /// Within so many standard deviations (n - 1 in the denominator) of the mean of the history (`BatchNormalStrategy`
    /// without the interval itself).
    BatchNormal {
        /// Deviations below the mean.
        deviations_below: Option<f64>,
        /// Deviations above the mean.
        deviations_above: Option<f64>,
        /// Earlier values that are needed, at least 2.
        n_min: u64,
    },
    /// Within so many standard deviations (n in the denominator) of the running mean (`OnlineNormalStrategy` over the
    /// whole history). By that definition mean and deviation hold the value itself, so that three deviations are out of
    /// reach of any value before the eleventh.
    OnlineNormal {
        /// Deviations below the mean.
        deviations_below: Option<f64>,
        /// Deviations above the mean.
        deviations_above: Option<f64>,
        /// Share of the series at whose beginning nothing is odd, 0 to 1. Deequ has 0.1.
        ignore_start_share: f64,
        /// Whether odd values leave mean and deviation as they are. Deequ has true.
        ignore_anomalies: bool,
        /// Earlier values that are needed, at least 1.
        n_min: u64,
    },
    /// Within so many deviations of an exponentially weighted mean of the values before; odd ones do not count, so
    /// that a lasting shift stays odd until the history has forgotten what was before.
    Ewma {
        /// Weight of the newest value, above 0 up to 1.
        weight: f64,
        /// Deviations below the mean.
        deviations_below: Option<f64>,
        /// Deviations above the mean.
        deviations_above: Option<f64>,
        /// Earlier values that are needed, at least 2; they count whatever they are.
        n_min: u64,
    },
    /// Near the forecast from level, trend and season.
    HoltWinters(HoltWinters),
}

impl Strategy {
    /// Within three standard deviations of the mean of at least ten earlier values.
    #[must_use]
    pub fn batch_normal() -> Self {
        Self::BatchNormal { deviations_below: Some(3.0), deviations_above: Some(3.0), n_min: 10 }
    }

    /// Deequ's online strategy with its defaults, after ten earlier values.
    #[must_use]
    pub fn online_normal() -> Self {
        Self::OnlineNormal {
            deviations_below: Some(3.0),
            deviations_above: Some(3.0),
            ignore_start_share: 0.1,
            ignore_anomalies: true,
            n_min: 10,
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is out of range.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Threshold { lower, upper } => range("threshold", *lower, *upper),
            Self::AbsoluteChange { change_min, change_max, order } => {
                limit("order", *order, 0)?;
                range("absolute change", *change_min, *change_max)
            }
            Self::RelativeChange { ratio_min, ratio_max, order } => {
                limit("order", *order, 1)?;
                range("relative change", *ratio_min, *ratio_max)
            }
            Self::RateOfChange { change_min, change_max, per_seconds } => {
                share(
                    "per_seconds",
                    *per_seconds,
                    *per_seconds > 0.0 && per_seconds.is_finite(),
                    "finite and above 0",
                )?;
                range("rate of change", *change_min, *change_max)
            }
            Self::BatchNormal { deviations_below, deviations_above, .. } => {
                deviations(*deviations_below, *deviations_above)
            }
            Self::OnlineNormal { deviations_below, deviations_above, ignore_start_share, .. } => {
                let accepted = (0.0..=1.0).contains(ignore_start_share);
                share("ignore_start_share", *ignore_start_share, accepted, "0 to 1")?;
                deviations(*deviations_below, *deviations_above)
            }
            Self::Ewma { weight, deviations_below, deviations_above, .. } => {
                share("weight", *weight, *weight > 0.0 && *weight <= 1.0, "above 0 and at most 1")?;
                deviations(*deviations_below, *deviations_above)
            }
            Self::HoltWinters(settings) => settings.validate(),
        }
    }

    /// Fewest earlier values.
    fn n_min(&self) -> usize {
        let at_least = |least: u64, n_min: u64| usize::try_from(n_min.max(least)).unwrap_or(usize::MAX);
        match self {
            Self::Threshold { .. } => 0,
            Self::AbsoluteChange { order, .. } | Self::RelativeChange { order, .. } => *order,
            Self::RateOfChange { .. } => 1,
            Self::BatchNormal { n_min, .. } | Self::Ewma { n_min, .. } => at_least(2, *n_min),
            Self::OnlineNormal { n_min, .. } => at_least(1, *n_min),
            // It counts for itself, since gaps may make it forget.
            Self::HoltWinters(_) => 0,
        }
    }
}

/// Judges values by their history.
///
/// ```
/// use mlops_core::Timestamp;
/// use mlops_monitor::history::{AnomalyDetector, MetricHistory, Strategy};
///
/// let mut history = MetricHistory::new(30);
/// let _ = history.record(Timestamp::from_millis(0), 1_000.0);
/// let strategy = Strategy::RelativeChange { ratio_min: Some(0.5), ratio_max: Some(2.0), order: 1 };
/// let verdict = AnomalyDetector::new(strategy)?.check(&history, Timestamp::from_millis(1), 120.0);
/// assert_eq!(verdict.describe("rows"), "rows is 120; expected 500 to 2000");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AnomalyDetector {
    strategy: Strategy,
}

impl AnomalyDetector {
    /// A detector by this strategy.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(strategy: Strategy) -> Result<Self> {
        strategy.validate()?;
        Ok(Self { strategy })
    }

    /// Judges a value that is later than the history and no part of it; record it afterwards.
    #[must_use]
    pub fn check(&self, history: &MetricHistory, time: Timestamp, value: f64) -> AnomalyVerdict {
        if !is_usable(value) {
            return AnomalyVerdict::Unusable(PointFault::NotFinite);
        }
        if history.latest().is_some_and(|(latest, _)| time <= latest) {
            return AnomalyVerdict::Unusable(PointFault::OutOfOrder);
        }
        let n_min = self.strategy.n_min();
        let too_few = AnomalyVerdict::Insufficient { n: count_of(history.len()), min_n: count_of(n_min) };
        if history.len() < n_min {
            return too_few;
        }
        if let Strategy::HoltWinters(settings) = &self.strategy {
            return settings.check(history, time, value);
        }
        self.expected(history, time, value).map_or(too_few, |expected| expected.judge(value))
    }

    fn expected(&self, history: &MetricHistory, time: Timestamp, value: f64) -> Option<Expected> {
        let values = || history.iter().map(|(_, value)| value);
        Some(match &self.strategy {
            Strategy::Threshold { lower, upper } => Expected { lower: *lower, upper: *upper },
            Strategy::AbsoluteChange { change_min, change_max, order } => {
                let carried = carried(values().rev(), *order);
                Expected { lower: change_min.map(|min| min + carried), upper: change_max.map(|max| max + carried) }
            }
            Strategy::RelativeChange { ratio_min, ratio_max, order } => {
                relative(values().rev().nth(order.saturating_sub(1))?, *ratio_min, *ratio_max)
            }
            Strategy::RateOfChange { change_min, change_max, per_seconds } => {
                let (latest, last) = history.latest()?;
                let units = time.duration_since(latest).as_secs_f64() / per_seconds;
                Expected {
                    lower: change_min.map(|min| last + min * units),
                    upper: change_max.map(|max| last + max * units),
                }
            }
            Strategy::BatchNormal { deviations_below, deviations_above, .. } => {
                batch(&values().collect::<Vec<_>>(), *deviations_below, *deviations_above)?
            }
            Strategy::OnlineNormal {
                deviations_below, deviations_above, ignore_start_share, ignore_anomalies, ..
            } => {
                let rules = Online { ignore_start_share: *ignore_start_share, ignore_anomalies: *ignore_anomalies };
                online(&values().chain([value]).collect::<Vec<_>>(), rules, *deviations_below, *deviations_above)
            }
            Strategy::Ewma { weight, deviations_below, deviations_above, n_min } => {
                let values: Vec<f64> = values().chain([value]).collect();
                ewma(&values, *weight, *n_min, *deviations_below, *deviations_above)
            }
            Strategy::HoltWinters(_) => return None,
        })
    }
}

/// What the next value must be for its difference of this order to be zero: by the binomial expansion of (1 - B)^order,
/// the sum over k >= 1 of (-1)^(k+1) C(order, k) x[n - k].
fn carried(newest_first: impl Iterator<Item = f64>, order: usize) -> f64 {
    let order = crate::stats::float(count_of(order));
    let (mut sum, mut factor, mut k) = (0.0, -1.0, 0.0);
    for value in newest_first {
        factor *= -(order - k) / (k + 1.0);
        k += 1.0;
        if k > order {
            break;
        }
        sum += factor * value;
    }
    sum
}

/// The values whose ratio to `earlier` is in the range. Below zero the order turns round; after zero only zero has one.
fn relative(earlier: f64, ratio_min: Option<f64>, ratio_max: Option<f64>) -> Expected {
    let (least, most) = (ratio_min.map(|ratio| ratio * earlier), ratio_max.map(|ratio| ratio * earlier));
    if earlier < 0.0 { Expected { lower: most, upper: least } } else { Expected { lower: least, upper: most } }
}

fn range(what: &str, lower: Option<f64>, upper: Option<f64>) -> Result<()> {
    let (low, high) = (lower.unwrap_or(f64::NEG_INFINITY), upper.unwrap_or(f64::INFINITY));
    let finite = lower.is_none_or(f64::is_finite) && upper.is_none_or(f64::is_finite);
    if (lower.is_some() || upper.is_some()) && finite && low <= high {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "{what}: at least one bound is needed, finite, the lower not above the upper; found {lower:?} and {upper:?}"
    )))
}

fn deviations(below: Option<f64>, above: Option<f64>) -> Result<()> {
    let accepted = |factor: Option<f64>| factor.is_none_or(|factor| factor >= 0.0 && factor.is_finite());
    if (below.is_some() || above.is_some()) && accepted(below) && accepted(above) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "deviations: at least one side is needed, finite and not negative; found {below:?} and {above:?}"
    )))
}

fn limit(what: &str, found: usize, least: usize) -> Result<()> {
    if (least..=ORDER_MAX).contains(&found) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{what} must be {least} to {ORDER_MAX}, found {found}")))
}

fn share(what: &str, value: f64, accepted: bool, range: &str) -> Result<()> {
    if accepted {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{what} must be {range}, found {value}")))
}

//! The empirical-Bernstein confidence sequence of a bounded mean.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{
    ConfidenceSequence,
    narrowing::Narrowing,
    plug_in::PlugIn,
    range::{Range, alpha_fault, refuse},
};
use crate::settings::{Validate, valid};

/// Bets stay below this.
const BET_MAX: f64 = 0.5;

/// Settings of [`EmpiricalBernstein`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmpiricalBernsteinSettings {
    /// Lowest value possible. Default 0.
    pub low: f64,
    /// Highest value possible, above `low`. Default 1.
    pub high: f64,
    /// Chance that the interval ever misses the mean, above 0 and below 1. Default 0.05.
    pub alpha: f64,
}

impl Default for EmpiricalBernsteinSettings {
    fn default() -> Self {
        Self { low: 0.0, high: 1.0, alpha: 0.05 }
    }
}

impl EmpiricalBernsteinSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        refuse("empirical-bernstein", [self.range().fault(), alpha_fault(self.alpha)])
    }

    fn range(&self) -> Range {
        Range { low: self.low, high: self.high }
    }
}

impl Validate for EmpiricalBernsteinSettings {
    fn validate(&self) -> Result<()> {
        Self::validate(self)
    }
}

/// The mean of bounded values: its width follows their variance, in constant time and memory.
///
/// With bets l_i and the means before each value, the interval at t is sum l_i x_i / sum l_i, more or less
/// (ln(2 / alpha) + sum (x_i - mean_(i-1))^2 (-ln(1 - l_i) - l_i)) / sum l_i; the bets are predictable plug-ins, at
/// most 1/2 (Waudby-Smith, Ramdas, Estimating means of bounded random variables by betting, JRSS B 86, 2024, theorem
/// 2). Intersected over time.
///
/// ```
/// use mlops_monitor::sequential::{ConfidenceSequence, EmpiricalBernstein, EmpiricalBernsteinSettings};
///
/// let settings = EmpiricalBernsteinSettings { low: -1.0, ..EmpiricalBernsteinSettings::default() };
/// let mut mean = EmpiricalBernstein::new(settings)?;
/// mean.update_many((0..1_000).map(|i| f64::from(i % 3 - 1)))?;
/// let (low, high) = mean.interval();
/// assert!(low < 0.0 && 0.0 < high && high - low < 0.3);
/// assert!(mean.update(1.5).is_err() && mean.n() == 1_000);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmpiricalBernstein {
    #[serde(deserialize_with = "valid")]
    settings: EmpiricalBernsteinSettings,
    seen: PlugIn,
    bets: f64,
    weighted: f64,
    deviation: f64,
    interval: Narrowing,
}

impl EmpiricalBernstein {
    /// A sequence that has seen nothing.
    ///
    /// # Errors
    /// As [`EmpiricalBernsteinSettings::validate`].
    pub fn new(settings: EmpiricalBernsteinSettings) -> Result<Self> {
        settings.validate()?;
        let (seen, interval) = (PlugIn::default(), Narrowing::ALL);
        Ok(Self { settings, seen, bets: 0.0, weighted: 0.0, deviation: 0.0, interval })
    }
}

impl ConfidenceSequence for EmpiricalBernstein {
    type Value = f64;

    fn update(&mut self, value: f64) -> Result<()> {
        let x = self.settings.range().unit(value)?;
        let alpha = self.settings.alpha;
        let bet = self.seen.bet(alpha).min(BET_MAX);
        self.bets += bet;
        self.weighted += bet * x;
        self.deviation += (x - self.seen.mean()).powi(2) * (-(-bet).ln_1p() - bet);
        self.seen.add(x);
        let (center, width) = (self.weighted / self.bets, ((2.0 / alpha).ln() + self.deviation) / self.bets);
        self.interval.narrow(center - width, center + width);
        Ok(())
    }

    fn interval(&self) -> (f64, f64) {
        let range = self.settings.range();
        (range.value(self.interval.low), range.value(self.interval.high))
    }

    fn n(&self) -> u64 {
        self.seen.n
    }

    fn is_contradicted(&self) -> bool {
        self.interval.contradicted
    }
}

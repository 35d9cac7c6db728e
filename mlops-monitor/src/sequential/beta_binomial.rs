//! The beta-binomial confidence sequence of a proportion.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{
    ConfidenceSequence,
    narrowing::Narrowing,
    range::{alpha_fault, refuse},
};
use crate::{
    settings::{Validate, valid},
    stats::{float, ln_beta},
};

/// Halvings of an interval; 60 come to the spacing of doubles near one.
const HALVINGS: u32 = 60;

/// Settings of [`BetaBinomial`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BetaBinomialSettings {
    /// Chance that the interval ever misses the proportion, above 0 and below 1. Default 0.05.
    pub alpha: f64,
    /// First parameter of the mixing beta law, above 0 and at most 1e6. Default 1/2. With the other it says where the
    /// interval is narrow early: around `a` / (`a` + `b`), the more so the larger both are. Coverage holds whatever they
    /// are.
    pub a: f64,
    /// Second parameter, above 0 and at most 1e6. Default 1/2.
    pub b: f64,
}

impl Default for BetaBinomialSettings {
    fn default() -> Self {
        Self { alpha: 0.05, a: 0.5, b: 0.5 }
    }
}

impl BetaBinomialSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let fault = |name: &str, value: f64| {
            let accepted = (1e-6..=1e6).contains(&value);
            (!accepted).then(|| format!("{name} must be from 1e-6 to 1e6, found {value}"))
        };
        refuse("beta-binomial", [alpha_fault(self.alpha), fault("a", self.a), fault("b", self.b)])
    }
}

impl Validate for BetaBinomialSettings {
    fn validate(&self) -> Result<()> {
        Self::validate(self)
    }
}

/// The proportion of values that are true.
///
/// After s true and f false values p is out when the mixed likelihood B(a + s, b + f) / B(a, b) is at least 1 / alpha
/// times p^s (1 - p)^f: the ratio is a martingale when p is the proportion, so it ever gets there with probability
/// alpha at most (Ville 1939; mixtures: Robbins, Ann. Math. Stat. 41, 1970). What is left is an interval, for the
/// likelihood is log-concave. Intersected over time.
///
/// ```
/// use mlops_monitor::sequential::{BetaBinomial, BetaBinomialSettings, ConfidenceSequence};
///
/// let mut positives = BetaBinomial::new(BetaBinomialSettings::default())?;
/// positives.update_many((0..1_000).map(|i| i % 5 == 0))?;
/// let (low, high) = positives.interval();
/// assert!(low < 0.2 && 0.2 < high && high - low < 0.1);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BetaBinomial {
    #[serde(deserialize_with = "valid")]
    settings: BetaBinomialSettings,
    successes: u64,
    failures: u64,
    interval: Narrowing,
}

impl BetaBinomial {
    /// A sequence that has seen nothing.
    ///
    /// # Errors
    /// As [`BetaBinomialSettings::validate`].
    pub fn new(settings: BetaBinomialSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self { settings, successes: 0, failures: 0, interval: Narrowing::ALL })
    }

    /// Takes counts as one look: the interval is that after all of them, intersected with those of earlier looks.
    pub fn update_counts(&mut self, successes: u64, failures: u64) {
        self.successes = self.successes.saturating_add(successes);
        self.failures = self.failures.saturating_add(failures);
        let total = self.successes.saturating_add(self.failures);
        if total == 0 {
            return;
        }
        let most_likely = float(self.successes) / float(total);
        let fits = self.fit();
        let (low, high) = (edge(&fits, most_likely, self.interval.low), edge(&fits, most_likely, self.interval.high));
        self.interval.narrow(low, high);
    }

    /// Whether a proportion fits what was seen.
    fn fit(&self) -> impl Fn(f64) -> bool + use<> {
        let BetaBinomialSettings { alpha, a, b } = self.settings;
        let (s, f) = (float(self.successes), float(self.failures));
        let least = ln_beta(a + s, b + f) - ln_beta(a, b) + alpha.ln();
        // Nothing seen says nothing, even of a proportion of zero or one.
        let part = |count: f64, ln_p: f64| if count > 0.0 { count * ln_p } else { 0.0 };
        move |p: f64| part(s, p.ln()) + part(f, (-p).ln_1p()) > least
    }
}

/// The end itself if it fits, else just outside of where values begin to, on the way to one that does.
fn edge(fits: &impl Fn(f64) -> bool, inside: f64, end: f64) -> f64 {
    if fits(end) {
        return end;
    }
    let (mut inside, mut outside) = (inside, end);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(inside, outside);
        if fits(middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    outside
}

impl ConfidenceSequence for BetaBinomial {
    type Value = bool;

    fn update(&mut self, value: bool) -> Result<()> {
        self.update_counts(u64::from(value), u64::from(!value));
        Ok(())
    }

    fn interval(&self) -> (f64, f64) {
        (self.interval.low, self.interval.high)
    }

    fn n(&self) -> u64 {
        self.successes.saturating_add(self.failures)
    }

    fn is_contradicted(&self) -> bool {
        self.interval.contradicted
    }
}

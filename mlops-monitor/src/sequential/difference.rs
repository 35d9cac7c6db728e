//! The difference of two means or proportions, each followed by a sequence of its own.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{
    BetaBinomial, BetaBinomialSettings, Betting, BettingSettings, ConfidenceSequence, EmpiricalBernstein,
    EmpiricalBernsteinSettings,
};

/// The current mean less that of a reference.
pub type MeanDifference = Difference<Betting>;

/// The current proportion less that of a reference.
pub type ProportionDifference = Difference<BetaBinomial>;

/// Current less reference, at every moment of both streams, which may run at any pace.
///
/// Each side gets half of alpha, so with probability at least 1 - alpha neither interval ever misses, and then the
/// difference is never missed either (union bound). The two may depend on each other in any way.
///
/// ```
/// use mlops_monitor::sequential::{BetaBinomialSettings, ProportionDifference};
///
/// let mut clicks = ProportionDifference::new(BetaBinomialSettings::default())?;
/// clicks.update_reference((0..2_000).map(|i| i % 10 == 0))?;
/// clicks.update_current((0..2_000).map(|i| i % 5 == 0))?;
/// let (low, high) = clicks.interval();
/// assert!(0.0 < low && low < 0.1 && 0.1 < high);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference<S> {
    reference: S,
    current: S,
}

impl Difference<Betting> {
    /// A difference of which nothing was seen; `alpha` is that of the difference.
    ///
    /// # Errors
    /// As [`BettingSettings::validate`].
    pub fn new(settings: BettingSettings) -> Result<Self> {
        settings.validate()?;
        let side = Betting::new(BettingSettings { alpha: settings.alpha / 2.0, ..settings })?;
        Ok(Self { reference: side.clone(), current: side })
    }
}

impl Difference<EmpiricalBernstein> {
    /// A difference of which nothing was seen; `alpha` is that of the difference.
    ///
    /// # Errors
    /// As [`EmpiricalBernsteinSettings::validate`].
    pub fn new(settings: EmpiricalBernsteinSettings) -> Result<Self> {
        settings.validate()?;
        let side = EmpiricalBernstein::new(EmpiricalBernsteinSettings { alpha: settings.alpha / 2.0, ..settings })?;
        Ok(Self { reference: side.clone(), current: side })
    }
}

impl Difference<BetaBinomial> {
    /// A difference of which nothing was seen; `alpha` is that of the difference.
    ///
    /// # Errors
    /// As [`BetaBinomialSettings::validate`].
    pub fn new(settings: BetaBinomialSettings) -> Result<Self> {
        settings.validate()?;
        let side = BetaBinomial::new(BetaBinomialSettings { alpha: settings.alpha / 2.0, ..settings })?;
        Ok(Self { reference: side.clone(), current: side })
    }
}

impl<S: ConfidenceSequence> Difference<S> {
    /// Takes values of the reference.
    ///
    /// # Errors
    /// As [`ConfidenceSequence::update_many`].
    pub fn update_reference(&mut self, values: impl IntoIterator<Item = S::Value>) -> Result<()> {
        self.reference.update_many(values)
    }

    /// Takes current values.
    ///
    /// # Errors
    /// As [`ConfidenceSequence::update_many`].
    pub fn update_current(&mut self, values: impl IntoIterator<Item = S::Value>) -> Result<()> {
        self.current.update_many(values)
    }

    /// The lowest and the highest difference that fit all that was seen.
    #[must_use]
    pub fn interval(&self) -> (f64, f64) {
        let (reference, current) = (self.reference.interval(), self.current.interval());
        (current.0 - reference.1, current.1 - reference.0)
    }

    /// How many values of the reference and how many current ones counted.
    #[must_use]
    pub fn n(&self) -> (u64, u64) {
        (self.reference.n(), self.current.n())
    }

    /// The side of the reference.
    #[must_use]
    pub fn reference(&self) -> &S {
        &self.reference
    }

    /// The current side.
    #[must_use]
    pub fn current(&self) -> &S {
        &self.current
    }

    /// Whether no difference fits any more, because one of the sides has moved.
    #[must_use]
    pub fn is_contradicted(&self) -> bool {
        self.reference.is_contradicted() || self.current.is_contradicted()
    }
}

//! The betting confidence sequence of a bounded mean.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{
    ConfidenceSequence,
    plug_in::PlugIn,
    range::{Range, alpha_fault, refuse},
};
use crate::{
    settings::{Validate, valid},
    stats::float,
};

/// Most steps of the grid.
pub const GRID_MAX: u32 = 100_000;

/// Share of the capital that a bet may lose at most.
const LOSS_MAX: f64 = 0.5;

/// Settings of [`Betting`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BettingSettings {
    /// Lowest value possible. Default 0.
    pub low: f64,
    /// Highest value possible, above `low`. Default 1.
    pub high: f64,
    /// Chance that the interval ever misses the mean, above 0 and below 1. Default 0.05.
    pub alpha: f64,
    /// Steps that the range is divided into, from 2 to [`GRID_MAX`]: the ends of the interval are some of their ends,
    /// each up to a step further out than need be. Memory and the time of a first value grow with it. Default 1,000.
    pub grid: u32,
}

impl Default for BettingSettings {
    fn default() -> Self {
        Self { low: 0.0, high: 1.0, alpha: 0.05, grid: 1_000 }
    }
}

impl BettingSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let grid = self.grid;
        let accepted = (2..=GRID_MAX).contains(&grid);
        let fault = (!accepted).then(|| format!("grid must be from 2 to {GRID_MAX}, found {grid}"));
        refuse("betting", [self.range().fault(), alpha_fault(self.alpha), fault])
    }

    fn range(&self) -> Range {
        Range { low: self.low, high: self.high }
    }
}

impl Validate for BettingSettings {
    fn validate(&self) -> Result<()> {
        Self::validate(self)
    }
}

/// The mean of bounded values: what is left of the range after two gamblers bet against every candidate.
///
/// Against a candidate m one bets that values lie above it, K+ = prod (1 + min(l_i, c / m) (x_i - m)), and one that
/// they lie below, K- = prod (1 - min(l_i, c / (1 - m)) (x_i - m)), each with half of the stake; a candidate is out as
/// soon as either half has grown to 1 / alpha. The bets l_i are predictable plug-ins and c = 1/2 (hedged capital;
/// Waudby-Smith, Ramdas, JRSS B 86, 2024, theorem 3). K+ falls with m and K- rises, so a candidate that is out takes
/// all below or all above with it: the grid makes the interval wider, never wrong.
///
/// A value costs two logarithms for each candidate that is left, so less the more is known.
///
/// ```
/// use mlops_monitor::sequential::{Betting, BettingSettings, ConfidenceSequence};
///
/// let mut mean = Betting::new(BettingSettings::default())?;
/// assert_eq!(mean.interval(), (0.0, 1.0));
/// mean.update_many((0..1_000).map(|i| f64::from(i % 11) / 40.0))?;
/// let (low, high) = mean.interval();
/// assert!(low < 0.125 && 0.125 < high && high - low < 0.03, "{low} {high}");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Betting {
    #[serde(deserialize_with = "valid")]
    settings: BettingSettings,
    seen: PlugIn,
    /// The candidate that is the lower end; the others follow, step by step.
    first: u32,
    candidates: Vec<Candidate>,
    contradicted: bool,
}

/// Logarithms of what the two gamblers against one candidate have.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Candidate {
    above: f64,
    below: f64,
}

impl Betting {
    /// A sequence that has seen nothing.
    ///
    /// # Errors
    /// As [`BettingSettings::validate`].
    pub fn new(settings: BettingSettings) -> Result<Self> {
        settings.validate()?;
        let candidates = (0..=settings.grid).map(|_| Candidate::default()).collect();
        Ok(Self { settings, seen: PlugIn::default(), first: 0, candidates, contradicted: false })
    }

    /// Keeps the candidates from the last that is too low to the first that is too high, both included.
    fn narrow(&mut self) {
        let enough = (2.0 / self.settings.alpha).ln();
        let too_low = self.candidates.iter().rposition(|candidate| candidate.above >= enough).unwrap_or(0);
        let last = self.candidates.len().saturating_sub(1);
        let too_high = self.candidates.iter().position(|candidate| candidate.below >= enough).unwrap_or(last);
        if too_low >= too_high {
            self.contradicted = true;
            return;
        }
        self.candidates.truncate(too_high + 1);
        self.candidates.drain(..too_low);
        self.first = self.first.saturating_add(u32::try_from(too_low).unwrap_or(u32::MAX));
    }

    fn step(&self, candidate: u64) -> f64 {
        float(candidate) / f64::from(self.settings.grid)
    }
}

impl ConfidenceSequence for Betting {
    type Value = f64;

    fn update(&mut self, value: f64) -> Result<()> {
        let x = self.settings.range().unit(value)?;
        let bet = self.seen.bet(self.settings.alpha);
        self.seen.add(x);
        if self.contradicted {
            return Ok(());
        }
        let (grid, first) = (f64::from(self.settings.grid), f64::from(self.first));
        let mut place = first;
        for candidate in &mut self.candidates {
            let m = place / grid;
            candidate.above += (bet.min(LOSS_MAX / m) * (x - m)).ln_1p();
            candidate.below += (-bet.min(LOSS_MAX / (1.0 - m)) * (x - m)).ln_1p();
            place += 1.0;
        }
        self.narrow();
        Ok(())
    }

    fn interval(&self) -> (f64, f64) {
        let (range, first) = (self.settings.range(), u64::from(self.first));
        let last = first.saturating_add(crate::stats::count_of(self.candidates.len()).saturating_sub(1));
        (range.value(self.step(first)), range.value(self.step(last)))
    }

    fn n(&self) -> u64 {
        self.seen.n
    }

    fn is_contradicted(&self) -> bool {
        self.contradicted
    }
}

//! Drift detection by McDiarmid's bound on weighted averages.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{Signal, StreamDetector, check_probability};

/// Settings of [`HddmW`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HddmWSettings {
    /// Probability of a false alarm at a cut, between 0 and 1. Default 0.001.
    pub drift: f64,
    /// The same of a warning. Default 0.005.
    pub warning: f64,
    /// Weight of the newest value, between 0 and 1. Default 0.05.
    pub weight: f64,
    /// Whether a falling error rate counts too. Default no.
    pub two_sided: bool,
}

impl Default for HddmWSettings {
    fn default() -> Self {
        Self { drift: 0.001, warning: 0.005, weight: 0.05, two_sided: false }
    }
}

/// Alarms when the exponentially weighted average since the most favourable cut lies above the one before by more than
/// McDiarmid's bound (Frias-Blanco and others, IEEE Transactions on Knowledge and Data Engineering 27, 2015; the W-test).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HddmW {
    settings: HddmWSettings,
    state: State,
}

/// A weighted average and the sum of its squared weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Weighted {
    average: Option<f64>,
    squares: f64,
}

impl Default for Weighted {
    fn default() -> Self {
        Self { average: None, squares: 1.0 }
    }
}

impl Weighted {
    fn add(&mut self, value: f64, weight: f64) {
        self.average = Some(match self.average {
            None => value,
            Some(average) => weight * value + (1.0 - weight) * average,
        });
        self.squares = weight * weight + (1.0 - weight) * (1.0 - weight) * self.squares;
    }
}

/// Averages before and since the cut that shows a change best.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Cut {
    before: Weighted,
    since: Weighted,
    extreme: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct State {
    all: Weighted,
    rise: Cut,
    fall: Cut,
    alarmed: bool,
}

impl HddmW {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: HddmWSettings) -> Result<Self> {
        check_probability("drift", settings.drift)?;
        check_probability("warning", settings.warning)?;
        check_probability("weight", settings.weight)?;
        Ok(Self { settings, state: State::default() })
    }
}

fn bound(squares: f64, confidence: f64) -> f64 {
    (squares * (1.0 / confidence).ln() / 2.0).sqrt()
}

impl Cut {
    /// Moves the cut to now when `level` is a new extreme.
    fn update(&mut self, all: Weighted, level: f64, value: f64, weight: f64) {
        if self.extreme.is_none_or(|extreme| level < extreme) {
            *self = Self { before: all, since: Weighted::default(), extreme: Some(level) };
        } else {
            self.since.add(value, weight);
        }
    }

    /// Whether the average rose (sign 1) or fell (sign -1) by more than the bound.
    fn shows(&self, sign: f64, confidence: f64) -> bool {
        let Some((before, since)) = self.before.average.zip(self.since.average) else { return false };
        sign * (since - before) > bound(self.before.squares + self.since.squares, confidence)
    }
}

impl StreamDetector for HddmW {
    /// Whether the prediction was wrong.
    type Input = bool;

    fn update(&mut self, wrong: bool) -> Signal {
        if self.state.alarmed {
            self.reset();
        }
        let (settings, state) = (&self.settings, &mut self.state);
        let value = f64::from(u8::from(wrong));
        state.all.add(value, settings.weight);
        let (average, epsilon) = (state.all.average.unwrap_or(value), bound(state.all.squares, settings.drift));
        state.rise.update(state.all, average + epsilon, value, settings.weight);
        state.fall.update(state.all, -(average - epsilon), value, settings.weight);
        let shows =
            |confidence| state.rise.shows(1.0, confidence) || settings.two_sided && state.fall.shows(-1.0, confidence);
        let signal = if shows(settings.drift) {
            Signal::Drift
        } else if shows(settings.warning) {
            Signal::Warning
        } else {
            Signal::Stable
        };
        state.alarmed = signal == Signal::Drift;
        signal
    }

    fn reset(&mut self) {
        self.state = State::default();
    }
}

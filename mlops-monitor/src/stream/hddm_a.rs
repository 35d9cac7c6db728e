//! Drift detection by Hoeffding's bound on averages.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{Signal, StreamDetector, check_probability, running::Running};

/// Settings of [`HddmA`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HddmASettings {
    /// Probability of a false alarm at a cut, between 0 and 1. Default 0.001.
    pub drift: f64,
    /// The same of a warning. Default 0.005.
    pub warning: f64,
    /// Whether a falling error rate counts too. Default no.
    pub two_sided: bool,
}

impl Default for HddmASettings {
    fn default() -> Self {
        Self { drift: 0.001, warning: 0.005, two_sided: false }
    }
}

/// Alarms when the average since the most favourable cut lies above the average before by more than Hoeffding's bound
/// (Frias-Blanco and others, IEEE Transactions on Knowledge and Data Engineering 27, 2015; the A-test).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HddmA {
    settings: HddmASettings,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct State {
    all: Running,
    /// Everything up to the cut before which the average was lowest.
    low: Running,
    /// Everything up to the cut before which the average was highest.
    high: Running,
    alarmed: bool,
}

impl HddmA {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: HddmASettings) -> Result<Self> {
        check_probability("drift", settings.drift)?;
        check_probability("warning", settings.warning)?;
        Ok(Self { settings, state: State::default() })
    }
}

/// Whether the averages before a cut and of everything differ beyond the bound.
fn differ(before: &Running, all: &Running, difference: f64, confidence: f64) -> bool {
    if before.n == all.n {
        return false;
    }
    let m = (all.count() - before.count()) / before.count() * (1.0 / all.count());
    difference >= (m / 2.0 * (2.0 / confidence).ln()).sqrt()
}

impl StreamDetector for HddmA {
    /// Whether the prediction was wrong.
    type Input = bool;

    fn update(&mut self, wrong: bool) -> Signal {
        if self.state.alarmed {
            self.reset();
        }
        let (settings, state) = (&self.settings, &mut self.state);
        state.all.add(f64::from(u8::from(wrong)));
        let all = state.all;
        if state.low.n == 0 {
            (state.low, state.high) = (all, all);
        }
        let bound = |n: f64| (1.0 / (2.0 * n) * (1.0 / settings.drift).ln()).sqrt();
        if state.low.mean + bound(state.low.count()) >= all.mean + bound(all.count()) {
            state.low = all;
        }
        if state.high.mean - bound(state.high.count()) <= all.mean - bound(all.count()) {
            state.high = all;
        }
        let rises = |confidence| differ(&state.low, &all, all.mean - state.low.mean, confidence);
        let falls =
            |confidence| settings.two_sided && differ(&state.high, &all, state.high.mean - all.mean, confidence);
        let signal = if rises(settings.drift) || falls(settings.drift) {
            Signal::Drift
        } else if rises(settings.warning) || falls(settings.warning) {
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

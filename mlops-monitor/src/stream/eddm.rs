//! The early drift detection method: errors that come closer together.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Signal, StreamDetector, check_probability, running::Running};

/// Settings of [`Eddm`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EddmSettings {
    /// Errors before the first alarm. Default 30.
    pub errors_min: u64,
    /// Share of the longest distance below which there is a warning, between 0 and 1. Default 0.95.
    pub warning: f64,
    /// Share of the longest distance below which there is an alarm, at most `warning`. Default 0.9.
    pub drift: f64,
}

impl Default for EddmSettings {
    fn default() -> Self {
        Self { errors_min: 30, warning: 0.95, drift: 0.9 }
    }
}

/// Alarms when mean plus two deviations of the distance between errors falls below a share of its maximum (Baena-Garcia
/// and others, IWKDDS 2006).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Eddm {
    settings: EddmSettings,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct State {
    seen: u64,
    last_error: u64,
    distances: Running,
    longest: f64,
    warned: bool,
    alarmed: bool,
}

impl Eddm {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: EddmSettings) -> Result<Self> {
        check_probability("warning", settings.warning)?;
        check_probability("drift", settings.drift)?;
        if settings.drift > settings.warning {
            return Err(Error::invalid_argument(format!(
                "drift is {}; it must be at most the warning, {}",
                settings.drift, settings.warning
            )));
        }
        Ok(Self { settings, state: State::default() })
    }
}

impl StreamDetector for Eddm {
    /// Whether the prediction was wrong.
    type Input = bool;

    fn update(&mut self, wrong: bool) -> Signal {
        if self.state.alarmed {
            self.reset();
        }
        let (settings, state) = (&self.settings, &mut self.state);
        state.seen += 1;
        if wrong {
            state.distances.add(crate::stats::float(state.seen - state.last_error));
            state.last_error = state.seen;
            if state.seen > settings.errors_min {
                let reach = state.distances.mean + 2.0 * state.distances.variance().max(0.0).sqrt();
                if reach > state.longest {
                    state.longest = reach;
                } else if state.distances.n > settings.errors_min {
                    let level = reach / state.longest;
                    state.alarmed = level < settings.drift;
                    // A warning stands until an error says otherwise.
                    state.warned = !state.alarmed && level < settings.warning || state.alarmed && state.warned;
                }
            }
        }
        match (state.alarmed, state.warned) {
            (true, _) => Signal::Drift,
            (false, true) => Signal::Warning,
            (false, false) => Signal::Stable,
        }
    }

    fn reset(&mut self) {
        self.state = State::default();
    }
}

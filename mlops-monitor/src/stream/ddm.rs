//! The drift detection method for error rates.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{Signal, StreamDetector, check};
use crate::stats::float;

/// Settings of [`Ddm`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DdmSettings {
    /// Values before the first alarm. Default 30.
    pub values_min: u64,
    /// Deviations above the lowest error rate that are a warning, above 0. Default 2.
    pub warning: f64,
    /// Deviations above the lowest error rate that are an alarm, at least `warning`. Default 3.
    pub drift: f64,
}

impl Default for DdmSettings {
    fn default() -> Self {
        Self { values_min: 30, warning: 2.0, drift: 3.0 }
    }
}

/// Alarms when the error rate p with its deviation s = sqrt(p (1 - p) / n) lies some s above the lowest p + s seen (Gama,
/// Medas, Castillo and Rodrigues, SBIA 2004).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ddm {
    settings: DdmSettings,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct State {
    seen: u64,
    errors: u64,
    /// p and s where their sum was lowest.
    lowest: Option<(f64, f64)>,
    alarmed: bool,
}

impl Ddm {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: DdmSettings) -> Result<Self> {
        check("warning", settings.warning, settings.warning > 0.0, "above 0")?;
        check("drift", settings.drift, settings.drift >= settings.warning, "at least the warning")?;
        Ok(Self { settings, state: State::default() })
    }
}

impl State {
    #[inline(always)]
    fn take(&mut self, wrong: bool, settings: &DdmSettings) -> Signal {
        if self.alarmed {
            *self = Self::default();
        }
        self.seen += 1;
        self.errors += u64::from(wrong);
        if self.seen <= settings.values_min {
            return Signal::Stable;
        }
        // Counts, not a running mean: then no value waits for the division of the one before.
        let n = float(self.seen);
        let p = float(self.errors) / n;
        let s = (p * (1.0 - p) / n).sqrt();
        let (low_p, low_s) = match self.lowest {
            Some((low_p, low_s)) if p + s > low_p + low_s => (low_p, low_s),
            _ => *self.lowest.insert((p, s)),
        };
        if p + s > low_p + settings.drift * low_s {
            self.alarmed = true;
            Signal::Drift
        } else if p + s > low_p + settings.warning * low_s {
            Signal::Warning
        } else {
            Signal::Stable
        }
    }
}

impl StreamDetector for Ddm {
    /// Whether the prediction was wrong.
    type Input = bool;

    fn update(&mut self, wrong: bool) -> Signal {
        self.state.take(wrong, &self.settings)
    }

    fn update_until_drift(&mut self, wrong: &[bool]) -> Option<usize> {
        let mut state = self.state;
        let at = wrong.iter().position(|wrong| state.take(*wrong, &self.settings) == Signal::Drift);
        self.state = state;
        at
    }

    fn reset(&mut self) {
        self.state = State::default();
    }
}

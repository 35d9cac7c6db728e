//! Page and Hinkley's test.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{Signal, StreamDetector, check, is_usable, running::Running};

/// Which shifts are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Upward.
    Up,
    /// Downward.
    Down,
    /// Either.
    #[default]
    Both,
}

/// In which unit deviations are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// In the unit of the values, so that threshold and tolerance must be chosen for it.
    #[default]
    Raw,
    /// In standard deviations of the stream so far, so that one threshold serves every column.
    Standardised,
}

/// Settings of [`PageHinkley`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageHinkleySettings {
    /// Values before the first alarm. Default 30.
    pub values_min: u64,
    /// Deviation that is tolerated, not below 0. Default 0.005.
    pub delta: f64,
    /// Sum of deviations that is an alarm, above 0. Default 50.
    pub threshold: f64,
    /// Weight that a sum keeps from one value to the next, above 0 up to 1. Default 0.9999.
    pub forgetting: f64,
    /// Which shifts are looked for. Default both.
    pub direction: Direction,
    /// In which unit. Default that of the values.
    pub scale: Scale,
}

impl Default for PageHinkleySettings {
    fn default() -> Self {
        Self {
            values_min: 30,
            delta: 0.005,
            threshold: 50.0,
            forgetting: 1.0 - 0.0001,
            direction: Direction::Both,
            scale: Scale::Raw,
        }
    }
}

/// Alarms when the sum of deviations from the running mean has moved further from its extreme than a threshold (Page,
/// Biometrika 41, 1954; Hinkley, Biometrika 58, 1971).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    settings: PageHinkleySettings,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct State {
    seen: Running,
    rise: f64,
    // How far above its lowest, and below its highest point each sum is.
    risen: f64,
    fall: f64,
    fallen: f64,
    alarmed: bool,
}

impl PageHinkley {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: PageHinkleySettings) -> Result<Self> {
        check("delta", settings.delta, settings.delta >= 0.0, "0 or more")?;
        check("threshold", settings.threshold, settings.threshold > 0.0, "above 0")?;
        let forgetting = settings.forgetting;
        check("forgetting", forgetting, forgetting > 0.0 && forgetting <= 1.0, "above 0 and at most 1")?;
        Ok(Self { settings, state: State::default() })
    }
}

impl State {
    /// Takes a value that is usable.
    #[inline(always)]
    fn take(&mut self, value: f64, settings: &PageHinkleySettings) -> Signal {
        if self.alarmed {
            *self = Self::default();
        }
        self.seen.add(value);
        let mut deviation = value - self.seen.mean;
        if settings.scale == Scale::Standardised {
            let spread = self.seen.variance().sqrt();
            deviation = if spread > 0.0 { deviation / spread } else { 0.0 };
        }
        let (rise, fall) = (self.rise, self.fall);
        self.rise = settings.forgetting * rise + deviation - settings.delta;
        self.fall = settings.forgetting * fall + deviation + settings.delta;
        // Each extreme is kept as the distance to it, which begins at zero with the first value.
        if self.seen.n == 1 {
            (self.risen, self.fallen) = (0.0, 0.0);
        } else {
            self.risen = above_zero(self.risen + (self.rise - rise));
            self.fallen = above_zero(self.fallen + (fall - self.fall));
        }
        if self.seen.n < settings.values_min {
            return Signal::Stable;
        }
        let (up, down) = (self.risen > settings.threshold, self.fallen > settings.threshold);
        self.alarmed = match settings.direction {
            Direction::Up => up,
            Direction::Down => down,
            Direction::Both => up || down,
        };
        if self.alarmed { Signal::Drift } else { Signal::Stable }
    }
}

impl StreamDetector for PageHinkley {
    type Input = f64;

    fn update(&mut self, value: f64) -> Signal {
        if is_usable(value) { self.state.take(value, &self.settings) } else { Signal::Skipped }
    }

    fn update_until_drift(&mut self, values: &[f64]) -> Option<usize> {
        // Each value waits for the state that the one before left: in registers, not in memory.
        let mut state = self.state;
        let at =
            values.iter().position(|value| is_usable(*value) && state.take(*value, &self.settings) == Signal::Drift);
        self.state = state;
        at
    }

    fn reset(&mut self) {
        self.state = State::default();
    }
}

/// One instruction where `f64::max`, which minds NaN, takes several in the chain from value to value.
fn above_zero(value: f64) -> f64 {
    if value > 0.0 { value } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standardised_test_does_not_care_for_the_unit() {
        let settings = PageHinkleySettings { scale: Scale::Standardised, ..PageHinkleySettings::default() };
        let alarm = |unit: f64| {
            let mut detector = PageHinkley::new(settings).unwrap();
            let values = (0..2_000).map(|i| f64::from((i * 37) % 101) / 101.0 + f64::from(i / 1_000));
            values.map(|value| value * unit).position(|value| detector.update(value) == Signal::Drift)
        };
        let at = alarm(1.0).unwrap();
        assert!((1_000..1_100).contains(&at), "{at}");
        assert_eq!(alarm(1_024.0), Some(at));
    }

    #[test]
    fn absurd_settings_are_refused() {
        for settings in [
            PageHinkleySettings { threshold: f64::NAN, ..PageHinkleySettings::default() },
            PageHinkleySettings { forgetting: 0.0, ..PageHinkleySettings::default() },
            PageHinkleySettings { delta: -1.0, ..PageHinkleySettings::default() },
        ] {
            assert!(PageHinkley::new(settings).is_err());
        }
    }
}

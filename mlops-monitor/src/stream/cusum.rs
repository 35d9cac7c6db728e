//! Cumulative sums against a known level.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{Direction, Signal, StreamDetector, check, is_usable, running::Running};

/// The level that the stream is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CusumLevel {
    /// Known, such as from a reference profile.
    Known {
        /// The mean.
        mean: f64,
        /// The standard deviation, above 0.
        deviation: f64,
    },
    /// Mean and deviation of the first so many values, at least 2.
    First(u64),
}

/// Settings of [`Cusum`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CusumSettings {
    /// The level. Default that of the first 100 values.
    pub level: CusumLevel,
    /// Half of the shift to be found, in deviations, not below 0. Default 0.5.
    pub slack: f64,
    /// Sum that is an alarm, in deviations, above 0. Default 5: about 465 values between false alarms when the level is
    /// known and values are normal.
    pub threshold: f64,
    /// Which shifts are looked for. Default both.
    pub direction: Direction,
}

impl Default for CusumSettings {
    fn default() -> Self {
        Self { level: CusumLevel::First(100), slack: 0.5, threshold: 5.0, direction: Direction::Both }
    }
}

/// Alarms when standardised deviations beyond a slack add up to a threshold (Page, Biometrika 41, 1954; the tabular form of
/// Montgomery, Introduction to Statistical Quality Control, chapter 9).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cusum {
    settings: CusumSettings,
    first: Running,
    up: f64,
    down: f64,
    alarmed: bool,
}

impl Cusum {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: CusumSettings) -> Result<Self> {
        check("slack", settings.slack, settings.slack >= 0.0, "0 or more")?;
        check("threshold", settings.threshold, settings.threshold > 0.0, "above 0")?;
        match settings.level {
            CusumLevel::Known { mean, deviation } => {
                check("mean", mean, mean.is_finite(), "finite")?;
                check("deviation", deviation, deviation > 0.0 && deviation.is_finite(), "above 0 and finite")?;
            }
            CusumLevel::First(values) => check("values", crate::stats::float(values), values >= 2, "at least 2")?,
        }
        Ok(Self { settings, first: Running::default(), up: 0.0, down: 0.0, alarmed: false })
    }

    /// The level, once it is known and has a spread.
    fn level(&self) -> Option<(f64, f64)> {
        match self.settings.level {
            CusumLevel::Known { mean, deviation } => Some((mean, deviation)),
            CusumLevel::First(values) if self.first.n >= values => {
                Some((self.first.mean, self.first.variance().sqrt())).filter(|(_, deviation)| *deviation > 0.0)
            }
            CusumLevel::First(_) => None,
        }
    }
}

impl StreamDetector for Cusum {
    type Input = f64;

    fn update(&mut self, value: f64) -> Signal {
        if !is_usable(value) {
            return Signal::Skipped;
        }
        if self.alarmed {
            self.reset();
        }
        let Some((mean, deviation)) = self.level() else {
            self.first.add(value);
            return Signal::Stable;
        };
        let z = (value - mean) / deviation;
        // Bounded, so that the state can be written down whatever the deviation is.
        self.up = (self.up + z - self.settings.slack).clamp(0.0, f64::MAX);
        self.down = (self.down - z - self.settings.slack).clamp(0.0, f64::MAX);
        let (up, down) = (self.up > self.settings.threshold, self.down > self.settings.threshold);
        self.alarmed = match self.settings.direction {
            Direction::Up => up,
            Direction::Down => down,
            Direction::Both => up || down,
        };
        if self.alarmed { Signal::Drift } else { Signal::Stable }
    }

    /// A level that was learnt is learnt anew.
    fn reset(&mut self) {
        (self.first, self.up, self.down, self.alarmed) = (Running::default(), 0.0, 0.0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textbook_shift_is_found() {
        // A shift of one deviation needs about (5 + 1.166) / 0.5 = 10 values.
        let settings =
            CusumSettings { level: CusumLevel::Known { mean: 10.0, deviation: 1.0 }, ..CusumSettings::default() };
        let mut detector = Cusum::new(settings).unwrap();
        let values = std::iter::repeat_n(10.0, 50).chain(std::iter::repeat(11.0)).take(100);
        assert_eq!(values.map(|value| detector.update(value)).position(|signal| signal == Signal::Drift), Some(60));
    }

    #[test]
    fn a_constant_stream_teaches_no_level() {
        let mut detector = Cusum::new(CusumSettings::default()).unwrap();
        assert!((0..1_000).all(|_| detector.update(7.0) == Signal::Stable));
        assert_eq!(detector.update(f64::NAN), Signal::Skipped);
    }
}

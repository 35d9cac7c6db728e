//! Fast drift detection by Hoeffding's bound on a sliding window.

use std::collections::VecDeque;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Signal, StreamDetector, check_probability};
use crate::stats::{count_of, float};

/// Longest window, in values.
const WINDOW_MAX: usize = 1_000_000;

/// What a true input says; publications differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OneMeans {
    /// The prediction was wrong, as with the other detectors here.
    #[default]
    Wrong,
    /// The prediction was right, as in the original publication and in River.
    Right,
}

/// Settings of [`Fhddm`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FhddmSettings {
    /// Values in the window, at least 1. Default 100.
    pub window: usize,
    /// Values in a second, shorter window (the stacking variant); none by default.
    pub short_window: Option<usize>,
    /// Probability of a false alarm at one look, between 0 and 1. Default 1e-6.
    pub confidence: f64,
    /// What a true input says. Default that the prediction was wrong.
    pub one_means: OneMeans,
}

impl Default for FhddmSettings {
    fn default() -> Self {
        Self { window: 100, short_window: None, confidence: 1e-6, one_means: OneMeans::Wrong }
    }
}

/// Alarms when the share of right predictions in the window lies below its maximum by more than Hoeffding's bound
/// (Pesaranghader and Viktor, ECML-PKDD 2016).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fhddm {
    settings: FhddmSettings,
    window: VecDeque<bool>,
    right: u64,
    right_short: u64,
    most: u64,
    most_short: u64,
    alarmed: bool,
}

impl Fhddm {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: FhddmSettings) -> Result<Self> {
        check_probability("confidence", settings.confidence)?;
        if !(1..=WINDOW_MAX).contains(&settings.window) {
            return Err(Error::invalid_argument(format!(
                "window is {}; it must be from 1 to {WINDOW_MAX}",
                settings.window
            )));
        }
        if let Some(short) = settings.short_window.filter(|short| !(1..=settings.window).contains(short)) {
            return Err(Error::invalid_argument(format!(
                "short_window is {short}; it must be from 1 to the window, {}",
                settings.window
            )));
        }
        let window = VecDeque::with_capacity(settings.window + 1);
        Ok(Self { settings, window, right: 0, right_short: 0, most: 0, most_short: 0, alarmed: false })
    }

    /// Whether a count in a window of `length` fell too far below the most.
    fn fell(&self, most: u64, now: u64, length: usize) -> bool {
        let n = float(count_of(length));
        float(most) / n - float(now) / n > ((1.0 / self.settings.confidence).ln() / (2.0 * n)).sqrt()
    }
}

impl StreamDetector for Fhddm {
    /// Whether the prediction was wrong, or right: see [`FhddmSettings::one_means`].
    type Input = bool;

    fn update(&mut self, value: bool) -> Signal {
        if self.alarmed {
            self.reset();
        }
        let right = value == (self.settings.one_means == OneMeans::Right);
        let length = self.settings.window;
        self.window.push_back(right);
        self.right += u64::from(right);
        if let Some(short) = self.settings.short_window {
            self.right_short += u64::from(right);
            let left = self.window.len().checked_sub(short + 1).and_then(|at| self.window.get(at));
            self.right_short -= u64::from(left.copied().unwrap_or(false));
        }
        if self.window.len() > length {
            self.right -= u64::from(self.window.pop_front().unwrap_or(false));
        }
        if self.window.len() < length {
            return Signal::Stable;
        }
        self.most = self.most.max(self.right);
        self.most_short = self.most_short.max(self.right_short);
        let short = self.settings.short_window.is_some_and(|short| self.fell(self.most_short, self.right_short, short));
        self.alarmed = short || self.fell(self.most, self.right, length);
        if self.alarmed { Signal::Drift } else { Signal::Stable }
    }

    fn reset(&mut self) {
        self.window.clear();
        (self.right, self.right_short, self.most, self.most_short, self.alarmed) = (0, 0, 0, 0, false);
    }
}

//! Kolmogorov and Smirnov's test within a sliding window.

use std::collections::VecDeque;

use mlops_core::{Error, Result};
use mlops_metrics::random::draw_below as below;
use serde::{Deserialize, Serialize};

use super::{Signal, StreamDetector, check_probability};
use crate::stats::{KsMode, KsStatistic, count_of, float, ks_p_value, ks_statistic};

/// Longest window, in values.
const WINDOW_MAX: usize = 10_000;
/// Distances up to this are no drift, however significant.
const DISTANCE_MIN: f64 = 0.1;

/// Settings of [`Kswin`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KswinSettings {
    /// Significance level of one test, between 0 and 1. Default 0.005; every value is a test, so expect alarms.
    pub alpha: f64,
    /// Values in the window. Default 100.
    pub window: usize,
    /// The newest values, which are compared with as many drawn from the others; at most half of the window. Default 30.
    pub recent: usize,
    /// Seed of the draws. Default 0.
    pub seed: u64,
}

impl Default for KswinSettings {
    fn default() -> Self {
        Self { alpha: 0.005, window: 100, recent: 30, seed: 0 }
    }
}

/// Alarms when the newest values of a window differ from a random choice of the others (Raab, Heusinger and Schleif,
/// Neurocomputing 416, 2020). After an alarm the newest values are the beginning of the next window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kswin {
    settings: KswinSettings,
    /// Smallest distance, in 1/recent, whose p-value is at most alpha; beyond `recent` when there is none.
    critical: u64,
    /// In order of arrival.
    window: VecDeque<f64>,
    /// The part before the newest, and the newest, each in ascending order.
    older: Vec<f64>,
    recent: Vec<f64>,
    drawn: u64,
    alarmed: bool,
}

impl Kswin {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: KswinSettings) -> Result<Self> {
        check_probability("alpha", settings.alpha)?;
        let (window, recent) = (settings.window, settings.recent);
        if window > WINDOW_MAX || recent == 0 || recent > window / 2 {
            return Err(Error::invalid_argument(format!(
                "window is {window} and recent {recent}; take a window of at most {WINDOW_MAX}, and at most half of it as recent"
            )));
        }
        let n = count_of(recent);
        let significant = |steps: &u64| {
            let d = float(*steps) / float(n);
            let ks = KsStatistic { d, d_plus: d, d_minus: 0.0, h: steps * n, n, m: n };
            d > DISTANCE_MIN && ks_p_value(&ks, KsMode::Exact).is_some_and(|tail| tail.p() <= settings.alpha)
        };
        let critical = (1..=n).find(significant).unwrap_or(n + 1);
        Ok(Self {
            settings,
            critical,
            window: VecDeque::with_capacity(window + 1),
            older: Vec::new(),
            recent: Vec::new(),
            drawn: 0,
            alarmed: false,
        })
    }

    /// A uniform choice of as many older values as there are recent ones, in ascending order (selection sampling, Knuth,
    /// The Art of Computer Programming 2, 3.4.2).
    fn draw(&mut self) -> Vec<f64> {
        let (mut wanted, mut left) = (count_of(self.recent.len()), count_of(self.older.len()));
        let mut chosen = Vec::with_capacity(self.recent.len());
        for value in &self.older {
            self.drawn += 1;
            if below(self.settings.seed, self.drawn, left) < wanted {
                chosen.push(*value);
                wanted -= 1;
            }
            left -= 1;
        }
        chosen
    }
}

fn put(sorted: &mut Vec<f64>, value: f64) {
    sorted.insert(sorted.partition_point(|other| *other < value), value);
}

fn take(sorted: &mut Vec<f64>, value: f64) {
    sorted.remove(sorted.partition_point(|other| *other < value).min(sorted.len().saturating_sub(1)));
}

impl StreamDetector for Kswin {
    type Input = f64;

    fn update(&mut self, value: f64) -> Signal {
        if !value.is_finite() {
            return Signal::Skipped;
        }
        self.alarmed = false;
        self.window.push_back(value);
        put(&mut self.recent, value);
        if self.recent.len() > self.settings.recent {
            let at = self.window.len() - 1 - self.settings.recent;
            if let Some(&aged) = self.window.get(at) {
                take(&mut self.recent, aged);
                put(&mut self.older, aged);
            }
        }
        if self.window.len() > self.settings.window
            && let Some(gone) = self.window.pop_front()
        {
            take(&mut self.older, gone);
        }
        if self.window.len() < self.settings.window {
            return Signal::Stable;
        }
        let chosen = self.draw();
        let steps = ks_statistic(&chosen, &self.recent).map_or(0, |ks| ks.h / ks.n);
        self.alarmed = steps >= self.critical;
        if !self.alarmed {
            return Signal::Stable;
        }
        self.window.drain(..self.window.len() - self.settings.recent);
        self.older.clear();
        Signal::Drift
    }

    fn reset(&mut self) {
        self.window.clear();
        self.older.clear();
        self.recent.clear();
        (self.drawn, self.alarmed) = (0, false);
    }
}

//! Adaptive windowing.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Signal, StreamDetector, check_probability, is_usable};

/// Settings of [`Adwin`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdwinSettings {
    /// Probability of a false alarm at one look, between 0 and 1. Default 0.002.
    pub delta: f64,
    /// Looks every so many values, at least 1. Default 32.
    pub clock: u64,
    /// Buckets of one size before the two oldest are merged, at least 1. Default 5.
    pub buckets_max: usize,
    /// Shortest part of the window that is compared, at least 1. Default 5.
    pub part_min: u64,
    /// Values before the first look. Default 10.
    pub values_min: u64,
}

impl Default for AdwinSettings {
    fn default() -> Self {
        Self { delta: 0.002, clock: 32, buckets_max: 5, part_min: 5, values_min: 10 }
    }
}

/// Keeps the longest window whose parts agree on the mean, and alarms when two parts of it differ (Bifet and Gavalda, SIAM
/// Data Mining 2007). The window is kept in O(log n) buckets whose sizes are powers of two.
///
/// After an alarm it begins anew, as River's does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adwin {
    settings: AdwinSettings,
    /// `rows[i]` has buckets of 2^i values, oldest first.
    rows: Vec<Vec<Bucket>>,
    window: Part,
    seen: u64,
    alarmed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Bucket {
    total: f64,
    /// Sum of squared deviations from its mean.
    squares: f64,
}

/// Some neighbouring buckets together.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Part {
    n: f64,
    total: f64,
    squares: f64,
}

impl Part {
    fn mean(&self) -> f64 {
        self.total / self.n
    }

    /// What the distance between means adds to the squares of two parts together.
    fn between(&self, n: f64, mean: f64) -> f64 {
        let distance = self.mean() - mean;
        self.n * n * distance * distance / (self.n + n)
    }
}

impl Adwin {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(settings: AdwinSettings) -> Result<Self> {
        check_probability("delta", settings.delta)?;
        if settings.clock == 0 || settings.buckets_max == 0 || settings.part_min == 0 {
            return Err(Error::invalid_argument("clock, buckets_max and part_min must be at least 1"));
        }
        Ok(Self { settings, rows: vec![Vec::new()], window: Part::default(), seen: 0, alarmed: false })
    }

    /// Values in the window.
    #[must_use]
    pub fn width(&self) -> u64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count kept as a double")]
        let width = self.window.n as u64;
        width
    }

    /// Mean of the window; zero when it is empty.
    #[must_use]
    pub fn estimation(&self) -> f64 {
        if self.window.n > 0.0 { self.window.mean() } else { 0.0 }
    }

    fn insert(&mut self, value: f64) {
        if self.window.n > 0.0 {
            self.window.squares += self.window.between(1.0, value);
        }
        self.window.n += 1.0;
        self.window.total += value;
        let mut carried = Bucket { total: value, squares: 0.0 };
        let mut size = 1.0;
        for row in 0.. {
            if row == self.rows.len() {
                self.rows.push(Vec::new());
            }
            let Some(buckets) = self.rows.get_mut(row) else { return };
            buckets.push(carried);
            if buckets.len() <= self.settings.buckets_max {
                return;
            }
            let mut oldest = buckets.drain(..2);
            let (Some(a), Some(b)) = (oldest.next(), oldest.next()) else { return };
            let distance = a.total / size - b.total / size;
            carried =
                Bucket { total: a.total + b.total, squares: a.squares + b.squares + size * distance * distance / 2.0 };
            size *= 2.0;
        }
    }

    /// Whether some cut divides the window into parts of different means.
    fn changed(&self) -> bool {
        let (mut old, mut new) = (Part::default(), self.window);
        let confidence = (2.0 * self.window.n.ln() / self.settings.delta).ln();
        let variance = self.window.squares / self.window.n;
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        let part_min = self.settings.part_min as f64;
        let mut size = f64::powi(2.0, i32::try_from(self.rows.len()).unwrap_or(0));
        for row in self.rows.iter().rev() {
            size /= 2.0;
            for bucket in row {
                old.n += size;
                old.total += bucket.total;
                new.n -= size;
                new.total -= bucket.total;
                if new.n < part_min || old.n < part_min {
                    continue;
                }
                let inverse = 1.0 / (old.n - part_min + 1.0) + 1.0 / (new.n - part_min + 1.0);
                let bound = (2.0 * inverse * variance * confidence).sqrt() + 2.0 / 3.0 * confidence * inverse;
                if (old.mean() - new.mean()).abs() > bound {
                    return true;
                }
            }
        }
        false
    }
}

impl StreamDetector for Adwin {
    type Input = f64;

    fn update(&mut self, value: f64) -> Signal {
        if !is_usable(value) {
            return Signal::Skipped;
        }
        if self.alarmed {
            self.reset();
        }
        self.insert(value);
        self.seen += 1;
        if self.seen.is_multiple_of(self.settings.clock) && self.width() > self.settings.values_min {
            self.alarmed = self.changed();
        }
        if self.alarmed { Signal::Drift } else { Signal::Stable }
    }

    fn reset(&mut self) {
        self.rows.truncate(1);
        self.rows.iter_mut().for_each(Vec::clear);
        (self.window, self.seen, self.alarmed) = (Part::default(), 0, false);
    }
}

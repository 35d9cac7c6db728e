//! How a stream is cut into windows, and the bounds of everything that waits.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::profile::SketchSettings;

/// Most panes that settings may keep open at a time.
pub const PANES_MAX: u64 = 10_000;

/// How a stream is cut into windows. Times are event times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum WindowKind {
    /// One after another, each this long, beginning at multiples of it since the epoch.
    Tumbling {
        /// Length.
        size_ms: u64,
    },
    /// Overlapping: one ends every `step_ms` and holds what lies at most `size_ms`, a multiple of the step, before.
    Sliding {
        /// Length.
        size_ms: u64,
        /// From one end to the next.
        step_ms: u64,
    },
    /// As long as rows follow each other within `gap_ms`.
    Session {
        /// Longest pause within a window.
        gap_ms: u64,
    },
    /// By order of arrival: one ends every `step` rows and holds the last `rows`, a multiple of the step.
    Count {
        /// Rows of a window.
        rows: u64,
        /// Rows from one end to the next.
        step: u64,
    },
}

/// What becomes of rows whose windows are closed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatePolicy {
    /// They are counted and left out.
    #[default]
    Drop,
    /// They are counted and join the oldest window that is still open.
    NextWindow,
}

/// Settings of a [`super::LiveMonitor`].
///
/// ```
/// use mlops_monitor::live::{LiveSettings, WindowKind};
///
/// let settings: LiveSettings = serde_json::from_str(r#"{"window": {"kind": "tumbling", "size_ms": 60000}}"#)?;
/// assert_eq!(settings.window, WindowKind::Tumbling { size_ms: 60_000 });
/// settings.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveSettings {
    /// How the stream is cut. Default: an hour at a time.
    pub window: WindowKind,
    /// A column of the inputs with the time of each row, of an Arrow timestamp type; without one, rows have the time at
    /// which their request was answered.
    pub time_column: Option<String>,
    /// How long a window stays open for rows that come late, in event time. Default one minute.
    pub lateness_ms: u64,
    /// What becomes of rows that come later still.
    pub late: LatePolicy,
    /// Rows dated further ahead of the clock are counted and left out, so that one wrong date does not close every
    /// window. Default one hour.
    pub ahead_max_ms: u64,
    /// Rows dated further ahead of the newest row of their stream, by more than this and the time that the clock has
    /// gone on since that one came, are counted and left out, so that a date within `ahead_max_ms` cannot close windows
    /// either. A gap in data that are replayed faster than the clock must not be longer. Default off.
    pub jump_max_ms: Option<u64>,
    /// Batches that may wait, 1 to 1,000,000. Default 4,096.
    pub queue_batches_max: usize,
    /// Rows that may wait, at least 1. Default 262,144.
    pub queue_rows_max: u64,
    /// Accuracy of a window's summary.
    pub sketch: SketchSettings,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            window: WindowKind::Tumbling { size_ms: 3_600_000 },
            time_column: None,
            lateness_ms: 60_000,
            late: LatePolicy::Drop,
            ahead_max_ms: 3_600_000,
            jump_max_ms: None,
            queue_batches_max: 4_096,
            queue_rows_max: 262_144,
            sketch: SketchSettings::default(),
        }
    }
}

/// Longest time that settings may name, a thousand years: sums of such times stay far from overflow.
const MS_MAX: u64 = 1_000 * 366 * 86_400_000;

impl LiveSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        let (size, step, unit) = match self.window {
            WindowKind::Tumbling { size_ms } => (size_ms, size_ms, "window size_ms"),
            WindowKind::Sliding { size_ms, step_ms } => (size_ms, step_ms, "window step_ms"),
            WindowKind::Session { gap_ms } => (gap_ms, gap_ms, "window gap_ms"),
            WindowKind::Count { rows, step } => (rows, step, "window step"),
        };
        check((1..=MS_MAX).contains(&step), format!("{unit} must be from 1 to {MS_MAX}, found {step}"));
        let multiple = step > 0 && size % step == 0 && (step..=MS_MAX).contains(&size);
        check(multiple, format!("the window must be a multiple of its step, found {size} and {step}"));
        let jump = self.jump_max_ms.unwrap_or(0);
        for (name, value) in
            [("lateness_ms", self.lateness_ms), ("ahead_max_ms", self.ahead_max_ms), ("jump_max_ms", jump)]
        {
            check(value <= MS_MAX, format!("{name} must be at most {MS_MAX}, found {value}"));
        }
        let waits = if matches!(self.window, WindowKind::Count { .. }) { 0 } else { self.lateness_ms };
        let panes = size.saturating_add(waits) / step.max(1);
        check(panes <= PANES_MAX, format!("{panes} steps would be open at a time, at most {PANES_MAX} are allowed"));
        let batches = self.queue_batches_max;
        check((1..=1_000_000).contains(&batches), format!("queue_batches_max must be 1 to 1000000, found {batches}"));
        check(self.queue_rows_max > 0, "queue_rows_max must be at least 1".to_owned());
        if let Err(error) = self.sketch.validate() {
            faults.push(error.message().to_owned());
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("live monitor settings: {}", faults.join("; "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let settings = LiveSettings {
            window: WindowKind::Sliding { size_ms: 10, step_ms: 3 },
            queue_rows_max: 0,
            lateness_ms: u64::MAX,
            ..LiveSettings::default()
        };
        let error = settings.validate().unwrap_err();
        for part in ["multiple of its step", "queue_rows_max", "lateness_ms", "open at a time"] {
            assert!(error.message().contains(part), "{part}: {}", error.message());
        }
        assert!(LiveSettings::default().validate().is_ok());
    }
}

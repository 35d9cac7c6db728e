//! When an alert fires and when it is over: the settings of its state machine.
//!
//! Invariant: a rule that was validated has room for its breaches in its windows, and the level at
//! which an alert counts as over never lies beyond the one at which it counts as breached.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::state::Reading;

/// Most windows that a rule looks back on.
pub const WINDOWS_MAX: u32 = 64;

/// How bad it is; the value of the label `severity`. The words of PagerDuty's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// To be looked at in working hours.
    #[default]
    Warning,
    /// Something does not work.
    Error,
    /// Wake somebody up.
    Critical,
}

impl Severity {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// Reads a label's value; anything unknown is a warning.
    #[must_use]
    pub fn of_label(value: Option<&str>) -> Self {
        let all = [Self::Info, Self::Warning, Self::Error, Self::Critical];
        all.into_iter().find(|severity| Some(severity.as_str()) == value).unwrap_or_default()
    }
}

/// On which side of the threshold trouble lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A value at or above the threshold is a breach: drift, errors, latency.
    #[default]
    Above,
    /// A value at or below the threshold is a breach: accuracy, volume.
    Below,
}

/// When an alert fires and when it is over.
///
/// ```
/// use mlops_monitor::alert::AlertRule;
///
/// let rule: AlertRule = serde_json::from_str(r#"{"breaches_min": 3, "windows": 5}"#)?;
/// assert_eq!((rule.breaches_min, rule.windows, rule.resolve_share), (3, 5, 0.8));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertRule {
    /// Fires when this many of the last `windows` windows were breaches; at least 1. Default 2.
    pub breaches_min: u32,
    /// How many windows count, `breaches_min` to [`WINDOWS_MAX`]. Default 3.
    pub windows: u32,
    /// Share of the threshold below which a window counts as clear, above 0 and up to 1; for
    /// [`Direction::Below`] the mirror image: 0.8 is a fifth of the threshold above it. Default 0.8.
    pub resolve_share: f64,
    /// Is over after this many clear windows in a row, at least 1. Default 2.
    pub resolve_windows: u32,
    /// Has no data after this many missed windows in a row, at least 1. Default 2.
    pub no_data_windows: u32,
    /// Time from one window to the next in milliseconds, above 0. With it, windows that nobody
    /// reports count as missed, half an interval after they should have ended; without it
    /// (the default) only those that are reported as missing.
    pub interval_ms: Option<u64>,
    /// Whether missing data is an alert of its own, named as the rule with `NoData` behind it.
    /// Default yes.
    pub alert_on_no_data: bool,
    /// The label `severity` of alerts that do not bring their own.
    pub severity: Severity,
}

impl Default for AlertRule {
    fn default() -> Self {
        Self {
            breaches_min: 2,
            windows: 3,
            resolve_share: 0.8,
            resolve_windows: 2,
            no_data_windows: 2,
            interval_ms: None,
            alert_on_no_data: true,
            severity: Severity::default(),
        }
    }
}

impl AlertRule {
    /// Fires at the first breach, is over at the first clear window: for verdicts that are slow
    /// and certain already.
    #[must_use]
    pub fn immediate() -> Self {
        Self { breaches_min: 1, windows: 1, resolve_windows: 1, ..Self::default() }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        if !(1..=WINDOWS_MAX).contains(&self.windows) {
            faults.push(format!("windows must be 1 to {WINDOWS_MAX}, found {}", self.windows));
        }
        if !(1..=self.windows).contains(&self.breaches_min) {
            let (k, n) = (self.breaches_min, self.windows);
            faults.push(format!("breaches_min must be 1 to windows ({n}), found {k}"));
        }
        if !(self.resolve_share > 0.0 && self.resolve_share <= 1.0) {
            faults.push(format!("resolve_share must be above 0 and up to 1, found {}", self.resolve_share));
        }
        for (name, value) in [("resolve_windows", self.resolve_windows), ("no_data_windows", self.no_data_windows)] {
            if value == 0 {
                faults.push(format!("{name} must be at least 1, found 0"));
            }
        }
        if self.interval_ms == Some(0) {
            faults.push("interval_ms must be above 0, found 0".to_owned());
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("alert rule: {}", faults.join("; "))))
    }

    /// What a value means to the state machine.
    ///
    /// A value that is not a number is a missed window, as is a threshold that is not finite.
    /// Beyond the threshold it is a breach if `significant`, otherwise neither breach nor clear.
    #[must_use]
    pub fn read(&self, value: f64, threshold: f64, direction: Direction, significant: bool) -> Reading {
        if value.is_nan() || !threshold.is_finite() {
            return Reading::Missing;
        }
        let margin = (1.0 - self.resolve_share) * threshold.abs();
        let (breach, clear) = match direction {
            Direction::Above => (value >= threshold, value < threshold - margin),
            Direction::Below => (value <= threshold, value > threshold + margin),
        };
        match (breach, clear) {
            (true, _) if significant => Reading::Breach,
            (_, true) => Reading::Clear,
            _ => Reading::Between,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_at_once() {
        let rule = AlertRule {
            breaches_min: 4,
            windows: 3,
            resolve_share: f64::NAN,
            resolve_windows: 0,
            no_data_windows: 0,
            interval_ms: Some(0),
            ..AlertRule::default()
        };
        let error = rule.validate().unwrap_err();
        for word in ["breaches_min", "resolve_share", "resolve_windows", "no_data_windows", "interval_ms"] {
            assert!(error.message().contains(word), "{error}");
        }
        AlertRule::default().validate().unwrap();
        AlertRule::immediate().validate().unwrap();
    }

    #[test]
    fn values_are_read_on_both_sides_of_any_threshold() {
        let rule = AlertRule::default();
        let above = |value: f64, threshold: f64| rule.read(value, threshold, Direction::Above, true);
        let below = |value: f64, threshold: f64| rule.read(value, threshold, Direction::Below, true);
        assert_eq!([0.1, 0.0801, 0.0799].map(|v| above(v, 0.1)), [Reading::Breach, Reading::Between, Reading::Clear]);
        assert_eq!([0.5, 0.59, 0.61].map(|v| below(v, 0.5)), [Reading::Breach, Reading::Between, Reading::Clear]);
        assert_eq!([-1.0, -1.1, -1.3].map(|v| above(v, -1.0)), [Reading::Breach, Reading::Between, Reading::Clear]);
        assert_eq!([0.0, -1e-300].map(|v| above(v, 0.0)), [Reading::Breach, Reading::Clear]);
        assert_eq!(above(f64::INFINITY, 1.0), Reading::Breach);
        assert_eq!(above(f64::NEG_INFINITY, 1.0), Reading::Clear);
        assert_eq!([above(f64::NAN, 1.0), above(1.0, f64::NAN)], [Reading::Missing; 2]);
        assert_eq!(rule.read(5.0, 1.0, Direction::Above, false), Reading::Between);
    }
}

//! The knobs of a performance monitor and where their defaults come from.

use std::time::Duration;

use mlops_core::Result;
use mlops_metrics::{EstimateOptions, Measure};
use serde::{Deserialize, Serialize};

use super::{
    business::BusinessSettings,
    columns::{LabelColumns, RowColumns, Task, refuse},
    fairness::FairnessSettings,
    join::JoinSettings,
    slices::SliceSettings,
};
use crate::correction::Correction;

/// Most metrics of one monitor.
const METRICS_MAX: usize = 64;

/// Which rows are reported on together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowSettings {
    /// Predictions of so many seconds, in windows that begin at multiples of it since 1970.
    Seconds(u64),
    /// So many labeled rows, in order of prediction; with equal times at the end, a few more.
    Rows(usize),
}

impl Default for WindowSettings {
    fn default() -> Self {
        Self::Seconds(86_400)
    }
}

/// What a [`crate::performance::PerformanceMonitor`] watches and when it speaks up.
///
/// ```
/// use mlops_monitor::performance::{PerformanceSettings, Task, WindowSettings};
///
/// let settings = PerformanceSettings::new(Task::binary("p"))
///     .with_metrics(["roc_auc", "recall"])?
///     .with_window(WindowSettings::Seconds(3_600));
/// assert!(settings.validate().is_ok());
/// assert!(settings.with_metrics(["rmse"])?.validate().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerformanceSettings {
    /// What is predicted.
    pub task: Task,
    /// Columns of label batches.
    #[serde(default)]
    pub labels: LabelColumns,
    /// Metrics; without any, [`Task::default_metrics`].
    #[serde(default)]
    pub metrics: Vec<Measure>,
    /// Windows. Default one day.
    #[serde(default)]
    pub window: WindowSettings,
    /// Seconds after the end of a window that its labels are waited for; then it is closed.
    /// Default one week.
    #[serde(default = "week")]
    pub label_wait_s: u64,
    /// Share of labeled predictions from which a report counts as settled. Default 0.95.
    #[serde(default = "maturity")]
    pub maturity_min: f64,
    /// Confidence and resampling of intervals.
    #[serde(default)]
    pub estimates: EstimateOptions,
    /// Fewest rows (queries of a ranking task) on both sides for a verdict. Default 100.
    #[serde(default = "hundred")]
    pub n_min: u64,
    /// Share of false alarms among the changes that one report finds; under [`Correction::Bonferroni`] and
    /// [`Correction::Holm`] the chance of any. Default 0.05.
    #[serde(default = "five_percent")]
    pub fdr: f64,
    /// How p-values are corrected: over all metrics of a report, and over all slices that were looked at. Default
    /// Benjamini-Hochberg.
    #[serde(default)]
    pub correction: Correction,
    /// Smallest change that counts, relative to the reference value. Default 0.02.
    #[serde(default = "two_percent")]
    pub change_min: f64,
    /// Bounds of the join.
    #[serde(default)]
    pub join: JoinSettings,
    /// Slices to look for, when any.
    #[serde(default)]
    pub slices: Option<SliceSettings>,
    /// Protected attributes to follow, when any; for tasks with two classes.
    #[serde(default)]
    pub fairness: Option<FairnessSettings>,
    /// What predictions are worth, when it is known.
    #[serde(default)]
    pub business: Option<BusinessSettings>,
}

fn week() -> u64 {
    7 * 86_400
}
fn maturity() -> f64 {
    0.95
}
fn hundred() -> u64 {
    100
}
fn five_percent() -> f64 {
    0.05
}
fn two_percent() -> f64 {
    0.02
}

impl PerformanceSettings {
    /// Defaults for a task.
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self {
            task,
            labels: LabelColumns::default(),
            metrics: Vec::new(),
            window: WindowSettings::default(),
            label_wait_s: week(),
            maturity_min: maturity(),
            estimates: EstimateOptions::default(),
            n_min: hundred(),
            fdr: five_percent(),
            correction: Correction::default(),
            change_min: two_percent(),
            join: JoinSettings::default(),
            slices: None,
            fairness: None,
            business: None,
        }
    }

    /// Watches metrics by name.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that no metric has.
    pub fn with_metrics<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.metrics = names.into_iter().map(str::parse).collect::<Result<_>>()?;
        Ok(self)
    }

    /// Sets the windows.
    #[must_use]
    pub fn with_window(mut self, window: WindowSettings) -> Self {
        self.window = window;
        self
    }

    /// Sets how p-values are corrected.
    #[must_use]
    pub fn with_correction(mut self, correction: Correction) -> Self {
        self.correction = correction;
        self
    }

    /// Sets how long labels are waited for.
    #[must_use]
    pub fn with_label_wait_s(mut self, seconds: u64) -> Self {
        self.label_wait_s = seconds;
        self
    }

    /// Looks for slices.
    #[must_use]
    pub fn with_slices(mut self, slices: SliceSettings) -> Self {
        self.slices = Some(slices);
        self
    }

    /// Follows fairness.
    #[must_use]
    pub fn with_fairness(mut self, fairness: FairnessSettings) -> Self {
        self.fairness = Some(fairness);
        self
    }

    /// Puts a value on predictions.
    #[must_use]
    pub fn with_business(mut self, business: BusinessSettings) -> Self {
        self.business = Some(business);
        self
    }

    /// The metrics that are watched.
    #[must_use]
    pub fn measures(&self) -> Vec<Measure> {
        if self.metrics.is_empty() { self.task.default_metrics() } else { self.metrics.clone() }
    }

    /// What is kept of rows: every column that a part of the report needs, once.
    #[must_use]
    pub fn columns(&self) -> RowColumns {
        let slices = self.slices.iter().flat_map(|slices| slices.columns.iter());
        let protected = self.fairness.iter().flat_map(|fairness| fairness.protected.iter());
        let values = self.business.iter().filter_map(BusinessSettings::column);
        let mut kept: Vec<String> = Vec::new();
        for column in slices.chain(protected).chain(values) {
            if !kept.contains(column) {
                kept.push(column.clone());
            }
        }
        RowColumns { task: self.task.clone(), kept, labels: self.labels.clone() }
    }

    pub(crate) fn label_wait(&self) -> Duration {
        Duration::from_secs(self.label_wait_s)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let mut faults = self.task.faults();
        let measures = self.measures();
        let foreign = measures.iter().filter(|measure| !self.task.takes(**measure));
        faults.extend(foreign.map(|measure| format!("metric {measure} is not one of this task")));
        if measures.len() > METRICS_MAX {
            faults.push(format!("at most {METRICS_MAX} metrics can be watched, found {}", measures.len()));
        }
        let shares = [("fdr", self.fdr, self.fdr > 0.0), ("maturity_min", self.maturity_min, self.maturity_min >= 0.0)];
        for (name, value, positive) in shares {
            if !(positive && value <= 1.0) {
                faults.push(format!("{name} must be a share, found {value}"));
            }
        }
        if !(self.change_min.is_finite() && self.change_min >= 0.0) {
            faults.push(format!("change_min must be finite and at least 0, found {}", self.change_min));
        }
        if matches!(self.window, WindowSettings::Seconds(0) | WindowSettings::Rows(0)) {
            faults.push("a window must have at least one second or row".to_owned());
        }
        if matches!(self.window, WindowSettings::Rows(rows) if rows > self.join.joined_max) {
            faults.push("a window cannot have more rows than join.joined_max".to_owned());
        }
        faults.extend(self.estimates.validate().err().map(|error| error.message().to_owned()));
        faults.extend(self.join.validate().err().map(|error| error.message().to_owned()));
        faults.extend(self.slices.iter().flat_map(|slices| slices.faults(&self.task)));
        faults.extend(self.fairness.iter().flat_map(|fairness| fairness.faults(&self.task)));
        faults.extend(self.business.iter().flat_map(|business| business.faults(&self.task)));
        refuse("performance settings", &faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_at_once() {
        let mut settings = PerformanceSettings::new(Task::regression("y")).with_metrics(["f1"]).unwrap();
        settings.fdr = 0.0;
        settings.change_min = f64::NAN;
        settings.window = WindowSettings::Rows(0);
        settings.join.pending_max = 0;
        settings.estimates.level = 1.0;
        settings.fairness = Some(FairnessSettings::new(["sex"]));
        let error = settings.validate().unwrap_err();
        for word in ["f1", "fdr", "change_min", "window", "pending_max", "level", "fairness"] {
            assert!(error.message().contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn settings_read_from_little_json() {
        let json = r#"{"task": {"kind": "regression", "prediction": "y"}, "metrics": ["mae", "pinball_90"]}"#;
        let settings: PerformanceSettings = serde_json::from_str(json).unwrap();
        settings.validate().unwrap();
        assert_eq!(settings.measures().len(), 2);
        let back: PerformanceSettings = serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
        assert_eq!(back, settings);
        assert!(
            serde_json::from_str::<PerformanceSettings>(r#"{"task": {"kind": "binary", "score": "p"}, "x": 1}"#)
                .is_err()
        );
    }
}

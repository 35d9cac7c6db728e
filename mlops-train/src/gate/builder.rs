//! A gate and how it is declared.

use std::time::Duration;

use mlops_core::{Error, Result};
use mlops_metrics::{FairnessMetric, Metric};
use serde::{Deserialize, Serialize};

use super::{
    behavior::{Change, Expectation, Scenario},
    discovery::DiscoverySettings,
    requirement::Requirement,
    robustness::Disturbance,
};

/// Resamples of a bootstrap, the default.
const RESAMPLES: usize = 2_000;

/// Requirements that a model must meet before it may serve; plain data.
///
/// ```
/// use mlops_train::{Gate, GateInput, Metric};
///
/// let gate = Gate::builder()
///     .require(Metric::RocAuc, 0.6)
///     .beat_champion(Metric::RocAuc, -0.01, 0.95)
///     .build()?;
/// let labels: Vec<f64> = (0..200).map(|row| f64::from(row % 2)).collect();
/// let challenger: Vec<f64> = (0..200).map(|row| 0.2 * f64::from(row % 2) + f64::from(row % 5) / 10.0).collect();
/// let champion: Vec<f64> = (0..200).map(|row| f64::from(row * 7 % 10) / 10.0).collect();
/// let verdict = gate.judge(&GateInput::new(&labels, &challenger).with_champion(&champion));
/// assert!(verdict.passed, "{}", verdict.to_markdown());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "GateBuilder")]
pub struct Gate {
    pub(crate) requirements: Vec<Requirement>,
    pub(crate) resamples: usize,
    pub(crate) seed: u64,
}

/// Collects what makes a [`Gate`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateBuilder {
    requirements: Vec<Requirement>,
    resamples: usize,
    seed: u64,
}

impl TryFrom<GateBuilder> for Gate {
    type Error = Error;

    fn try_from(builder: GateBuilder) -> Result<Self> {
        builder.build()
    }
}

impl Gate {
    /// A gate without requirements yet.
    #[must_use]
    pub fn builder() -> GateBuilder {
        GateBuilder { requirements: Vec::new(), resamples: RESAMPLES, seed: 0 }
    }
}

impl GateBuilder {
    fn with(mut self, requirement: Requirement) -> Self {
        self.requirements.push(requirement);
        self
    }

    /// The metric must be at least `bound`, or at most where less is better.
    #[must_use]
    pub fn require(self, metric: Metric, bound: f64) -> Self {
        self.with(Requirement::Bound { metric, bound })
    }

    /// The metric must be better than the champion's by at least `margin`, with `confidence`
    /// (one-sided, in [0.5, 1)). A margin of zero asks for a model that is better, a negative one
    /// for a model that is not worse by more. ROC AUC is judged by DeLong's test, any other metric
    /// by a paired bootstrap over rows. Passes when there is no champion yet.
    #[must_use]
    pub fn beat_champion(self, metric: Metric, margin: f64, confidence: f64) -> Self {
        self.with(Requirement::Champion { metric, margin, confidence })
    }

    /// The metric must keep `bound` on every slice of at least `rows_min` rows; smaller ones are
    /// reported and not judged.
    #[must_use]
    pub fn require_on_slices(self, metric: Metric, bound: f64, rows_min: usize) -> Self {
        self.with(Requirement::Slices { metric, bound, rows_min })
    }

    /// Predicting must take at most so long per row.
    #[must_use]
    pub fn latency_max(self, per_row: Duration) -> Self {
        self.with(Requirement::Latency { per_row_max: per_row })
    }

    /// No slice of the data may have a mean loss that is, beyond chance, higher than elsewhere by more
    /// than `loss_excess_max`. The loss of a row is the squared difference of score and label. Needs
    /// the rows' features, see [`GateInput::with_model`](super::GateInput::with_model).
    #[must_use]
    pub fn no_worse_slice(self, loss_excess_max: f64, settings: DiscoverySettings) -> Self {
        self.with(Requirement::WorstSlices { loss_excess_max, settings })
    }

    /// A difference between groups may be at most, a ratio must be at least `bound`. Groups of fewer
    /// than `rows_min` rows take no part and are named. Needs
    /// [`GateInput::with_groups`](super::GateInput::with_groups).
    #[must_use]
    pub fn require_fairness(self, metric: FairnessMetric, bound: f64, rows_min: u64) -> Self {
        self.with(Requirement::Fairness { metric, bound, rows_min })
    }

    /// The model's package may have at most so many bytes.
    #[must_use]
    pub fn size_max(self, bytes: u64) -> Self {
        self.with(Requirement::Size { bytes_max: bytes })
    }

    /// At most this share of the judged rows may be copies of training rows or, where both have
    /// times, not later than all of them; and no feature may separate the classes alone with a larger
    /// area under the curve. Needs [`GateInput::with_training`](super::GateInput::with_training).
    #[must_use]
    pub fn no_leakage(self, duplicate_share_max: f64, feature_auc_max: f64) -> Self {
        self.with(Requirement::Leakage { duplicate_share_max, feature_auc_max })
    }

    /// At least this share of rows must react to a change as expected.
    #[must_use]
    pub fn require_behavior(
        self,
        name: impl Into<String>,
        change: Change,
        expectation: Expectation,
        share_min: f64,
    ) -> Self {
        self.with(Requirement::Behavior { name: name.into(), change, expectation, share_min })
    }

    /// A business rule must hold.
    #[must_use]
    pub fn require_scenario(self, scenario: Scenario) -> Self {
        self.with(Requirement::Scenario { scenario })
    }

    /// The metric may become worse by at most `worse_max` on disturbed data.
    #[must_use]
    pub fn require_robust(self, metric: Metric, disturbance: Disturbance, worse_max: f64) -> Self {
        self.with(Requirement::Robustness { metric, disturbance, worse_max })
    }

    /// Draws so many bootstrap resamples, 100 to 100,000; otherwise 2,000.
    #[must_use]
    pub fn with_resamples(mut self, resamples: usize) -> Self {
        self.resamples = resamples;
        self
    }

    /// Draws resamples from this seed; otherwise from zero.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// `InvalidArgument` naming all requirements that make no sense; also for none at all.
    pub fn build(self) -> Result<Gate> {
        let mut faults: Vec<String> = self.requirements.iter().filter_map(Requirement::fault).collect();
        if self.requirements.is_empty() {
            faults.push("a gate needs a requirement, else everything passes".to_owned());
        }
        if !(100..=100_000).contains(&self.resamples) {
            faults.push(format!("resamples must be from 100 to 100000, found {}", self.resamples));
        }
        if !faults.is_empty() {
            return Err(Error::invalid_argument(format!("gate: {}", faults.join("; "))));
        }
        Ok(Gate { requirements: self.requirements, resamples: self.resamples, seed: self.seed })
    }
}

//! One requirement of a gate, as plain data.

use std::time::Duration;

use mlops_metrics::{FairnessMetric, Metric};
use serde::{Deserialize, Serialize};

use super::{
    behavior::{Change, Expectation, Scenario},
    discovery::DiscoverySettings,
    robustness::Disturbance,
};

/// One requirement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Requirement {
    Bound { metric: Metric, bound: f64 },
    Champion { metric: Metric, margin: f64, confidence: f64 },
    Slices { metric: Metric, bound: f64, rows_min: usize },
    WorstSlices { loss_excess_max: f64, settings: DiscoverySettings },
    Fairness { metric: FairnessMetric, bound: f64, rows_min: u64 },
    Latency { per_row_max: Duration },
    Size { bytes_max: u64 },
    Leakage { duplicate_share_max: f64, feature_auc_max: f64 },
    Behavior { name: String, change: Change, expectation: Expectation, share_min: f64 },
    Scenario { scenario: Scenario },
    Robustness { metric: Metric, disturbance: Disturbance, worse_max: f64 },
}

impl Requirement {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Bound { metric, .. } => format!("{metric} bound"),
            Self::Champion { metric, .. } => format!("{metric} against champion"),
            Self::Slices { metric, .. } => format!("{metric} on slices"),
            Self::WorstSlices { .. } => "worst slices".to_owned(),
            Self::Fairness { metric, .. } => metric.to_string(),
            Self::Latency { .. } => "latency per row".to_owned(),
            Self::Size { .. } => "size".to_owned(),
            Self::Leakage { .. } => "leakage".to_owned(),
            Self::Behavior { name, .. } => format!("behavior: {name}"),
            Self::Scenario { scenario } => format!("rule: {}", scenario.name),
            Self::Robustness { metric, disturbance, .. } => format!("{metric} under {}", disturbance.name()),
        }
    }

    pub(crate) fn fault(&self) -> Option<String> {
        let is_share = |share: &f64| (0.0..=1.0).contains(share);
        let problem = match self {
            Self::Bound { bound, .. } | Self::Slices { bound, .. } if !bound.is_finite() => "needs a finite bound",
            Self::Slices { rows_min: 0, .. } | Self::Fairness { rows_min: 0, .. } => "needs rows_min of at least 1",
            Self::Champion { margin, .. } if !margin.is_finite() => "needs a finite margin",
            Self::Champion { confidence, .. } if !(0.5..1.0).contains(confidence) => "needs a confidence in [0.5, 1)",
            Self::Latency { per_row_max } if per_row_max.is_zero() => "needs a latency above zero",
            Self::Size { bytes_max: 0 } => "needs a size above zero",
            Self::Fairness { bound, .. } if !is_share(bound) => "needs a bound from 0 to 1",
            Self::WorstSlices { loss_excess_max, settings } => {
                settings.fault().or((!loss_excess_max.is_finite()).then_some("needs a finite excess of loss"))?
            }
            Self::Leakage { duplicate_share_max, feature_auc_max }
                if !is_share(duplicate_share_max) || !is_share(feature_auc_max) =>
            {
                "needs a share and an area from 0 to 1"
            }
            Self::Behavior { expectation, share_min, .. }
                if !(is_share(share_min) && expectation.tolerance() >= 0.0 && expectation.tolerance().is_finite()) =>
            {
                "needs a share from 0 to 1 and a tolerance of at least 0"
            }
            Self::Scenario { scenario } => scenario.fault()?,
            Self::Robustness { disturbance, worse_max, .. } => {
                disturbance.fault().or((!worse_max.is_finite()).then_some("needs a finite loss"))?
            }
            _ => return None,
        };
        Some(format!("{} {problem}", self.name()))
    }
}

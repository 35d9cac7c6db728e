//! The plan of a rollout as plain data.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Steps and guardrails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutSettings {
    /// Shares of traffic of the candidate, rising, each above 0 and at most 1.
    pub steps: Vec<f64>,
    /// Begin by mirroring: the candidate sees copies and answers nobody.
    pub shadow: bool,
    /// Requests that the candidate must have seen in a step before it may go on.
    pub min_requests: u64,
    /// Chance of rolling back a candidate that is as good as the champion, over the whole rollout, by the sequential
    /// tests on errors and on slow answers.
    pub alpha: f64,
    /// At the end of a step, most by which the candidate's error rate may exceed the champion's (absolute).
    pub max_error_rate_increase: f64,
    /// At the end of a step, most by which the candidate's mean latency may exceed the champion's (ratio).
    pub max_latency_ratio: f64,
    /// A request longer than this counts as slow, microseconds.
    pub slow_above_us: u64,
    /// Separates the bucketing of this rollout from that of others.
    pub salt: String,
    /// Header or text input whose value is the routing key, for stickiness; none routes by request id.
    pub sticky_by: Option<String>,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self {
            steps: vec![0.1, 0.5, 1.0],
            shadow: false,
            min_requests: 500,
            alpha: 0.05,
            max_error_rate_increase: 0.01,
            max_latency_ratio: 1.5,
            slow_above_us: 100_000,
            salt: String::new(),
            sticky_by: None,
        }
    }
}

impl RolloutSettings {
    /// Checks every number.
    ///
    /// # Errors
    /// `InvalidArgument` naming all settings at fault.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        let in_range = self.steps.iter().all(|&step| step > 0.0 && step <= 1.0);
        let rising = self.steps.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
        if self.steps.is_empty() || !in_range || !rising {
            faults.push(format!("steps {:?} must rise within 0 (exclusive) to 1", self.steps));
        }
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            faults.push(format!("alpha {} must be between 0 and 1", self.alpha));
        }
        if self.max_error_rate_increase.is_nan() || self.max_error_rate_increase < 0.0 {
            faults.push(format!("max_error_rate_increase {} must be at least 0", self.max_error_rate_increase));
        }
        if self.max_latency_ratio.is_nan() || self.max_latency_ratio < 1.0 {
            faults.push(format!("max_latency_ratio {} must be at least 1", self.max_latency_ratio));
        }
        if self.min_requests == 0 {
            faults.push("min_requests is 0".into());
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("rollout settings: {}", faults.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_must_rise_and_all_faults_are_named() {
        RolloutSettings::default().validate().unwrap();
        for steps in [vec![], vec![0.0], vec![0.5, 0.5], vec![0.1, 1.1], vec![f64::NAN]] {
            assert!(RolloutSettings { steps, ..Default::default() }.validate().is_err());
        }
        let error = RolloutSettings { alpha: 0.0, min_requests: 0, ..Default::default() }.validate().unwrap_err();
        assert!(error.message().contains("alpha 0") && error.message().contains("min_requests"), "{error}");
    }
}

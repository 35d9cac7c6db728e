//! What the arms of a rollout did: counts, and the means of what came of their answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::statistics::Moments;

/// What one arm did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ArmStats {
    /// Requests answered, errors included.
    pub requests: u64,
    /// Answers that failed by the server's fault.
    pub errors: u64,
    /// Answers slower than [`RolloutSettings::slow_above_us`](super::RolloutSettings::slow_above_us).
    pub slow: u64,
    /// Sum of the latencies, microseconds.
    pub latency_us_sum: u64,
    /// What came of the answers, by the name of the figure: a sale, a rating, minutes watched.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kpis: BTreeMap<String, Moments>,
}

impl ArmStats {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut kpis = self.kpis.clone();
        for (name, moments) in &other.kpis {
            let mine = kpis.entry(name.clone()).or_default();
            *mine = mine.plus(moments);
        }
        Self {
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
            slow: self.slow.saturating_add(other.slow),
            latency_us_sum: self.latency_us_sum.saturating_add(other.latency_us_sum),
            kpis,
        }
    }

    /// Errors per request; 0 without requests.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        ratio(self.errors, self.requests)
    }

    /// Mean latency in microseconds; 0 without requests.
    #[must_use]
    pub fn latency_us_mean(&self) -> f64 {
        ratio(self.latency_us_sum, self.requests)
    }

    /// What is known of a figure; nothing when none was reported.
    #[must_use]
    pub fn kpi(&self, name: &str) -> Moments {
        self.kpis.get(name).copied().unwrap_or_default()
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// All arms since the current stage began.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RolloutStats {
    /// The version in service.
    pub champion: ArmStats,
    /// The candidates, in their order (in a stage that mirrors: their copies).
    pub candidates: Vec<ArmStats>,
}

impl RolloutStats {
    /// Of a champion and one candidate.
    #[must_use]
    pub fn of(champion: ArmStats, candidate: ArmStats) -> Self {
        Self { champion, candidates: vec![candidate] }
    }

    /// What a candidate did, by its place; nothing for one that is not there.
    #[must_use]
    pub fn candidate(&self, place: usize) -> ArmStats {
        self.candidates.get(place).cloned().unwrap_or_default()
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let places = self.candidates.len().max(other.candidates.len());
        let candidates = (0..places).map(|place| self.candidate(place).plus(&other.candidate(place))).collect();
        Self { champion: self.champion.plus(&other.champion), candidates }
    }
}

//! What a run of the lifecycle found out: the content of `--json`, of the summary and of the
//! report.
//!
//! Everything but [`Traffic::latency_ms_p50`] and its neighbours follows from data and seed, so an
//! interrupted and resumed run gives the same results as one that was left alone.

use std::collections::BTreeMap;

use mlops::core::Timestamp;
use serde::{Deserialize, Serialize};

/// The whole outcome.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// Which run in this home, from 1.
    pub campaign: u64,
    pub stream: StreamFacts,
    /// Names the number by which periods are compared.
    pub headline_metric: String,
    pub prequential: Prequential,
    pub periods: Vec<Period>,
    pub versions: Vec<VersionFacts>,
    pub alias_moves: Vec<AliasMove>,
    pub traffic: Traffic,
    pub audit: AuditFacts,
    pub lineage: Lineage,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamFacts {
    pub name: String,
    pub description: String,
    pub simulated: bool,
    pub rows: u64,
    pub history_rows: u64,
    pub start: Timestamp,
    pub live_from: Timestamp,
    pub end: Timestamp,
}

/// Quality over all live rows, each predicted before its label was known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prequential {
    /// The system as it ran, retraining itself.
    pub system: Quality,
    /// The first champion, never retrained.
    pub never_retrained: Quality,
    /// Share of rows whose class equals that of the row before (the class known then).
    pub same_as_previous_accuracy: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Quality {
    pub accuracy: f64,
    /// None when a period has one class only.
    pub roc_auc: Option<f64>,
    pub average_precision: Option<f64>,
}

/// One period of live traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Period {
    pub index: usize,
    pub start: Timestamp,
    pub end: Timestamp,
    pub rows: u64,
    pub system: Quality,
    pub never_retrained: Quality,
    pub same_as_previous_accuracy: f64,
    pub drift: DriftFacts,
    /// What the retraining trigger decided and why.
    pub decision: String,
    /// Champion at the end of the period.
    pub champion: u64,
    /// Answers by version.
    pub answered_by: BTreeMap<u64, u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftFacts {
    pub detected: bool,
    /// Columns that drifted, most affected first.
    pub columns: Vec<String>,
    /// Largest population stability index over the columns.
    pub psi_max: f64,
    /// Share of the tested columns that drifted.
    pub share: f64,
}

/// One registered version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionFacts {
    pub version: u64,
    pub digest: String,
    pub run_id: String,
    pub trainer: String,
    /// Event time up to which it knows labels.
    pub trained_until: Timestamp,
    pub training_rows: u64,
    pub cv_metric: String,
    pub cv_mean: f64,
    pub cv_std: f64,
    pub gate: String,
    /// `promoted`, `rolled back` or `refused by the gate`.
    pub outcome: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AliasMove {
    /// Event time of the replay at which the alias moved.
    pub at: Timestamp,
    pub alias: String,
    pub from: Option<u64>,
    pub to: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    pub requests: u64,
    pub failed: u64,
    /// Predictions in the durable log of this campaign.
    pub logged: u64,
    pub latency_ms_p50: f64,
    pub latency_ms_p99: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditFacts {
    /// Whether the hash chain of the audit log is unbroken.
    pub verified: bool,
    pub entries: u64,
}

/// Who was made from what.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Lineage {
    pub edges: Vec<(String, String)>,
}

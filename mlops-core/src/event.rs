//! Facts that one part of the system announces to the others, after they are durable.
//!
//! An event is a notice, never the record: whoever misses one can recompute it from the store
//! that made it.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{Alias, Digest, ModelName, RunId, Version},
    ports::LineageEvent,
};

/// A fact with the time it became true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When the fact became durable.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

impl Event {
    /// An event at `at`.
    #[must_use]
    pub fn new(at: Timestamp, fact: Fact) -> Self {
        Self { at, fact }
    }
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fact {
    /// A batch of events was committed to a table.
    BatchIngested {
        /// Table that grew.
        table: String,
        /// The producer's id of the batch.
        batch_id: String,
        /// Table version after the commit.
        table_version: u64,
        /// Rows added.
        rows: u64,
    },
    /// A batch failed its checks and went to quarantine.
    QualityFailed {
        /// Table it was meant for.
        table: String,
        /// The producer's id of the batch.
        batch_id: String,
        /// Which rules failed, in words.
        failures: Vec<String>,
    },
    /// A view's online values are complete up to `until`.
    FeaturesMaterialized {
        /// Feature view.
        view: String,
        /// Event time up to which (inclusive) rows are online.
        until: Timestamp,
        /// Rows written.
        rows: u64,
    },
    /// A run that read or wrote data began or ended.
    LineageRecorded {
        /// Which, and what it read and wrote.
        event: LineageEvent,
    },
    /// A tracked run ended.
    RunFinished {
        /// The run.
        run_id: RunId,
        /// Final status in MLflow's words.
        status: String,
    },
    /// A model version exists.
    ModelVersionCreated {
        /// Registered model.
        model: ModelName,
        /// Its new version.
        version: Version,
        /// Digest of the package.
        digest: Digest,
    },
    /// An alias points elsewhere.
    AliasMoved {
        /// Registered model.
        model: ModelName,
        /// The alias.
        alias: Alias,
        /// Where it pointed.
        from: Option<Version>,
        /// Where it points; none when deleted.
        to: Option<Version>,
    },
    /// A rollout changed its state.
    RolloutChanged {
        /// Registered model.
        model: ModelName,
        /// Candidate version.
        candidate: Version,
        /// New state in words: `canary`, `promoted`, `rolled_back`.
        state: String,
        /// Share of traffic the candidate receives, 0 to 1.
        weight: f64,
    },
    /// Current data differs from the reference.
    DriftDetected {
        /// Registered model.
        model: ModelName,
        /// Version whose reference was used.
        version: Version,
        /// Columns that drifted, most affected first.
        columns: Vec<String>,
        /// End of the window that was compared.
        window_end: Timestamp,
    },
    /// An alert started to fire.
    AlertRaised {
        /// Name of the alert rule.
        alert: String,
        /// What was seen.
        message: String,
    },
    /// A model should be trained again.
    RetrainRequested {
        /// Registered model.
        model: ModelName,
        /// Why.
        reason: String,
    },
    /// A pipeline run ended.
    PipelineFinished {
        /// Pipeline (DAG) name.
        pipeline: String,
        /// Its run.
        run: String,
        /// Whether every task succeeded.
        succeeded: bool,
    },
}

/// The kinds of [`Fact`], for filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is documented at the variant of Fact with the same name")]
pub enum FactKind {
    BatchIngested,
    QualityFailed,
    FeaturesMaterialized,
    LineageRecorded,
    RunFinished,
    ModelVersionCreated,
    AliasMoved,
    RolloutChanged,
    DriftDetected,
    AlertRaised,
    RetrainRequested,
    PipelineFinished,
}

impl Fact {
    /// Which kind of fact this is.
    #[must_use]
    pub fn kind(&self) -> FactKind {
        match self {
            Self::BatchIngested { .. } => FactKind::BatchIngested,
            Self::QualityFailed { .. } => FactKind::QualityFailed,
            Self::FeaturesMaterialized { .. } => FactKind::FeaturesMaterialized,
            Self::LineageRecorded { .. } => FactKind::LineageRecorded,
            Self::RunFinished { .. } => FactKind::RunFinished,
            Self::ModelVersionCreated { .. } => FactKind::ModelVersionCreated,
            Self::AliasMoved { .. } => FactKind::AliasMoved,
            Self::RolloutChanged { .. } => FactKind::RolloutChanged,
            Self::DriftDetected { .. } => FactKind::DriftDetected,
            Self::AlertRaised { .. } => FactKind::AlertRaised,
            Self::RetrainRequested { .. } => FactKind::RetrainRequested,
            Self::PipelineFinished { .. } => FactKind::PipelineFinished,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_flat_json() {
        let fact = Fact::RetrainRequested { model: ModelName::new("fraud").unwrap(), reason: "drift".into() };
        let event = Event::new(Timestamp::from_micros(7), fact);
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, r#"{"at":7,"kind":"retrain_requested","model":"fraud","reason":"drift"}"#);
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        assert_eq!(event.fact.kind(), FactKind::RetrainRequested);
    }
}

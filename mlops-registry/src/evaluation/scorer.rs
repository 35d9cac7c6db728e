//! Scorers: how outputs are judged, as a client wrote it down. What is in one is never run here.

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ExperimentId,
    limits::{EXPERIMENT_NAME_MAX, check_length},
};

/// Longest scorer, in bytes.
const SERIALIZED_BYTES_MAX: usize = 1 << 20;

/// One version of a scorer, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scorer {
    /// The id that all versions share.
    pub id: String,
    /// The experiment that it belongs to.
    pub experiment: ExperimentId,
    /// Its name, one of a kind in the experiment.
    pub name: String,
    /// 1 for the first version.
    pub version: u64,
    /// The scorer as its client wrote it, JSON.
    pub serialized: String,
    /// When the version was made, in whole milliseconds.
    pub created: Timestamp,
}

/// How to register a version of a scorer.
///
/// ```
/// use mlops_registry::{ExperimentId, evaluation::RegisterScorer};
///
/// let scorer = RegisterScorer::new(ExperimentId(0), "brief", r#"{"instructions": "Is it brief?"}"#);
/// scorer.check()?;
/// assert!(RegisterScorer::new(ExperimentId(0), " ", "{}").check().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterScorer {
    /// The experiment that it belongs to.
    pub experiment: ExperimentId,
    /// Its name; a known one gets another version.
    pub name: String,
    /// The scorer, JSON of at most 1 MiB.
    pub serialized: String,
}

impl RegisterScorer {
    /// A version of a scorer.
    pub fn new(experiment: ExperimentId, name: impl Into<String>, serialized: impl Into<String>) -> Self {
        Self { experiment, name: name.into(), serialized: serialized.into() }
    }

    /// Checks name and size, and that the scorer is JSON and, where it names a model, that this has a name.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field.
    pub fn check(&self) -> Result<()> {
        if self.name.trim().is_empty() {
            return Err(Error::invalid_argument("Scorer name cannot be empty or contain only whitespace."));
        }
        check_length("scorer name", &self.name, EXPERIMENT_NAME_MAX)?;
        if self.serialized.len() > SERIALIZED_BYTES_MAX {
            let message = format!("serialized_scorer has more than {SERIALIZED_BYTES_MAX} bytes");
            return Err(Error::invalid_argument(message));
        }
        let scorer: Value = serde_json::from_str(&self.serialized)
            .map_err(|error| Error::invalid_argument("serialized_scorer must be valid JSON").with_source(error))?;
        match scorer.pointer("/instructions_judge_pydantic_data/model").and_then(Value::as_str) {
            Some(model) if model.trim().is_empty() => {
                Err(Error::invalid_argument("Scorer model cannot be empty or contain only whitespace."))
            }
            _ => Ok(()),
        }
    }
}

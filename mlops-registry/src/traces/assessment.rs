//! What people, programs and judges say about a trace or one of its spans.
//!
//! Invariant: an assessment that overrides another makes that one invalid, and its deletion makes it valid again; the
//! value may change, who said it and about which span may not.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::{ASSESSMENT_BYTES_MAX, DESCRIPTION_MAX, KEY_MAX, check_free_key, check_length};

/// Who says it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AssessmentSource {
    /// `HUMAN`, `LLM_JUDGE`, `CODE` or `SOURCE_TYPE_UNSPECIFIED`.
    pub kind: String,
    /// The name of the person, judge or program; may be empty.
    pub id: String,
}

impl AssessmentSource {
    /// A person.
    pub fn human(name: impl Into<String>) -> Self {
        Self { kind: "HUMAN".to_owned(), id: name.into() }
    }

    /// A program.
    pub fn code(name: impl Into<String>) -> Self {
        Self { kind: "CODE".to_owned(), id: name.into() }
    }
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssessmentValue {
    /// How good something was: a number, text, truth value, list or map.
    Feedback {
        /// The verdict; null when there is only an error.
        value: Value,
        /// Why there is no verdict: an object with `error_code`, `error_message` and `stack_trace`.
        error: Option<Value>,
    },
    /// What should have come out.
    Expectation {
        /// The expected value.
        value: Value,
    },
    /// A known issue that the trace shows.
    Issue {
        /// Its name.
        name: String,
    },
}

impl AssessmentValue {
    /// A verdict.
    pub fn feedback(value: impl Into<Value>) -> Self {
        Self::Feedback { value: value.into(), error: None }
    }

    /// An expected value.
    pub fn expectation(value: impl Into<Value>) -> Self {
        Self::Expectation { value: value.into() }
    }
}

/// A new assessment.
///
/// ```
/// use mlops_registry::{AssessmentSource, AssessmentValue, CreateAssessment};
///
/// let said = CreateAssessment::new("correct", AssessmentValue::feedback(true), AssessmentSource::human("ann"));
/// said.check()?;
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateAssessment {
    /// What is judged, such as `correctness`.
    pub name: String,
    /// What is said.
    pub value: AssessmentValue,
    /// Who says it.
    pub source: AssessmentSource,
    /// The span it is about; none: the whole trace.
    pub span_id: Option<String>,
    /// Why.
    pub rationale: Option<String>,
    /// More about it.
    pub metadata: BTreeMap<String, String>,
    /// The assessment that this one replaces.
    pub overrides: Option<String>,
    /// When it was made; absent: now.
    pub created: Option<Timestamp>,
}

impl CreateAssessment {
    /// About the whole trace, now, replacing nothing.
    pub fn new(name: impl Into<String>, value: AssessmentValue, source: AssessmentSource) -> Self {
        Self {
            name: name.into(),
            value,
            source,
            span_id: None,
            rationale: None,
            metadata: BTreeMap::new(),
            overrides: None,
            created: None,
        }
    }

    /// Checks names and sizes against the limits.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field.
    pub fn check(&self) -> Result<()> {
        check_free_key("assessment name", &self.name)?;
        check_length("assessment source_id", &self.source.id, KEY_MAX)?;
        check_length("assessment rationale", self.rationale.as_deref().unwrap_or_default(), DESCRIPTION_MAX)?;
        self.metadata.keys().try_for_each(|key| check_free_key("assessment metadata key", key))?;
        let bytes = serde_json::to_vec(&(&self.value, &self.metadata)).map_or(usize::MAX, |json| json.len());
        if bytes > ASSESSMENT_BYTES_MAX {
            return Err(Error::invalid_argument(format!(
                "assessment {:?} has {bytes} bytes of values; at most {ASSESSMENT_BYTES_MAX} are allowed",
                self.name
            )));
        }
        Ok(())
    }
}

/// An assessment as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Its id.
    pub id: String,
    /// The trace it is about.
    pub trace_id: String,
    /// What is judged.
    pub name: String,
    /// What is said.
    pub value: AssessmentValue,
    /// Who says it.
    pub source: AssessmentSource,
    /// The span it is about; none: the whole trace.
    pub span_id: Option<String>,
    /// Why.
    pub rationale: Option<String>,
    /// More about it.
    pub metadata: BTreeMap<String, String>,
    /// The assessment that this one replaced.
    pub overrides: Option<String>,
    /// Whether no other replaced it.
    pub valid: bool,
    /// When it was made, in whole milliseconds.
    pub created: Timestamp,
    /// When it last changed, in whole milliseconds.
    pub updated: Timestamp,
}

impl Assessment {
    /// What was asked for when it was made.
    pub(crate) fn body(&self) -> CreateAssessment {
        CreateAssessment {
            name: self.name.clone(),
            value: self.value.clone(),
            source: self.source.clone(),
            span_id: self.span_id.clone(),
            rationale: self.rationale.clone(),
            metadata: self.metadata.clone(),
            overrides: self.overrides.clone(),
            created: Some(self.created),
        }
    }

    /// As stored under an id.
    pub(crate) fn of(create: CreateAssessment, trace_id: &str, id: String, now: Timestamp) -> Self {
        let created = create.created.unwrap_or(now);
        Self {
            id,
            trace_id: trace_id.to_owned(),
            name: create.name,
            value: create.value,
            source: create.source,
            span_id: create.span_id,
            rationale: create.rationale,
            metadata: create.metadata,
            overrides: create.overrides,
            valid: true,
            created,
            updated: created,
        }
    }

    /// The same after an update.
    pub(crate) fn updated(mut self, update: AssessmentUpdate, now: Timestamp) -> Result<Self> {
        if let Some(value) = update.value {
            if std::mem::discriminant(&value) != std::mem::discriminant(&self.value) {
                return Err(Error::invalid_argument(format!(
                    "assessment {:?} cannot change between feedback, expectation and issue; make another one",
                    self.id
                )));
            }
            self.value = value;
        }
        self.name = update.name.unwrap_or(self.name);
        self.rationale = update.rationale.or(self.rationale);
        self.metadata.extend(update.metadata);
        // Not back, where the clock went there.
        self.updated = self.updated.max(now);
        self.body().check()?;
        Ok(self)
    }
}

/// What to change of an assessment; what is absent stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AssessmentUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Another value of the same kind.
    pub value: Option<AssessmentValue>,
    /// Another rationale.
    pub rationale: Option<String>,
    /// More metadata; keys that exist are replaced.
    pub metadata: BTreeMap<String, String>,
}

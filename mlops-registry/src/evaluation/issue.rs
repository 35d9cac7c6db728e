//! Issues: what goes wrong with an application, found in its traces.

use mlops_core::{Error, Result, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    ExperimentId,
    limits::{DESCRIPTION_MAX, KEY_MAX, check_length},
};

/// Most root causes, and most categories, of an issue.
const LISTED_MAX: usize = 100;
/// Longest root cause.
const ROOT_CAUSE_MAX: usize = 2_000;

/// What has become of an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueStatus {
    /// Nobody has decided.
    #[default]
    Pending,
    /// It is none.
    Rejected,
    /// It is mended.
    Resolved,
}

impl IssueStatus {
    /// All of them with their names.
    pub const NAMES: [(&'static str, Self); 3] =
        [("pending", Self::Pending), ("rejected", Self::Rejected), ("resolved", Self::Resolved)];

    /// The name, such as `pending`.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(self, &Self::NAMES)
    }
}

/// How bad an issue is, in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueSeverity {
    /// It is none.
    NotAnIssue,
    /// It can wait.
    Low,
    /// It should be mended.
    Medium,
    /// It should be mended soon.
    High,
}

impl IssueSeverity {
    /// All of them with their names.
    pub const NAMES: [(&'static str, Self); 4] =
        [("not_an_issue", Self::NotAnIssue), ("low", Self::Low), ("medium", Self::Medium), ("high", Self::High)];

    /// The name, such as `not_an_issue`.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(self, &Self::NAMES)
    }
}

/// The name of one of those that are all listed.
fn name_of<T: Copy + PartialEq>(one: T, names: &[(&'static str, T)]) -> &'static str {
    names.iter().find(|(_, known)| *known == one).map_or("", |(name, _)| name)
}

/// One issue, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its id.
    pub id: String,
    /// What it says.
    #[serde(flatten)]
    pub content: CreateIssue,
    /// When it was found, in whole milliseconds.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

/// How to record an issue.
///
/// ```
/// use mlops_registry::{ExperimentId, evaluation::CreateIssue};
///
/// let issue = CreateIssue::new(ExperimentId(0), "slow answers", "calls take more than ten seconds");
/// issue.check()?;
/// assert!(CreateIssue::new(ExperimentId(0), "", "of no name").check().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateIssue {
    /// The experiment whose traces show it.
    pub experiment: ExperimentId,
    /// A few words, at most 250 characters.
    pub name: String,
    /// All that is known, at most 100,000 characters.
    pub description: String,
    /// What has become of it.
    #[serde(default)]
    pub status: IssueStatus,
    /// How bad it is, once somebody has said so.
    #[serde(default)]
    pub severity: Option<IssueSeverity>,
    /// Why it happens: at most 100 texts of 2,000 characters.
    #[serde(default)]
    pub root_causes: Vec<String>,
    /// What it is an issue of: at most 100 texts of 250 characters.
    #[serde(default)]
    pub categories: Vec<String>,
    /// The run that found it.
    #[serde(default)]
    pub source_run: Option<RunId>,
    /// Who found it.
    #[serde(default)]
    pub created_by: Option<String>,
}

impl CreateIssue {
    /// An issue that nobody has judged.
    pub fn new(experiment: ExperimentId, name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            experiment,
            name: name.into(),
            description: description.into(),
            status: IssueStatus::default(),
            severity: None,
            root_causes: Vec::new(),
            categories: Vec::new(),
            source_run: None,
            created_by: None,
        }
    }

    /// Checks lengths and counts.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field.
    pub fn check(&self) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::invalid_argument("an issue needs a name"));
        }
        check_length("issue name", &self.name, KEY_MAX)?;
        check_length("issue description", &self.description, DESCRIPTION_MAX)?;
        check_length("issue created_by", self.created_by.as_deref().unwrap_or_default(), KEY_MAX)?;
        for (what, listed, max) in
            [("root_causes", &self.root_causes, ROOT_CAUSE_MAX), ("categories", &self.categories, KEY_MAX)]
        {
            if listed.len() > LISTED_MAX {
                return Err(Error::invalid_argument(format!("an issue has at most {LISTED_MAX} {what}")));
            }
            listed.iter().try_for_each(|text| check_length(what, text, max))?;
        }
        Ok(())
    }
}

/// What to change of an issue; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IssueUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// What has become of it.
    pub status: Option<IssueStatus>,
    /// How bad it is.
    pub severity: Option<IssueSeverity>,
}

impl Issue {
    /// The issue with the change.
    pub(super) fn updated(mut self, update: IssueUpdate, now: Timestamp) -> Result<Self> {
        let content = &mut self.content;
        content.name = update.name.unwrap_or_else(|| std::mem::take(&mut content.name));
        content.description = update.description.unwrap_or_else(|| std::mem::take(&mut content.description));
        content.status = update.status.unwrap_or(content.status);
        content.severity = update.severity.or(content.severity);
        content.check()?;
        // Not back, where the clock went there.
        self.updated = self.updated.max(now);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_is_stored() {
        for (name, status) in IssueStatus::NAMES {
            assert_eq!((status.name(), serde_json::to_value(status).unwrap()), (name, name.into()));
        }
        for (name, severity) in IssueSeverity::NAMES {
            assert_eq!((severity.name(), serde_json::to_value(severity).unwrap()), (name, name.into()));
        }
    }

    #[test]
    fn causes_and_categories_are_bounded() {
        let with = |causes: &[String], categories: &[String]| CreateIssue {
            root_causes: causes.to_vec(),
            categories: categories.to_vec(),
            ..CreateIssue::new(ExperimentId(0), "n", "d")
        };
        let of = |length: usize| "x".repeat(length);
        with(&[of(2_000)], &[of(250)]).check().unwrap();
        assert!(with(&[of(2_001)], &[]).check().unwrap_err().message().contains("'root_causes'"));
        assert!(with(&[], &[of(251)]).check().unwrap_err().message().contains("'categories'"));
        assert!(with(&vec![of(1); 101], &[]).check().is_err());
    }
}

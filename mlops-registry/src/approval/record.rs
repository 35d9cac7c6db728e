//! Approvals: plain data, as stored.

use std::{fmt, time::Duration};

use mlops_core::{Alias, Digest, Error, ModelName, Result, Timestamp, Version};
use serde::{Deserialize, Serialize};

use crate::{
    limits::{check_alias, check_length, check_plain_name},
    registry::Actor,
};

/// Longest reason or comment, in characters.
pub(crate) const REASON_MAX: usize = 4_000;
/// Longest time for which an approval may be asked.
pub(crate) const VALID_FOR_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Number of an approval within its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApprovalId(pub u64);

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the package is to be used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalTarget {
    /// Under an alias of its model.
    Alias(Alias),
    /// In another environment, such as `production`.
    Environment(String),
}

impl ApprovalTarget {
    /// Kind and name as they are stored.
    pub(crate) fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Alias(alias) => ("alias", alias.as_str()),
            Self::Environment(name) => ("environment", name),
        }
    }

    pub(crate) fn from_parts(kind: &str, name: String) -> Result<Self> {
        match kind {
            "alias" => Ok(Self::Alias(name.parse()?)),
            "environment" => Ok(Self::Environment(name)),
            other => {
                Err(Error::data_loss(format!("an approval is for {other:?}, which is neither alias nor environment")))
            }
        }
    }
}

impl fmt::Display for ApprovalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = self.parts();
        write!(f, "{kind} {name:?}")
    }
}

/// What is asked for.
///
/// ```
/// use std::time::Duration;
/// use mlops_core::{Alias, Principal};
/// use mlops_registry::{ApprovalTarget, RequestApproval};
///
/// let request = RequestApproval::new(ApprovalTarget::Alias(Alias::new("champion")?), Principal::new("ann"))
///     .with_reason("beats the champion on the holdout set")
///     .with_valid_for(Duration::from_secs(3_600));
/// assert_eq!(request.actor.0.name, "ann");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestApproval {
    /// Where the package is to be used.
    pub target: ApprovalTarget,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// How long the approval can be given and used, from now: 1 ms to 366 days. Default: a week.
    pub valid_for: Duration,
    /// Who asks.
    pub actor: Actor,
}

impl RequestApproval {
    /// A request without reason, valid for a week.
    #[must_use]
    pub fn new(target: ApprovalTarget, actor: impl Into<Actor>) -> Self {
        let valid_for = Duration::from_secs(7 * 24 * 3_600);
        Self { target, reason: String::new(), valid_for, actor: actor.into() }
    }

    /// The same with a reason.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// The same with another time to live.
    #[must_use]
    pub fn with_valid_for(mut self, valid_for: Duration) -> Self {
        self.valid_for = valid_for;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_length("reason", &self.reason, REASON_MAX)?;
        match &self.target {
            ApprovalTarget::Alias(alias) => check_alias(alias)?,
            ApprovalTarget::Environment(name) => check_plain_name("environment", name)?,
        }
        if self.valid_for < Duration::from_millis(1) || self.valid_for > VALID_FOR_MAX {
            return Err(Error::invalid_argument(format!(
                "an approval is asked for {:?}; choose from 1 ms to {} days",
                self.valid_for,
                VALID_FOR_MAX.as_secs() / 86_400
            )));
        }
        Ok(())
    }
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Agreed.
    Approve,
    /// Refused.
    Reject,
}

/// How to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decide {
    /// Why.
    pub comment: String,
    /// Who decides.
    pub actor: Actor,
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Nobody decided yet.
    Pending,
    /// Agreed and not used yet.
    Approved,
    /// Refused.
    Rejected,
    /// Agreed, and the move it admits has happened.
    Used,
    /// Taken back by who asked, or void because the model was deleted.
    Withdrawn,
    /// Its time ran out before it was used.
    Expired,
}

impl ApprovalState {
    const ALL: [Self; 6] = [Self::Pending, Self::Approved, Self::Rejected, Self::Used, Self::Withdrawn, Self::Expired];

    /// Its name as it is stored.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Used => "used",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| {
            Error::data_loss(format!("an approval is in a state {text:?} that this version does not know"))
        })
    }
}

/// A request for approval and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its number.
    pub id: ApprovalId,
    /// The model, under its present name.
    pub model: ModelName,
    /// The version that was asked for.
    pub version: Version,
    /// The package that is approved.
    pub digest: Digest,
    /// Where it is to be used.
    pub target: ApprovalTarget,
    /// Why it was asked for.
    pub reason: String,
    /// Who asked.
    pub requested_by: String,
    /// When it was asked for.
    pub requested: Timestamp,
    /// From when on it is void.
    pub expires: Timestamp,
    /// Where it stands.
    pub state: ApprovalState,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When it was decided.
    pub decided: Option<Timestamp>,
    /// Why it was decided so.
    pub comment: String,
    /// Who used it.
    pub used_by: Option<String>,
    /// When it was used.
    pub used: Option<Timestamp>,
}

/// Which approvals to list; the default lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalFilter {
    /// Of this model alone.
    pub model: Option<ModelName>,
    /// In this state alone.
    pub state: Option<ApprovalState>,
}

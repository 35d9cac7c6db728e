//! Who may do what, and the record of who did.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, error::Result};

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// Stable name of the user or service.
    pub name: String,
    /// Roles it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

impl Principal {
    /// A principal without roles.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), roles: Vec::new() }
    }

    /// The same with one more role.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Look at it.
    Read,
    /// Create or change it.
    Write,
    /// Remove it.
    Delete,
    /// Move an alias to it or raise its share of traffic.
    Promote,
    /// Agree to a promotion.
    Approve,
    /// Ask a model for predictions.
    Predict,
    /// Change permissions or settings.
    Administer,
}

/// What it is done to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// Kind in the field's words: `model`, `experiment`, `feature_view`, `table`, `pipeline`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Resource {
    /// A resource of `kind` called `name`.
    #[must_use]
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.name)
    }
}

/// Decides whether an action is allowed.
#[async_trait]
pub trait Authorizer: fmt::Debug + Send + Sync + 'static {
    /// Allows by returning `Ok`. Callers treat every error as a refusal.
    ///
    /// # Errors
    /// `PermissionDenied` naming principal, action and resource; `Unavailable` when no decision
    /// could be made.
    async fn authorize(&self, principal: &Principal, action: Action, resource: &Resource) -> Result<()>;
}

#[async_trait]
impl<T: Authorizer + ?Sized> Authorizer for Arc<T> {
    async fn authorize(&self, principal: &Principal, action: Action, resource: &Resource) -> Result<()> {
        (**self).authorize(principal, action, resource).await
    }
}

/// One governed action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub principal: Principal,
    /// Did what.
    pub action: Action,
    /// To what.
    pub resource: Resource,
    /// Details by stable key: versions, digests, reasons. Never secrets or row values.
    #[serde(default)]
    pub details: BTreeMap<String, String>,
}

/// Keeps the record of governed actions.
#[async_trait]
pub trait AuditSink: fmt::Debug + Send + Sync + 'static {
    /// Appends one entry; durable when it returns. Entries can never be changed afterwards.
    ///
    /// # Errors
    /// When the entry could not be kept; the caller must then not perform the action.
    async fn append(&self, entry: AuditEntry) -> Result<()>;
}

#[async_trait]
impl<T: AuditSink + ?Sized> AuditSink for Arc<T> {
    async fn append(&self, entry: AuditEntry) -> Result<()> {
        (**self).append(entry).await
    }
}

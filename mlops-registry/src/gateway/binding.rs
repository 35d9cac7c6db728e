//! What asks an endpoint.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{Change, NAME_MAX, check_name, check_optional, named::named};

named! {
    /// What can be bound to an endpoint.
    BindingKind {
        /// A scorer that judges by it.
        Scorer = "scorer",
    }
}

/// Something that asks an endpoint, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Id of the endpoint.
    pub endpoint: String,
    /// What it is.
    pub kind: BindingKind,
    /// Its id.
    pub resource: String,
    /// Who made it.
    pub change: Change,
}

/// How to bind something to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateBinding {
    /// Id of the endpoint.
    pub endpoint: String,
    /// What it is.
    pub kind: BindingKind,
    /// Its id, at most 255 characters.
    pub resource: String,
    /// Who binds it.
    pub created_by: Option<String>,
}

impl CreateBinding {
    pub(super) fn check(&self) -> Result<()> {
        check_name("resource_id", &self.resource, NAME_MAX)?;
        check_optional("created_by", self.created_by.as_ref(), NAME_MAX)
    }
}

/// Which bindings are wanted; what is absent does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BindingFilter {
    /// Of this endpoint.
    pub endpoint: Option<String>,
    /// Of this kind.
    pub kind: Option<BindingKind>,
    /// Of the resource of this id.
    pub resource: Option<String>,
}

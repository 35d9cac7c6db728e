//! Users, roles and grants: plain data, as stored.

use std::{fmt, str::FromStr};

use mlops_core::{Action, Digest, Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

/// How much of a resource somebody may touch. Levels are ordered: each allows what the ones before it allow.
///
/// ```
/// use mlops_core::Action;
/// use mlops_registry::access::Permission;
///
/// assert!(Permission::Edit.allows(Action::Write) && !Permission::Edit.allows(Action::Delete));
/// assert!(Permission::Read < Permission::Manage);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// Nothing, whatever else is granted.
    Deny,
    /// Nothing, unless something else is granted.
    NoPermissions,
    /// Look at it.
    Read,
    /// Look at it and ask it for predictions.
    Use,
    /// Also change it and move its aliases.
    Edit,
    /// Also delete it and grant permissions on it.
    Manage,
}

impl Permission {
    /// Every level, lowest first.
    pub const ALL: [Self; 6] = [Self::Deny, Self::NoPermissions, Self::Read, Self::Use, Self::Edit, Self::Manage];

    /// Whether this level is enough for an action.
    #[must_use]
    pub fn allows(self, action: Action) -> bool {
        let needed = match action {
            Action::Read => Self::Read,
            Action::Predict => Self::Use,
            Action::Write | Action::Promote => Self::Edit,
            // Whatever is added to the actions later is for those who manage.
            _ => Self::Manage,
        };
        self >= needed
    }

    /// The name, as MLflow writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "DENY",
            Self::NoPermissions => "NO_PERMISSIONS",
            Self::Read => "READ",
            Self::Use => "USE",
            Self::Edit => "EDIT",
            Self::Manage => "MANAGE",
        }
    }

    /// What several grants on one resource come to: [`Permission::Deny`] wins, else the highest; none without grants.
    #[must_use]
    pub fn fold(grants: impl IntoIterator<Item = Self>) -> Option<Self> {
        grants.into_iter().reduce(|left, right| match left.min(right) {
            Self::Deny => Self::Deny,
            _ => left.max(right),
        })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Permission {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::invalid_argument(format!("Invalid permission '{text}'. Valid permissions are: {names}"))
        })
    }
}

/// What can be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// An experiment by its number, with its runs and their files.
    Experiment,
    /// A registered model by its name, with its versions.
    RegisteredModel,
    /// A secret of the gateway by its id.
    GatewaySecret,
    /// An endpoint of the gateway by its id, with what is bound to it.
    GatewayEndpoint,
    /// A model of the gateway by its id.
    GatewayModelDefinition,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Experiment,
        Self::RegisteredModel,
        Self::GatewaySecret,
        Self::GatewayEndpoint,
        Self::GatewayModelDefinition,
    ];

    /// The name, as MLflow writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::RegisteredModel => "registered_model",
            Self::GatewaySecret => "gateway_secret",
            Self::GatewayEndpoint => "gateway_endpoint",
            Self::GatewayModelDefinition => "gateway_model_definition",
        }
    }

    /// The kind of core's [`Resource`](mlops_core::Resource): `model` for a registered model, else the name.
    #[must_use]
    pub fn resource_kind(self) -> &'static str {
        match self {
            Self::RegisteredModel => "model",
            other => other.name(),
        }
    }
}

impl FromStr for ResourceKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::invalid_argument(format!("Invalid resource type '{text}'. Valid resource types are: {names}"))
        })
    }
}

/// A permission on one resource, or on all of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The kind.
    pub kind: ResourceKind,
    /// Number of an experiment, name of a model, id of something of the gateway, or [`EVERY`](super::EVERY).
    pub resource: String,
    /// The level.
    pub permission: Permission,
}

/// Somebody who may sign in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Number, never given again.
    pub id: u64,
    /// Name, unique; upper and lower case differ.
    pub name: String,
    /// What the password must hash to.
    pub password_hash: String,
    /// Whether everything is allowed.
    pub admin: bool,
    /// The role that holds what was granted to this user alone.
    pub own_role: u64,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// A user, and the roles that they share with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The user.
    pub user: User,
    /// Names of the roles, oldest first.
    pub roles: Vec<String>,
}

/// How to create a user.
#[derive(Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Name of 1 to [`NAME_BYTES_MAX`](super::NAME_BYTES_MAX) bytes without control characters and `:`.
    pub name: String,
    /// What the password must hash to.
    pub password_hash: String,
    /// Whether everything is allowed.
    pub admin: bool,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser").field("name", &self.name).field("admin", &self.admin).finish_non_exhaustive()
    }
}

/// What to change of a user; absent fields stay as they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserUpdate {
    /// New hash of the password.
    pub password_hash: Option<String>,
    /// New standing as administrator.
    pub admin: Option<bool>,
}

impl fmt::Debug for UserUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserUpdate").field("admin", &self.admin).finish_non_exhaustive()
    }
}

/// How to give a user a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// SHA-256 of the token.
    pub digest: Digest,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is refused; absent: never.
    pub expires: Option<Timestamp>,
}

/// A token by which a program signs in as its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Number.
    pub id: u64,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is refused; absent: never.
    pub expires: Option<Timestamp>,
}

/// A named set of grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Number.
    pub id: u64,
    /// Name, unique.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The grants.
    pub grants: Vec<RoleGrant>,
}

/// What to change of a role; absent fields stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleUpdate {
    /// New name.
    pub name: Option<String>,
    /// New description.
    pub description: Option<String>,
}

/// One grant of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleGrant {
    /// Number.
    pub id: u64,
    /// The role.
    pub role: u64,
    /// What it grants.
    pub grant: Grant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_allow_what_mlflow_says() {
        use Action::{Administer, Approve, Delete, Predict, Promote, Read, Write};
        for (level, allowed) in [
            (Permission::Deny, &[][..]),
            (Permission::NoPermissions, &[]),
            (Permission::Read, &[Read]),
            (Permission::Use, &[Read, Predict]),
            (Permission::Edit, &[Read, Predict, Write, Promote]),
            (Permission::Manage, &[Read, Predict, Write, Promote, Delete, Approve, Administer]),
        ] {
            for action in [Read, Predict, Write, Promote, Delete, Approve, Administer] {
                assert_eq!(level.allows(action), allowed.contains(&action), "{level} {action:?}");
            }
            assert_eq!(level.name().parse::<Permission>().unwrap(), level);
        }
    }

    #[test]
    fn a_denial_wins_and_otherwise_the_highest() {
        use Permission::{Deny, Edit, Manage, NoPermissions, Read};
        for (grants, want) in [
            (vec![], None),
            (vec![Read, Manage, Edit], Some(Manage)),
            (vec![Manage, Deny], Some(Deny)),
            (vec![Deny, Read], Some(Deny)),
            (vec![NoPermissions, Read], Some(Read)),
            (vec![NoPermissions], Some(NoPermissions)),
        ] {
            assert_eq!(Permission::fold(grants.clone()), want, "{grants:?}");
        }
    }

    #[test]
    fn what_is_printed_has_no_hash() {
        let user = User { id: 1, name: "ann".into(), password_hash: "$argon2id$x".into(), admin: false, own_role: 1 };
        assert!(!format!("{user:?}").contains("argon2"));
    }
}

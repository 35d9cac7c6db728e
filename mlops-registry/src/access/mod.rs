//! Users, roles and what they may do with experiments and models, by MLflow's own levels of permission.
//!
//! [`AccessStore`] keeps them, [`SqlAccessStore`] in the metadata database; [`Permissions`] answers core's
//! [`Authorizer`](mlops_core::Authorizer) from them. Passwords and tokens are not known here, only their hashes.
//!
//! Invariant: every grant belongs to a role. Each user has a role of their own, and what a user is granted directly is
//! a grant of that role, so there is one way in which permissions come together.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod permission;
mod record;
mod sql;
mod store;

use mlops_core::{Error, Result};

pub use permission::Permissions;
pub use record::{
    Grant, NewToken, NewUser, Permission, ResourceKind, Role, RoleGrant, RoleUpdate, Standing, Token, User, UserUpdate,
};
pub use sql::SqlAccessStore;
pub use store::AccessStore;
#[cfg(feature = "mlflow")]
pub(crate) use store::known_user;

/// Longest name of a user or role, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Most users and most roles that one store keeps.
pub const LISTED_MAX: usize = 100_000;
/// Name of a resource by which a grant means all of its kind; no resource may be called so.
pub const EVERY: &str = "*";
/// The role that principals of administrators carry; no role of a store may be called so.
pub const ADMIN_ROLE: &str = "admin";

/// Refuses to call one resource by the name that means all of its kind.
pub(crate) fn check_own_name(kind: ResourceKind, name: &str) -> Result<()> {
    if name != EVERY {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "no {} is called {EVERY:?}: whoever may something with it may it with every one; choose another name",
        kind.resource_kind()
    )))
}

//! The port behind which users, roles and grants are kept.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Digest, Error, Result};

use super::record::{
    Grant, NewToken, NewUser, ResourceKind, Role, RoleGrant, RoleUpdate, Standing, Token, User, UserUpdate,
};

/// Keeps users, roles and grants. Every write is durable when it returns and either happens whole or not at all; what
/// is read afterwards, from whichever process, shows it.
///
/// Errors common to all calls: `Unavailable` when the store cannot be reached, `NotFound` for a user, role, grant or
/// token that does not exist; on writes also `InvalidArgument` for a name that is empty or too long.
#[async_trait]
pub trait AccessStore: fmt::Debug + Send + Sync + 'static {
    /// Creates a user with a role of their own.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; `ResourceExhausted` beyond [`LISTED_MAX`](super::LISTED_MAX) users.
    async fn create_user(&self, user: NewUser) -> Result<User>;

    /// The user of that name; none when there is none.
    ///
    /// # Errors
    /// Only the common ones.
    async fn user(&self, name: &str) -> Result<Option<User>>;

    /// The user of that name and the names of the roles that are not one user's own; none when there is no such user.
    /// Each request asks it, so it reads no grants.
    ///
    /// # Errors
    /// Only the common ones.
    async fn standing(&self, user: &str) -> Result<Option<Standing>>;

    /// Every user, by name.
    ///
    /// # Errors
    /// Only the common ones.
    async fn users(&self) -> Result<Vec<User>>;

    /// Changes a user.
    ///
    /// # Errors
    /// `FailedPrecondition` when nobody would be administrator any more.
    async fn update_user(&self, name: &str, update: UserUpdate) -> Result<()>;

    /// Deletes a user with tokens, own role and memberships.
    ///
    /// # Errors
    /// `FailedPrecondition` when nobody would be administrator any more.
    async fn delete_user(&self, name: &str) -> Result<()>;

    /// Gives a user a token.
    ///
    /// # Errors
    /// `AlreadyExists` when the token is known.
    async fn add_token(&self, user: &str, token: NewToken) -> Result<Token>;

    /// The tokens of a user, oldest first.
    ///
    /// # Errors
    /// Only the common ones.
    async fn tokens(&self, user: &str) -> Result<Vec<Token>>;

    /// The token of that digest and its user, expired or not; none when there is none.
    ///
    /// # Errors
    /// Only the common ones.
    async fn token(&self, digest: &Digest) -> Result<Option<(Token, User)>>;

    /// Takes a token of a user away.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_token(&self, user: &str, id: u64) -> Result<()>;

    /// Creates a role without grants.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, `InvalidArgument` when it is [`ADMIN_ROLE`](super::ADMIN_ROLE).
    async fn create_role(&self, name: &str, description: Option<&str>) -> Result<Role>;

    /// A role with its grants.
    ///
    /// # Errors
    /// Only the common ones.
    async fn role(&self, id: u64) -> Result<Role>;

    /// Every role that is not one user's own, by name.
    ///
    /// # Errors
    /// Only the common ones.
    async fn roles(&self) -> Result<Vec<Role>>;

    /// Changes a role.
    ///
    /// # Errors
    /// As [`AccessStore::create_role`]; `FailedPrecondition` for a user's own role.
    async fn update_role(&self, id: u64, update: RoleUpdate) -> Result<()>;

    /// Deletes a role with its grants and memberships.
    ///
    /// # Errors
    /// `FailedPrecondition` for a user's own role.
    async fn delete_role(&self, id: u64) -> Result<()>;

    /// Makes a user a member of a role, and gives the number of the membership; repeating it changes nothing.
    ///
    /// # Errors
    /// `FailedPrecondition` for a user's own role.
    async fn assign_role(&self, user: &str, role: u64) -> Result<u64>;

    /// Ends a membership.
    ///
    /// # Errors
    /// Only the common ones.
    async fn unassign_role(&self, user: &str, role: u64) -> Result<()>;

    /// The roles a user has, the own one first.
    ///
    /// # Errors
    /// Only the common ones.
    async fn roles_of(&self, user: &str) -> Result<Vec<Role>>;

    /// Number of the membership and of the user for every member of a role.
    ///
    /// # Errors
    /// Only the common ones.
    async fn members_of(&self, role: u64) -> Result<Vec<(u64, u64)>>;

    /// Grants something to a role, in place of an earlier permission on the same resource.
    ///
    /// # Errors
    /// Only the common ones.
    async fn grant(&self, role: u64, grant: Grant) -> Result<RoleGrant>;

    /// A grant by its number.
    ///
    /// # Errors
    /// Only the common ones.
    async fn role_grant(&self, id: u64) -> Result<RoleGrant>;

    /// Takes a grant away.
    ///
    /// # Errors
    /// Only the common ones.
    async fn revoke(&self, id: u64) -> Result<()>;

    /// The grants that count for a user on some resources: of every role, on one of the resources or on all of their
    /// kind. Empty for a user who does not exist.
    ///
    /// # Errors
    /// Only the common ones.
    async fn grants_for(&self, user: &str, kind: ResourceKind, resources: &[&str]) -> Result<Vec<Grant>>;

    /// Lets the grants on a resource follow its new name, or forget them when it is gone. A name that it has already
    /// changes nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when one of the names is [`EVERY`](super::EVERY).
    async fn move_grants(&self, kind: ResourceKind, resource: &str, to: Option<&str>) -> Result<()>;
}

/// The user of that name.
pub(crate) async fn known_user(users: &dyn AccessStore, name: &str) -> Result<User> {
    users.user(name).await?.ok_or_else(|| no_user(name))
}

pub(super) fn no_user(name: &str) -> Error {
    Error::not_found(format!("User with username={name} not found"))
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl<T: AccessStore + ?Sized> AccessStore for Arc<T> {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                (**self).$name($($arg),*).await
            })*
        }
    };
}

forward! {
    create_user(user: NewUser) -> User;
    user(name: &str) -> Option<User>;
    standing(user: &str) -> Option<Standing>;
    users() -> Vec<User>;
    update_user(name: &str, update: UserUpdate) -> ();
    delete_user(name: &str) -> ();
    add_token(user: &str, token: NewToken) -> Token;
    tokens(user: &str) -> Vec<Token>;
    token(digest: &Digest) -> Option<(Token, User)>;
    delete_token(user: &str, id: u64) -> ();
    create_role(name: &str, description: Option<&str>) -> Role;
    role(id: u64) -> Role;
    roles() -> Vec<Role>;
    update_role(id: u64, update: RoleUpdate) -> ();
    delete_role(id: u64) -> ();
    assign_role(user: &str, role: u64) -> u64;
    unassign_role(user: &str, role: u64) -> ();
    roles_of(user: &str) -> Vec<Role>;
    members_of(role: u64) -> Vec<(u64, u64)>;
    grant(role: u64, grant: Grant) -> RoleGrant;
    role_grant(id: u64) -> RoleGrant;
    revoke(id: u64) -> ();
    grants_for(user: &str, kind: ResourceKind, resources: &[&str]) -> Vec<Grant>;
    move_grants(kind: ResourceKind, resource: &str, to: Option<&str>) -> ();
}

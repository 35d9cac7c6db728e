//! Core's authorizer over the kept grants.

use std::sync::Arc;

use async_trait::async_trait;
use mlops_core::{Action, Authorizer, Error, Principal, Resource, Result};

use super::{
    EVERY,
    record::{Permission, ResourceKind, User},
    store::AccessStore,
};

/// Decides by MLflow's rules: administrators may everything; everybody else what their grants on the resource come to,
/// or the default permission where nothing is granted. Whoever can sign in may create experiments and models, which is
/// asked as [`Action::Write`] on the resource [`EVERY`]. Any other kind of resource is for administrators.
///
/// Grants are read at each decision, so that a change counts at once.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{Action, Authorizer, Principal, Resource};
/// use mlops_registry::access::{AccessStore, Grant, NewUser, Permission, Permissions, ResourceKind, SqlAccessStore};
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = Arc::new(SqlAccessStore::open(Arc::new(SqliteMetaStore::in_memory().await?)).await?);
/// let ann = store.create_user(NewUser { name: "ann".into(), password_hash: "...".into(), admin: false }).await?;
/// let grant = Grant { kind: ResourceKind::Experiment, resource: "7".into(), permission: Permission::Edit };
/// store.grant(ann.own_role, grant).await?;
///
/// let permissions = Permissions::new(store);
/// let (ann, seven) = (Principal::new("ann"), Resource::new("experiment", "7"));
/// permissions.authorize(&ann, Action::Write, &seven).await?;
/// assert!(permissions.authorize(&ann, Action::Delete, &seven).await.is_err());
/// permissions.authorize(&ann, Action::Read, &Resource::new("experiment", "8")).await?;
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Permissions {
    store: Arc<dyn AccessStore>,
    default: Permission,
}

impl Permissions {
    /// Decides by these grants; where there is none, [`Permission::Read`].
    #[must_use]
    pub fn new(store: Arc<dyn AccessStore>) -> Self {
        Self { store, default: Permission::Read }
    }

    /// What counts where nothing is granted. [`Permission::NoPermissions`] hides everything from everybody who was not
    /// let in.
    #[must_use]
    pub fn with_default(mut self, permission: Permission) -> Self {
        self.default = permission;
        self
    }

    /// What a user may do with a resource.
    ///
    /// # Errors
    /// `Unavailable` when the grants cannot be read.
    pub async fn permission(&self, user: &User, kind: ResourceKind, resource: &str) -> Result<Permission> {
        if user.admin {
            return Ok(Permission::Manage);
        }
        let grants = self.store.grants_for(&user.name, kind, resource).await?;
        Ok(Permission::fold(grants.into_iter().map(|grant| grant.permission)).unwrap_or(self.default))
    }
}

#[async_trait]
impl Authorizer for Permissions {
    async fn authorize(&self, principal: &Principal, action: Action, resource: &Resource) -> Result<()> {
        let Some(user) = self.store.user(&principal.name).await? else {
            return Err(Error::permission_denied(format!("{:?} is no user", principal.name)));
        };
        if user.admin {
            return Ok(());
        }
        let kind = ResourceKind::ALL.into_iter().find(|kind| kind.resource_kind() == resource.kind);
        let refused = |held: Permission| {
            Error::permission_denied(format!(
                "{:?} may not {action:?} {resource} with permission {held}; ask one who manages it",
                principal.name
            ))
        };
        match kind {
            None => Err(refused(Permission::NoPermissions)),
            Some(_) if resource.name == EVERY && action == Action::Write => Ok(()),
            Some(kind) => {
                let held = self.permission(&user, kind, &resource.name).await?;
                if held.allows(action) { Ok(()) } else { Err(refused(held)) }
            }
        }
    }
}

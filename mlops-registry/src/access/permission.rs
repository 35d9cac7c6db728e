//! Core's authorizer over the kept grants.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Action, Authorizer, Error, Principal, Resource, Result};

use super::{
    EVERY,
    record::{Grant, Permission, ResourceKind, User},
    store::AccessStore,
};

/// Decides by MLflow's rules: administrators may everything; everybody else what their grants on the resource come to,
/// or the default permission where nothing is granted. Whoever can sign in may create experiments, models and what a
/// gateway is configured by, which is asked as [`Action::Write`] on the resource [`EVERY`]. Any other kind of resource is
/// for administrators.
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
        Ok(self.permissions(user, kind, &[resource]).await?.pop().unwrap_or(self.default))
    }

    /// What a user may do with each of some resources, in their order.
    ///
    /// # Errors
    /// As [`Permissions::permission`].
    pub async fn permissions(&self, user: &User, kind: ResourceKind, resources: &[&str]) -> Result<Vec<Permission>> {
        if user.admin {
            return Ok(vec![Permission::Manage; resources.len()]);
        }
        let mut held: HashMap<String, Permission> = HashMap::new();
        for Grant { resource, permission, .. } in self.store.grants_for(&user.name, kind, resources).await? {
            let before = held.get(&resource).copied();
            held.extend(Permission::fold(before.into_iter().chain([permission])).map(|level| (resource, level)));
        }
        let of = |name: &str| held.get(name).copied();
        let fold = |name: &&str| Permission::fold([of(name), of(EVERY)].into_iter().flatten()).unwrap_or(self.default);
        Ok(resources.iter().map(fold).collect())
    }

    /// Whether a user may do something to each of some resources, in their order; else the level that does not suffice.
    pub(crate) async fn decide(
        &self,
        user: &User,
        action: Action,
        resources: &[Resource],
    ) -> Result<Vec<std::result::Result<(), Permission>>> {
        let mut held: HashMap<&Resource, Permission> = HashMap::new();
        for kind in ResourceKind::ALL {
            let asked = |resource: &&Resource| resource.kind == kind.resource_kind() && !is_creation(action, resource);
            let asked: Vec<&Resource> = resources.iter().filter(asked).collect();
            let names: Vec<&str> = asked.iter().map(|resource| resource.name.as_str()).collect();
            if !user.admin && !names.is_empty() {
                held.extend(asked.into_iter().zip(self.permissions(user, kind, &names).await?));
            }
        }
        let decide = |resource: &Resource| match held.get(resource) {
            _ if user.admin || is_creation(action, resource) => Ok(()),
            Some(level) if level.allows(action) => Ok(()),
            level => Err(level.copied().unwrap_or(Permission::NoPermissions)),
        };
        Ok(resources.iter().map(decide).collect())
    }
}

/// Whether the action makes something new, which everybody may who can sign in.
fn is_creation(action: Action, resource: &Resource) -> bool {
    let known = ResourceKind::ALL.iter().any(|kind| kind.resource_kind() == resource.kind);
    known && resource.name == EVERY && action == Action::Write
}

#[async_trait]
impl Authorizer for Permissions {
    async fn authorize(&self, principal: &Principal, action: Action, resource: &Resource) -> Result<()> {
        let Some(user) = self.store.user(&principal.name).await? else {
            return Err(Error::permission_denied(format!("{:?} is no user", principal.name)));
        };
        let decided = self.decide(&user, action, std::slice::from_ref(resource)).await?.pop();
        decided.unwrap_or(Err(Permission::NoPermissions)).map_err(|held| {
            Error::permission_denied(format!(
                "{:?} may not {action:?} {resource} with permission {held}; ask one who manages it",
                principal.name
            ))
        })
    }
}

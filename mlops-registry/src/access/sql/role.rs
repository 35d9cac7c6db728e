//! Roles, members and grants.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, Value, params};

use super::{SqlAccessStore, check_name, no_role, taken, user::require_user};
use crate::access::{
    ADMIN_ROLE, check_own_name,
    record::{Grant, ResourceKind, Role, RoleGrant, RoleUpdate},
};

/// Longest name of a resource in a grant, in bytes.
const RESOURCE_BYTES_MAX: usize = 1_024;

pub(super) fn read_grant(row: &Row) -> Result<RoleGrant> {
    let grant = Grant {
        kind: row.get::<String>("kind")?.parse()?,
        resource: row.get("resource")?,
        permission: row.get::<String>("permission")?.parse()?,
    };
    Ok(RoleGrant { id: row.get("id")?, role: row.get("role")?, grant })
}

fn check_role_name(name: &str) -> Result<()> {
    check_name("role", name)?;
    // Principals of administrators carry this role; the other form is a user's own role.
    if name == ADMIN_ROLE || name.starts_with("__user_") {
        return Err(Error::invalid_argument(format!("role name {name:?} has a meaning of its own; choose another")));
    }
    Ok(())
}

/// Refuses a role that is missing or one user's own.
async fn require_shared(tx: &mut dyn Transaction, id: u64) -> Result<()> {
    let row = tx.query_opt("SELECT own_of FROM access_role WHERE id = $1", params![id]).await?;
    match row.ok_or_else(|| no_role(id))?.get::<Option<u64>>("own_of")? {
        None => Ok(()),
        Some(_) => Err(Error::failed_precondition(format!("role {id} is one user's own; it goes with the user"))),
    }
}

impl SqlAccessStore {
    /// Roles that a query with columns of `access_role` finds, with their grants.
    pub(super) async fn read_roles(&self, filter: &str, values: &[Value]) -> Result<Vec<Role>> {
        let sql = format!("SELECT r.id, r.name, r.description FROM access_role r {filter}");
        let rows = self.meta.query(&sql, values).await?;
        let grants = format!("SELECT g.* FROM access_grant g JOIN access_role r ON r.id = g.role {filter}");
        let mut of_role: BTreeMap<u64, Vec<RoleGrant>> = BTreeMap::new();
        for row in self.meta.query(&grants, values).await? {
            let grant = read_grant(&row)?;
            of_role.entry(grant.role).or_default().push(grant);
        }
        rows.iter()
            .map(|row| {
                let id = row.get("id")?;
                let mut grants = of_role.remove(&id).unwrap_or_default();
                grants.sort_unstable_by_key(|grant| grant.id);
                Ok(Role { id, name: row.get("name")?, description: row.get("description")?, grants })
            })
            .collect()
    }

    pub(super) async fn try_create_role(&self, name: &str, description: Option<&str>) -> Result<Role> {
        check_role_name(name)?;
        let mut tx = self.meta.begin().await?;
        let sql = "INSERT INTO access_role (name, description) VALUES ($1, $2) RETURNING id";
        let row = tx.query_one(sql, params![name, description.map(str::to_owned)]).await;
        let id = row.map_err(|error| taken(error, "Role", name))?.get("id")?;
        tx.commit().await?;
        Ok(Role { id, name: name.to_owned(), description: description.map(str::to_owned), grants: Vec::new() })
    }

    pub(super) async fn try_update_role(&self, id: u64, update: &RoleUpdate) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        require_shared(tx.as_mut(), id).await?;
        if let Some(name) = &update.name {
            check_role_name(name)?;
            let set = tx.execute("UPDATE access_role SET name = $1 WHERE id = $2", params![name, id]).await;
            set.map_err(|error| taken(error, "Role", name))?;
        }
        if let Some(description) = &update.description {
            tx.execute("UPDATE access_role SET description = $1 WHERE id = $2", params![description, id]).await?;
        }
        tx.commit().await
    }

    pub(super) async fn try_delete_role(&self, id: u64) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        require_shared(tx.as_mut(), id).await?;
        for table in ["access_grant", "access_member"] {
            tx.execute(&format!("DELETE FROM {table} WHERE role = $1"), params![id]).await?;
        }
        tx.execute("DELETE FROM access_role WHERE id = $1", params![id]).await?;
        tx.commit().await
    }

    pub(super) async fn try_assign(&self, user: &str, role: u64) -> Result<u64> {
        let mut tx = self.meta.begin().await?;
        let user = require_user(tx.as_mut(), user).await?;
        require_shared(tx.as_mut(), role).await?;
        let sql = "INSERT INTO access_member (role, user_id) VALUES ($1, $2) ON CONFLICT (role, user_id) DO NOTHING";
        tx.execute(sql, params![role, user.id]).await?;
        let sql = "SELECT id FROM access_member WHERE role = $1 AND user_id = $2";
        let id = tx.query_one(sql, params![role, user.id]).await?.get("id")?;
        tx.commit().await?;
        Ok(id)
    }

    pub(super) async fn try_unassign(&self, user: &str, role: u64) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        let user = require_user(tx.as_mut(), user).await?;
        require_shared(tx.as_mut(), role).await?;
        let sql = "DELETE FROM access_member WHERE role = $1 AND user_id = $2";
        if tx.execute(sql, params![role, user.id]).await? == 0 {
            return Err(Error::not_found(format!("user {:?} does not have role {role}", user.name)));
        }
        tx.commit().await
    }

    pub(super) async fn try_grant(&self, role: u64, grant: &Grant) -> Result<RoleGrant> {
        if grant.resource.is_empty() || grant.resource.len() > RESOURCE_BYTES_MAX {
            return Err(Error::invalid_argument(format!(
                "a grant names a resource of 1 to {RESOURCE_BYTES_MAX} bytes; \"*\" means every one"
            )));
        }
        let mut tx = self.meta.begin().await?;
        let known = tx.query_opt("SELECT id FROM access_role WHERE id = $1", params![role]).await?;
        known.ok_or_else(|| no_role(role))?;
        let sql = "INSERT INTO access_grant (role, kind, resource, permission) VALUES ($1, $2, $3, $4)
            ON CONFLICT (role, kind, resource) DO UPDATE SET permission = excluded.permission
            RETURNING id, role, kind, resource, permission";
        let values = params![role, grant.kind.name(), &grant.resource, grant.permission.name()];
        let made = read_grant(&tx.query_one(sql, values).await?)?;
        tx.commit().await?;
        Ok(made)
    }

    pub(super) async fn try_move(&self, kind: ResourceKind, resource: &str, to: Option<&str>) -> Result<()> {
        [Some(resource), to].into_iter().flatten().try_for_each(|name| check_own_name(kind, name))?;
        if to == Some(resource) {
            return Ok(());
        }
        let mut tx = self.meta.begin().await?;
        let clear = "DELETE FROM access_grant WHERE kind = $1 AND resource = $2";
        // Grants that wait for the new name were given before anything was called so.
        tx.execute(clear, params![kind.name(), to.unwrap_or(resource)]).await?;
        if let Some(to) = to {
            let sql = "UPDATE access_grant SET resource = $1 WHERE kind = $2 AND resource = $3";
            tx.execute(sql, params![to, kind.name(), resource]).await?;
        }
        tx.commit().await
    }

    pub(super) async fn try_revoke(&self, id: u64) -> Result<()> {
        if self.meta.execute("DELETE FROM access_grant WHERE id = $1", params![id]).await? == 0 {
            return Err(Error::not_found(format!("Permission with id={id} not found")));
        }
        Ok(())
    }
}

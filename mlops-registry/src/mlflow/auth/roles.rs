//! `roles/...` of MLflow 3: named sets of grants and who has them. For administrators.

use axum::Router;
use mlops_core::{Action, Error, Resource, Result};
use serde_json::{Value, json};

use super::{Guard, grants::grant_of};
use crate::{
    access::{AccessStore, Grant, Role, RoleGrant, RoleUpdate},
    mlflow::{Api, DELETE, GET, Inner, PATCH, POST, on, request::Params},
};

/// The only workspace; MLflow names it so on servers without workspaces.
pub(super) const WORKSPACE: &str = "default";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/roles/create", on(POST, create))
        .route("/roles/get", on(GET, get))
        .route("/roles/list", on(GET, list))
        .route("/roles/update", on(PATCH, update))
        .route("/roles/delete", on(DELETE, delete))
        .route("/roles/permissions/add", on(POST, add_grant))
        .route("/roles/permissions/remove", on(DELETE, remove_grant))
        .route("/roles/permissions/list", on(GET, list_grants))
        .route("/roles/permissions/update", on(PATCH, update_grant))
        .route("/roles/assign", on(POST, assign))
        .route("/roles/unassign", on(DELETE, unassign))
        .route("/roles/users/list", on(GET, members))
        .route("/users/roles/list", on(GET, of_user))
}

impl Inner {
    async fn admin_desk(&self) -> Result<(&Guard, &dyn AccessStore)> {
        let (guard, users) = self.desk()?;
        guard.check_admin().await?;
        Ok((guard, users))
    }
}

async fn record(guard: &Guard, id: impl ToString, call: &str, detail: String) -> Result<()> {
    let details = [("call", call.to_owned()), ("detail", detail)];
    guard.record(Action::Administer, Resource::new("role", id.to_string()), details).await
}

fn number(params: &Params, name: &str) -> Result<u64> {
    u64::try_from(params.required_int(name)?)
        .map_err(|_| Error::invalid_argument(format!("Invalid value for parameter '{name}': it is a number from 0")))
}

fn role_grant(grant: &RoleGrant) -> Value {
    json!({
        "id": grant.id,
        "role_id": grant.role,
        "resource_type": grant.grant.kind.name(),
        "resource_pattern": grant.grant.resource,
        "permission": grant.grant.permission.name(),
    })
}

pub(super) fn role(role: &Role) -> Value {
    json!({
        "id": role.id,
        "name": role.name,
        "workspace": WORKSPACE,
        "description": role.description,
        "permissions": role.grants.iter().map(role_grant).collect::<Vec<_>>(),
    })
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.admin_desk().await?;
    let (name, workspace) = (params.required("name")?, params.required("workspace")?);
    if workspace != WORKSPACE {
        return Err(Error::invalid_argument(format!("workspace {workspace:?} does not exist; there is {WORKSPACE:?}")));
    }
    record(guard, name, "roles/create", String::new()).await?;
    Ok(json!({ "role": role(&users.create_role(name, params.text("description")?).await?) }))
}

async fn get(api: Api, params: Params) -> Result<Value> {
    let (_, users) = api.admin_desk().await?;
    Ok(json!({ "role": role(&users.role(number(&params, "role_id")?).await?) }))
}

async fn list(api: Api, params: Params) -> Result<Value> {
    let (_, users) = api.admin_desk().await?;
    let workspaces = params.texts("workspace")?;
    let asked = workspaces.is_empty() || workspaces.iter().any(|workspace| workspace == WORKSPACE);
    let roles = if asked { users.roles().await? } else { Vec::new() };
    Ok(json!({ "roles": roles.iter().map(role).collect::<Vec<_>>() }))
}

async fn update(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.admin_desk().await?;
    let id = number(&params, "role_id")?;
    let update = RoleUpdate { name: params.owned("name")?, description: params.owned("description")? };
    if update == RoleUpdate::default() {
        return Err(Error::invalid_argument(
            "At least one of 'name' or 'description' must be provided to update a role.",
        ));
    }
    record(guard, id, "roles/update", update.name.clone().unwrap_or_default()).await?;
    users.update_role(id, update).await?;
    Ok(json!({ "role": role(&users.role(id).await?) }))
}

async fn delete(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.admin_desk().await?;
    let id = number(&params, "role_id")?;
    record(guard, id, "roles/delete", String::new()).await?;
    users.delete_role(id).await?;
    Ok(json!({}))
}

async fn add_grant(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.admin_desk().await?;
    let (id, grant) = (number(&params, "role_id")?, grant_of(&params, "resource_pattern")?);
    let known = users.role(id).await?.grants;
    if known.iter().any(|known| known.grant.kind == grant.kind && known.grant.resource == grant.resource) {
        return Err(Error::already_exists(format!("Permission on {:?} of role {id} already exists.", grant.resource)));
    }
    record(guard, id, "roles/permissions/add", format!("{grant:?}")).await?;
    Ok(json!({ "role_permission": role_grant(&users.grant(id, grant).await?) }))
}

async fn remove_grant(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.admin_desk().await?;
    let found = users.role_grant(number(&params, "role_permission_id")?).await?;
    record(guard, found.role, "roles/permissions/remove", format!("{:?}", found.grant)).await?;
    users.revoke(found.id).await?;
    Ok(json!({}))
}

async fn list_grants(api: Api, params: Params) -> Result<Value> {
    let (_, users) = api.admin_desk().await?;
    let grants = users.role(number(&params, "role_id")?).await?.grants;
    Ok(json!({ "role_permissions": grants.iter().map(role_grant).collect::<Vec<_>>() }))
}

async fn update_grant(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.admin_desk().await?;
    let found = users.role_grant(number(&params, "role_permission_id")?).await?;
    let grant = Grant { permission: params.required("permission")?.parse()?, ..found.grant };
    record(guard, found.role, "roles/permissions/update", format!("{grant:?}")).await?;
    Ok(json!({ "role_permission": role_grant(&users.grant(found.role, grant).await?) }))
}

async fn assign(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.admin_desk().await?;
    let (user, id) = (api.named_user(&params).await?, number(&params, "role_id")?);
    record(guard, id, "roles/assign", user.name.clone()).await?;
    let membership = users.assign_role(&user.name, id).await?;
    Ok(json!({ "assignment": { "id": membership, "user_id": user.id, "role_id": id } }))
}

async fn unassign(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.admin_desk().await?;
    let (user, id) = (api.named_user(&params).await?, number(&params, "role_id")?);
    record(guard, id, "roles/unassign", user.name.clone()).await?;
    users.unassign_role(&user.name, id).await?;
    Ok(json!({}))
}

async fn members(api: Api, params: Params) -> Result<Value> {
    let (_, users) = api.admin_desk().await?;
    let id = number(&params, "role_id")?;
    let members = users.members_of(id).await?.into_iter();
    let shown = members.map(|(membership, user)| json!({ "id": membership, "user_id": user, "role_id": id }));
    Ok(json!({ "assignments": shown.collect::<Vec<_>>() }))
}

async fn of_user(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.desk()?;
    let name = params.required("username")?;
    if guard.principal()?.name != name {
        guard.check_admin().await?;
    }
    let roles = users.roles_of(name).await?;
    Ok(json!({ "roles": roles.iter().map(role).collect::<Vec<_>>() }))
}

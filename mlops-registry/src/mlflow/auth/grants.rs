//! Permissions of one user on one resource: `users/permissions/...` of MLflow 3, and the calls that older clients
//! make, `experiments/permissions/...` and `registered-models/permissions/...`.
//!
//! Invariant: only who manages a resource changes or sees what others may do with it.

use axum::{
    Json, Router,
    extract::{FromRequest as _, Request},
    http::{Method, header::CONTENT_TYPE},
    routing::{self, MethodFilter, MethodRouter},
};
use mlops_core::{Action, Error, Resource, Result};
use serde_json::{Value, json};

use super::{Caller, Guard, roles::WORKSPACE};
use crate::{
    access::{AccessStore, Grant, Permission, ResourceKind, RoleGrant, User},
    mlflow::{Api, DELETE, GET, Inner, PATCH, POST, failure::Failure, on, request::Params},
};

pub(super) fn routes() -> Router<Api> {
    let mut router = Router::new();
    for (family, kind) in
        [("experiments", ResourceKind::Experiment), ("registered-models", ResourceKind::RegisteredModel)]
    {
        router = router
            .route(&format!("/{family}/permissions/create"), older(POST, move |api, params| create(api, params, kind)))
            .route(&format!("/{family}/permissions/get"), older(GET, move |api, params| get(api, params, kind)))
            .route(&format!("/{family}/permissions/update"), older(PATCH, move |api, params| update(api, params, kind)))
            .route(
                &format!("/{family}/permissions/delete"),
                older(DELETE, move |api, params| delete(api, params, kind)),
            );
    }
    router
}

/// A call that MLflow has no more: a body that says nothing of its type, as that of one who only asks whether the call is
/// there, has no fields.
fn older<F, Fut>(methods: MethodFilter, handler: F) -> MethodRouter<Api>
where
    F: Fn(Api, Params) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Value>> + Send,
{
    routing::on(methods, async move |Caller(api): Caller, request: Request| {
        let params = match request.headers().contains_key(CONTENT_TYPE) || request.method() == Method::GET {
            true => Params::from_request(request, &()).await?,
            false => Params::default(),
        };
        handler(api, params).await.map(Json).map_err(Failure)
    })
}

pub(super) fn routes_3() -> Router<Api> {
    Router::new()
        .route("/users/permissions/grant", on(POST, grant))
        .route("/users/permissions/revoke", on(POST, revoke))
        .route("/users/permissions/get", on(GET, effective))
        .route("/users/permissions/list", on(GET, list))
        .route("/users/current/permissions", on(GET, list_own))
}

/// The grant that a request writes; `resource` is the field with the name of the resource.
pub(super) fn grant_of(params: &Params, resource: &str) -> Result<Grant> {
    let (kind, permission) = (params.required("resource_type")?.parse()?, params.required("permission")?.parse()?);
    Ok(Grant { kind, resource: params.required(resource)?.to_owned(), permission })
}

/// Who asks, and the users.
type Desk<'a> = (&'a Guard, &'a dyn AccessStore);

impl Inner {
    /// The desk for one who manages the resource.
    async fn manager(&self, kind: ResourceKind, resource: &str) -> Result<Desk<'_>> {
        let (guard, users) = self.desk()?;
        guard.check(Action::Administer, &Resource::new(kind.resource_kind(), resource)).await?;
        Ok((guard, users))
    }
}

/// What was granted to a user directly.
async fn direct(users: &dyn AccessStore, user: &User, kind: ResourceKind, resource: &str) -> Result<RoleGrant> {
    let grants = users.role(user.own_role).await?.grants.into_iter();
    let mut found = grants.filter(|grant| grant.grant.kind == kind && grant.grant.resource == resource);
    found.next().ok_or_else(|| {
        Error::not_found(format!(
            "Permission of username={} on {} {resource} not found",
            user.name,
            kind.resource_kind()
        ))
    })
}

async fn record(
    guard: &Guard,
    user: &User,
    kind: ResourceKind,
    resource: &str,
    level: Option<Permission>,
) -> Result<()> {
    let details = [
        ("call", "permissions".to_owned()),
        ("user", user.name.clone()),
        ("permission", level.map_or("revoked", Permission::name).to_owned()),
    ];
    guard.record(Action::Administer, Resource::new(kind.resource_kind(), resource), details).await
}

async fn set((guard, users): Desk<'_>, user: &User, grant: Grant) -> Result<RoleGrant> {
    record(guard, user, grant.kind, &grant.resource, Some(grant.permission)).await?;
    users.grant(user.own_role, grant).await
}

async fn unset((guard, users): Desk<'_>, user: &User, kind: ResourceKind, resource: &str) -> Result<()> {
    let found = direct(users, user, kind, resource).await?;
    record(guard, user, kind, resource, None).await?;
    users.revoke(found.id).await
}

async fn grant(api: Api, params: Params) -> Result<Value> {
    let grant = grant_of(&params, "resource_id")?;
    let desk = api.manager(grant.kind, &grant.resource).await?;
    set(desk, &api.named_user(&params).await?, grant).await?;
    Ok(json!({}))
}

async fn revoke(api: Api, params: Params) -> Result<Value> {
    let (kind, resource) = (params.required("resource_type")?.parse()?, params.required("resource_id")?);
    let desk = api.manager(kind, resource).await?;
    unset(desk, &api.named_user(&params).await?, kind, resource).await?;
    Ok(json!({}))
}

async fn effective(api: Api, params: Params) -> Result<Value> {
    let (kind, resource): (ResourceKind, _) =
        (params.required("resource_type")?.parse()?, params.required("resource_id")?);
    let (guard, _) = api.desk()?;
    if guard.principal()?.name != params.required("username")? {
        api.manager(kind, resource).await?;
    }
    let user = api.named_user(&params).await?;
    let Some(permissions) = &guard.parts().permissions else {
        return Err(Error::unimplemented("permissions are decided by the application around this server"));
    };
    let held = permissions.permission(&user, kind, resource).await?;
    Ok(json!({ "allowed": held >= Permission::Use, "permission": held.name() }))
}

async fn list(api: Api, params: Params) -> Result<Value> {
    let (guard, _) = api.desk()?;
    if guard.principal()?.name != params.required("username")? {
        guard.check_admin().await?;
    }
    all_of(&api, &api.named_user(&params).await?).await
}

async fn list_own(api: Api, _: Params) -> Result<Value> {
    all_of(&api, api.own_user().await?).await
}

async fn all_of(api: &Api, user: &User) -> Result<Value> {
    let mut rows = Vec::new();
    for role in api.desk()?.1.roles_of(&user.name).await? {
        rows.extend(role.grants.iter().map(|grant| {
            json!({
                "role_id": role.id,
                "role_name": role.name,
                "workspace": WORKSPACE,
                "resource_type": grant.grant.kind.name(),
                "resource_pattern": grant.grant.resource,
                "permission": grant.grant.permission.name(),
            })
        }));
    }
    Ok(json!({ "is_admin": user.admin, "permissions": rows }))
}

/// The fields by which older clients name a resource of a kind and its permission. They know experiments and registered
/// models alone.
fn fields(kind: ResourceKind) -> (&'static str, &'static str) {
    match kind {
        ResourceKind::Experiment => ("experiment_id", "experiment_permission"),
        _ => ("name", "registered_model_permission"),
    }
}

fn shown(grant: &RoleGrant, user: &User) -> Value {
    let (name, outer) = fields(grant.grant.kind);
    json!({ outer: { name: grant.grant.resource, "user_id": user.id, "permission": grant.grant.permission.name() } })
}

/// The resource that an older client names. MLflow has these calls no more, and who asks without saying what for, to find
/// out whether they are there, is told so.
fn named(params: &Params, kind: ResourceKind) -> Result<&str> {
    let gone = || Error::not_found("MLflow has no such route any more; use users/permissions/... of the third API");
    params.text(fields(kind).0)?.filter(|name| !name.is_empty()).ok_or_else(gone)
}

async fn create(api: Api, params: Params, kind: ResourceKind) -> Result<Value> {
    let resource = named(&params, kind)?;
    let desk = api.manager(kind, resource).await?;
    let (user, permission) = (api.named_user(&params).await?, params.required("permission")?.parse()?);
    if direct(desk.1, &user, kind, resource).await.is_ok() {
        return Err(Error::already_exists(format!(
            "Permission of username={} on {resource} already exists.",
            user.name
        )));
    }
    Ok(shown(&set(desk, &user, Grant { kind, resource: resource.to_owned(), permission }).await?, &user))
}

async fn get(api: Api, params: Params, kind: ResourceKind) -> Result<Value> {
    let resource = named(&params, kind)?;
    let (_, users) = api.manager(kind, resource).await?;
    let user = api.named_user(&params).await?;
    Ok(shown(&direct(users, &user, kind, resource).await?, &user))
}

async fn update(api: Api, params: Params, kind: ResourceKind) -> Result<Value> {
    let resource = named(&params, kind)?;
    let desk = api.manager(kind, resource).await?;
    let (user, permission) = (api.named_user(&params).await?, params.required("permission")?.parse()?);
    direct(desk.1, &user, kind, resource).await?;
    set(desk, &user, Grant { kind, resource: resource.to_owned(), permission }).await?;
    Ok(json!({}))
}

async fn delete(api: Api, params: Params, kind: ResourceKind) -> Result<Value> {
    let resource = named(&params, kind)?;
    let desk = api.manager(kind, resource).await?;
    unset(desk, &api.named_user(&params).await?, kind, resource).await?;
    Ok(json!({}))
}

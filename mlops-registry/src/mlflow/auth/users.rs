//! `users/...`: accounts and tokens. Tokens are an addition to MLflow's API.

use axum::Router;
use mlops_core::{Action, Digest, Error, Resource, Result, Timestamp};
use serde_json::{Value, json};

use super::{Guard, roles::role};
use crate::{
    access::{AccessStore, NewToken, NewUser, ResourceKind, Role, Token, User, UserUpdate, known_user},
    mlflow::{Api, DELETE, GET, Inner, PATCH, POST, failure::bad_request, on, request::Params},
};

/// Most tokens of one user.
const TOKENS_MAX: usize = 64;
/// Longest label of a token, in bytes.
const LABEL_BYTES_MAX: usize = 255;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/users/create", on(POST, create))
        .route("/users/get", on(GET, get))
        .route("/users/list", on(GET, list))
        .route("/users/current", on(GET, current))
        .route("/users/update-password", on(PATCH, update_password))
        .route("/users/update-admin", on(PATCH, update_admin))
        .route("/users/delete", on(DELETE, delete))
        .route("/users/tokens/create", on(POST, create_token))
        .route("/users/tokens/list", on(GET, list_tokens))
        .route("/users/tokens/delete", on(DELETE, delete_token))
}

impl Inner {
    /// Who asks, and the users; refused when this server has none.
    pub(super) fn desk(&self) -> Result<(&Guard, &dyn AccessStore)> {
        let Some(guard) = &self.guard else {
            return Err(Error::unimplemented("this server has no users; turn them on by MlflowServer::with_auth"));
        };
        Ok((guard, guard.parts().users()?.as_ref()))
    }

    /// The user that `username` names.
    pub(super) async fn named_user(&self, params: &Params) -> Result<User> {
        known_user(self.desk()?.1, params.required("username")?).await
    }

    /// The user who asks.
    pub(super) async fn own_user(&self) -> Result<&User> {
        let (guard, _) = self.desk()?;
        let name = &guard.principal()?.name;
        guard.user().await?.ok_or_else(|| Error::not_found(format!("{name:?} is no user of this server")))
    }

    /// The user that `username` names, to whom the caller must be equal unless administrator; absent: the caller.
    async fn self_or_admin(&self, params: &Params) -> Result<User> {
        let (guard, users) = self.desk()?;
        let own = guard.principal()?.name.clone();
        let name = params.text("username")?.unwrap_or(&own);
        if name != own {
            guard.check_admin().await?;
        }
        known_user(users, name).await
    }
}

/// Keeps the record of a change to a user.
async fn record(guard: &Guard, user: &str, call: &str) -> Result<()> {
    guard.record(Action::Administer, Resource::new("user", user), [("call", call.to_owned())]).await
}

/// A user with direct grants in the form that older clients read.
pub(super) fn user_with(user: &User, roles: &[Role]) -> Value {
    let own = roles.iter().filter(|role| role.id == user.own_role).flat_map(|role| &role.grants);
    let of = |kind: ResourceKind, field: &str| -> Vec<Value> {
        let grants = own.clone().filter(|grant| grant.grant.kind == kind);
        grants
            .map(|g| json!({ field: g.grant.resource, "user_id": user.id, "permission": g.grant.permission.name() }))
            .collect()
    };
    json!({
        "id": user.id,
        "username": user.name,
        "is_admin": user.admin,
        "experiment_permissions": of(ResourceKind::Experiment, "experiment_id"),
        "registered_model_permissions": of(ResourceKind::RegisteredModel, "name"),
    })
}

/// Makes a user, for an administrator.
pub(super) async fn make(api: &Inner, name: &str, password: &str) -> Result<User> {
    let (guard, users) = api.desk()?;
    guard.check_admin().await?;
    let password_hash = guard.parts().hash(password).await?;
    record(guard, name, "users/create").await?;
    users.create_user(NewUser { name: name.to_owned(), password_hash, admin: false }).await
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let user = make(&api, params.required("username")?, params.required("password")?).await?;
    Ok(json!({ "user": user_with(&user, &[]) }))
}

async fn get(api: Api, params: Params) -> Result<Value> {
    params.required("username")?;
    let user = api.self_or_admin(&params).await?;
    let roles = api.desk()?.1.roles_of(&user.name).await?;
    Ok(json!({ "user": user_with(&user, &roles) }))
}

async fn list(api: Api, _: Params) -> Result<Value> {
    let (guard, users) = api.desk()?;
    guard.check_admin().await?;
    let mut found = Vec::new();
    for user in users.users().await? {
        let roles: Vec<Value> = users.roles_of(&user.name).await?.iter().map(role).collect();
        found.push(json!({ "id": user.id, "username": user.name, "is_admin": user.admin, "roles": roles }));
    }
    Ok(json!({ "users": found }))
}

async fn current(api: Api, _: Params) -> Result<Value> {
    let user = api.own_user().await?;
    let shown = json!({ "id": user.id, "username": user.name, "is_admin": user.admin });
    Ok(json!({ "user": shown, "is_basic_auth": true }))
}

async fn update_password(api: Api, params: Params) -> Result<Value> {
    params.required("username")?;
    let user = api.self_or_admin(&params).await?;
    let (guard, users) = api.desk()?;
    let password = params.required("password")?;
    if guard.principal()?.name == user.name {
        // Whoever took over a session must not take over the account.
        let Some(current) = params.text("current_password")?.filter(|current| !current.is_empty()) else {
            return Err(Error::invalid_argument("Current password is required when changing your own password."));
        };
        if !guard.parts().is_right(&user.name, current, Some(&user.password_hash), None).await? {
            return Err(Error::invalid_argument("Current password does not match."));
        }
        if current == password {
            return Err(Error::invalid_argument("New password must differ from the current password."));
        }
    }
    let password_hash = Some(guard.parts().hash(password).await?);
    record(guard, &user.name, "users/update-password").await?;
    users.update_user(&user.name, UserUpdate { password_hash, admin: None }).await?;
    Ok(json!({}))
}

async fn update_admin(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.desk()?;
    guard.check_admin().await?;
    let user = api.named_user(&params).await?;
    let Some(admin) = params.flag("is_admin")? else {
        return Err(Error::invalid_argument("Missing value for required parameter 'is_admin'."));
    };
    record(guard, &user.name, "users/update-admin").await?;
    users.update_user(&user.name, UserUpdate { password_hash: None, admin: Some(admin) }).await?;
    Ok(json!({}))
}

async fn delete(api: Api, params: Params) -> Result<Value> {
    let (guard, users) = api.desk()?;
    guard.check_admin().await?;
    let user = api.named_user(&params).await?;
    if guard.principal()?.name == user.name {
        return Err(bad_request("Users cannot delete their own account; ask another administrator."));
    }
    record(guard, &user.name, "users/delete").await?;
    users.delete_user(&user.name).await?;
    Ok(json!({}))
}

fn token_info(token: &Token) -> Value {
    json!({
        "id": token.id,
        "label": token.label,
        "creation_time": token.created.as_millis(),
        "expiration_time": token.expires.map(Timestamp::as_millis),
    })
}

async fn create_token(api: Api, params: Params) -> Result<Value> {
    let user = api.self_or_admin(&params).await?;
    let (guard, users) = api.desk()?;
    let parts = guard.parts();
    let label = params.text("label")?.unwrap_or_default().to_owned();
    let seconds = params.int("expires_in_seconds")?;
    if label.len() > LABEL_BYTES_MAX || seconds.is_some_and(|seconds| !(1..=10 * 365 * 86_400).contains(&seconds)) {
        return Err(Error::invalid_argument(format!(
            "a token has a label of at most {LABEL_BYTES_MAX} bytes and expires in 1 second to 10 years"
        )));
    }
    if users.tokens(&user.name).await?.len() >= TOKENS_MAX {
        return Err(Error::resource_exhausted(format!("a user has at most {TOKENS_MAX} tokens; delete one first")));
    }
    let secret = format!("mlops_{:032x}{:032x}", parts.ids.next_id(), parts.ids.next_id());
    let created = parts.clock.now();
    let expires =
        seconds.map(|seconds| Timestamp::from_micros(created.as_micros().saturating_add(seconds * 1_000_000)));
    record(guard, &user.name, "users/tokens/create").await?;
    let digest = Digest::of(secret.as_bytes());
    let made = users.add_token(&user.name, NewToken { digest, label, created, expires }).await?;
    Ok(json!({ "token": secret, "token_info": token_info(&made) }))
}

async fn list_tokens(api: Api, params: Params) -> Result<Value> {
    let user = api.self_or_admin(&params).await?;
    let tokens: Vec<Value> = api.desk()?.1.tokens(&user.name).await?.iter().map(token_info).collect();
    Ok(json!({ "tokens": tokens }))
}

async fn delete_token(api: Api, params: Params) -> Result<Value> {
    let user = api.self_or_admin(&params).await?;
    let (guard, users) = api.desk()?;
    let id = u64::try_from(params.required_int("token_id")?);
    let id = id.map_err(|_| Error::invalid_argument("token_id is a whole number from 0"))?;
    record(guard, &user.name, "users/tokens/delete").await?;
    users.delete_token(&user.name, id).await?;
    Ok(json!({}))
}

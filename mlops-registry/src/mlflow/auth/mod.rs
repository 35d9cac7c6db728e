//! Who is asking, and whether they may.
//!
//! [`Auth`] is given to [`MlflowServer::with_auth`](super::MlflowServer::with_auth). Somebody signs in by name and
//! password or by a token (`MLFLOW_TRACKING_USERNAME`, `MLFLOW_TRACKING_TOKEN` of MLflow's clients), or was signed in
//! before: a [`Principal`](mlops_core::Principal) that a layer of the application put into the extensions of the
//! request is believed.
//!
//! Invariant: the stores that a handler is given ask core's `Authorizer` before they do anything for the principal of
//! the request; a handler that gets around signing in is given stores that refuse everything.

mod address;
mod evaluation;
mod files;
mod gateway;
mod grants;
mod guard;
mod known;
mod logged_models;
mod password;
mod registry;
mod roles;
mod sign_in;
mod sign_up;
mod throttle;
mod traces;
mod tracking;
mod users;

use std::{fmt, net::IpAddr, sync::Arc};

use axum::Router;
use mlops_core::{AuditSink, Authorizer, Clock, Error, Result, SystemClock};
use serde::{Deserialize, Serialize};

pub(crate) use self::files::Files;
pub(super) use self::{
    evaluation::GuardedEvaluation,
    gateway::GuardedGateway,
    guard::Guard,
    logged_models::GuardedLoggedModels,
    registry::GuardedRegistry,
    sign_in::{Caller, sign_in},
    sign_up::page_routes,
    traces::GuardedTraces,
    tracking::GuardedTracking,
};
use self::{password::Passwords, throttle::Throttle};
use super::Api;
use crate::{
    IdSource, RandomIds,
    access::{AccessStore, NewUser, Permission, Permissions},
};

/// How passwords are hashed and how often they may be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// What everybody who can sign in may do where nothing was granted. MLflow's default, and ours, is `READ`.
    pub default_permission: Permission,
    /// Role by which a principal that an outer layer signed in is administrator, as those are whom the users here say it
    /// of. Default: none; others are asked for [`Action::Administer`](mlops_core::Action::Administer) on the resource
    /// `server` called `*`.
    pub admin_role: Option<String>,
    /// Shortest password, in bytes; at least 8. Default 12.
    pub password_bytes_min: usize,
    /// Memory of one hash by Argon2id, in KiB; at least 8,192. Default 19,456 (OWASP Password Storage Cheat Sheet).
    pub hash_memory_kib: u32,
    /// Passes of one hash; 1 to 16. Default 2.
    pub hash_passes: u32,
    /// Hashes that are computed at the same time; 1 to 64. Default 2.
    pub hashes_max: usize,
    /// For how many seconds a password that was right is not hashed again; 0 to 3,600. Default 300. A new password
    /// counts at once all the same.
    pub remembered_seconds: u64,
    /// Wrong passwords for one user, or from one address, before both are refused for a while; 1 to 1,000. Default 10.
    pub failures_max: u32,
    /// How long wrong passwords count, in seconds; 1 to 86,400. Default 300.
    pub failures_seconds: u64,
    /// Addresses of proxies through which requests come: wrong passwords of such a request count for the last address in
    /// its `X-Forwarded-For` that is no proxy's. Such a proxy must add the address it is asked from. Default: none.
    ///
    /// Of a request from this machine itself that comes through no such proxy no address is counted: it would be that of
    /// everybody behind a proxy here, and one who guesses would lock all of them out.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            default_permission: Permission::Read,
            admin_role: None,
            password_bytes_min: 12,
            hash_memory_kib: 19_456,
            hash_passes: 2,
            hashes_max: 2,
            remembered_seconds: 300,
            failures_max: 10,
            failures_seconds: 300,
            trusted_proxies: Vec::new(),
        }
    }
}

impl AuthSettings {
    fn check(&self) -> Result<()> {
        let faults: Vec<&str> = [
            ((8..=256).contains(&self.password_bytes_min), "password_bytes_min must be 8 to 256"),
            ((8_192..=1 << 20).contains(&self.hash_memory_kib), "hash_memory_kib must be 8192 to 1048576"),
            ((1..=16).contains(&self.hash_passes), "hash_passes must be 1 to 16"),
            ((1..=64).contains(&self.hashes_max), "hashes_max must be 1 to 64"),
            (self.remembered_seconds <= 3_600, "remembered_seconds must be at most 3600"),
            ((1..=1_000).contains(&self.failures_max), "failures_max must be 1 to 1000"),
            ((1..=86_400).contains(&self.failures_seconds), "failures_seconds must be 1 to 86400"),
        ]
        .into_iter()
        .filter_map(|(holds, fault)| (!holds).then_some(fault))
        .collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Error::invalid_argument(format!("auth settings: {}", faults.join("; "))))
        }
    }
}

/// Signing in and permissions.
///
/// ```
/// use std::sync::Arc;
/// use mlops_registry::{access::SqlAccessStore, mlflow::Auth};
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let users = Arc::new(SqlAccessStore::open(Arc::new(SqliteMetaStore::in_memory().await?)).await?);
/// let auth = Auth::with_users(users).build()?;
/// auth.ensure_admin("admin", "correct horse battery").await?;
/// // MlflowServer::new(tracking, registry, artifacts).with_auth(auth)
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Auth {
    parts: Arc<Parts>,
}

/// Everything that decides about a request.
struct Parts {
    /// Users of our own; none when only principals of an outer layer come in.
    users: Option<Arc<dyn AccessStore>>,
    permissions: Option<Permissions>,
    /// Decides instead of the permissions.
    authorizer: Option<Arc<dyn Authorizer>>,
    audit: Option<Arc<dyn AuditSink>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    settings: AuthSettings,
    passwords: Passwords,
    throttle: Throttle,
    homes: guard::Homes,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("settings", &self.parts.settings).finish_non_exhaustive()
    }
}

/// Puts an [`Auth`] together.
#[derive(Debug, Clone)]
#[must_use]
pub struct AuthBuilder {
    users: Option<Arc<dyn AccessStore>>,
    authorizer: Option<Arc<dyn Authorizer>>,
    audit: Option<Arc<dyn AuditSink>>,
    clock: Arc<dyn Clock>,
    ids: Option<Arc<dyn IdSource>>,
    settings: AuthSettings,
}

impl AuthBuilder {
    /// Decides instead of the grants of the users.
    pub fn with_authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = Some(authorizer);
        self
    }

    /// Is told before experiments or runs are deleted or restored, before logged models, traces or evaluation datasets
    /// are deleted, before secrets, budgets or guardrails of the gateway change and anything of it is deleted, and before
    /// users, their tokens, roles or permissions change; what it refuses to keep does not happen.
    /// That whoever creates an experiment or model may manage it is no such change. Alias moves and deletions in the
    /// registry are recorded by the registry itself, in their transaction (`SqlModelRegistryBuilder::with_audit`).
    pub fn with_audit(mut self, audit: Arc<dyn AuditSink>) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Tells the time. Default: the clock of the operating system.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Gives salts and tokens; nobody may be able to foretell it. Default: seeded by the operating system.
    pub fn with_ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = Some(ids);
        self
    }

    /// Replaces the settings.
    pub fn with_settings(mut self, settings: AuthSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting that is out of range; `Unavailable` when the operating system gives no
    /// randomness.
    pub fn build(self) -> Result<Auth> {
        self.settings.check()?;
        let ids = match self.ids {
            Some(ids) => ids,
            None => Arc::new(RandomIds::from_os()?),
        };
        let default = self.settings.default_permission;
        let permissions = self.users.clone().map(|users| Permissions::new(users).with_default(default));
        if permissions.is_none() && self.authorizer.is_none() {
            return Err(Error::internal("auth has neither users nor an authorizer"));
        }
        let parts = Parts {
            users: self.users,
            permissions,
            authorizer: self.authorizer,
            audit: self.audit,
            passwords: Passwords::new(&self.settings, ids.as_ref())?,
            throttle: Throttle::new(&self.settings),
            homes: guard::Homes::default(),
            clock: self.clock,
            ids,
            settings: self.settings,
        };
        Ok(Auth { parts: Arc::new(parts) })
    }
}

impl Auth {
    /// Users with passwords and tokens of our own. They are managed by MLflow's `AuthServiceClient`.
    pub fn with_users(users: Arc<dyn AccessStore>) -> AuthBuilder {
        Self::builder(Some(users), None)
    }

    /// No users of our own: the application signs people in and puts their [`Principal`](mlops_core::Principal) into
    /// the extensions of the request; what they may is for `authorizer` to say.
    pub fn behind(authorizer: Arc<dyn Authorizer>) -> AuthBuilder {
        Self::builder(None, Some(authorizer))
    }

    fn builder(users: Option<Arc<dyn AccessStore>>, authorizer: Option<Arc<dyn Authorizer>>) -> AuthBuilder {
        let (clock, settings) = (Arc::new(SystemClock::new()), AuthSettings::default());
        AuthBuilder { users, authorizer, audit: None, clock, ids: None, settings }
    }

    /// Creates the first user, an administrator, when there is no user yet; says whether it did.
    ///
    /// # Errors
    /// `InvalidArgument` when name or password are not acceptable, `FailedPrecondition` without users of our own.
    pub async fn ensure_admin(&self, name: &str, password: &str) -> Result<bool> {
        let users = self.parts.users()?;
        if !users.users().await?.is_empty() {
            return Ok(false);
        }
        let password_hash = self.parts.hash(password).await?;
        users.create_user(NewUser { name: name.to_owned(), password_hash, admin: true }).await?;
        Ok(true)
    }
}

impl Parts {
    fn users(&self) -> Result<&Arc<dyn AccessStore>> {
        self.users.as_ref().ok_or_else(|| {
            Error::failed_precondition("users are kept by the application around this server; manage them there")
        })
    }

    async fn hash(&self, password: &str) -> Result<String> {
        let least = self.settings.password_bytes_min;
        if password.len() < least || password.len() > password::PASSWORD_BYTES_MAX {
            return Err(Error::invalid_argument(format!(
                "Password must have {least} to {} bytes",
                password::PASSWORD_BYTES_MAX
            )));
        }
        self.passwords.hash(password, self.ids.next_id()).await
    }
}

/// Users, roles and permissions below `/2.0/mlflow`.
pub(super) fn routes() -> Router<Api> {
    users::routes().merge(sign_up::routes()).merge(grants::routes())
}

/// Roles and unified permissions below `/3.0/mlflow`.
pub(super) fn routes_3() -> Router<Api> {
    roles::routes().merge(grants::routes_3())
}

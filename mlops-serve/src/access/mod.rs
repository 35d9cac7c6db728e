//! Who sends a request over a protocol, and whether they may.
//!
//! An [`Authenticator`] turns credentials into a principal, core's [`Authorizer`](mlops_core::Authorizer) decides:
//! predictions by model, reading and managing for the server as a whole. Invariant: with access control every request
//! but a health check has a principal, and no model predicts for one that was not allowed to ask it.

mod credentials;
mod enter;
mod keys;
mod purpose;

use std::sync::Arc;

use async_trait::async_trait;
use mlops_core::{Action, Authorizer, Error, ModelName, Principal, Resource, Result};

pub use credentials::Credentials;
pub(crate) use credentials::PeerCertificate;
pub(crate) use enter::enter;
pub use keys::ApiKeys;
pub(crate) use purpose::Purpose;

use crate::observe;

/// Tells who someone is.
#[async_trait]
pub trait Authenticator: std::fmt::Debug + Send + Sync + 'static {
    /// The principal whose credentials these are.
    ///
    /// # Errors
    /// `Unauthenticated` for credentials that are nobody's; `Unavailable` when that cannot be found out.
    async fn authenticate(&self, credentials: Credentials) -> Result<Principal>;
}

/// Access control of a server.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{Action, Authorizer, Error, Principal, Resource, Result};
/// use mlops_serve::{Access, ApiKeys};
///
/// #[derive(Debug)]
/// struct EverybodyPredicts;
///
/// #[async_trait::async_trait]
/// impl Authorizer for EverybodyPredicts {
///     async fn authorize(&self, who: &Principal, action: Action, on: &Resource) -> Result<()> {
///         match action {
///             Action::Predict | Action::Read => Ok(()),
///             _ => Err(Error::permission_denied(format!("{:?} may not manage {on}", who.name))),
///         }
///     }
/// }
///
/// let keys = ApiKeys::new().with_key("a-long-random-key", Principal::new("shop"))?;
/// let access = Access::new(Arc::new(keys), Arc::new(EverybodyPredicts));
/// # drop(access); Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Access {
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
}

impl Access {
    /// Lets in whom `authenticator` knows, to do what `authorizer` allows: [`Action::Predict`] on
    /// `model "<name>"`, and [`Action::Read`] and [`Action::Administer`] on `server "<name>"`.
    #[must_use]
    pub fn new(authenticator: Arc<dyn Authenticator>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authenticator, authorizer }
    }

    async fn principal(&self, credentials: Credentials) -> Result<Principal> {
        self.authenticator.authenticate(credentials).await
    }

    async fn permit(&self, principal: &Principal, action: Action, server: &str) -> Result<()> {
        self.authorizer.authorize(principal, action, &Resource::new("server", server)).await
    }

    /// Whether the sender of the request that this task answers may ask `model`.
    ///
    /// # Errors
    /// `Unauthenticated` when there is none; the authorizer's refusal.
    pub(crate) async fn permit_prediction(&self, model: &ModelName) -> Result<()> {
        let principal = observe::noted(|noted| noted.principal.clone()).flatten().ok_or_else(unknown)?;
        self.authorizer.authorize(&principal, Action::Predict, &Resource::new("model", model.as_str())).await
    }
}

fn unknown() -> Error {
    Error::unauthenticated("the request has no credentials that are known here; send a bearer token or an api key")
}

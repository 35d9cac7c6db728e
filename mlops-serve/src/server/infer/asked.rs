//! Who is asked: leave to ask a model, the version that describes its inputs, and what a request says of its side of a
//! rollout.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, header};
use mlops_core::{Error, ErrorKind, Result, Version};

use super::InferOptions;
use crate::{
    metrics::Refusal,
    protocol::known_model,
    repository::{Entry, EntryState, LoadedVersion},
    rollout::{StickyCookie, Variant, bandit::CONTEXT_MAX},
    server::{Inner, Server},
};

/// The model and version a request speaks to, before routing: what its inputs are checked against.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) entry: Arc<Entry>,
    pub(crate) state: Arc<EntryState>,
    pub(crate) described_by: Arc<LoadedVersion>,
    pub(super) pinned: bool,
}

/// Leave to ask a model, given to the sender of the request that this task answers.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    model: &'a str,
}

impl Permit<'_> {
    /// The model as it is now.
    ///
    /// # Errors
    /// As [`Inner::awake`].
    pub(crate) async fn asked(&self, server: &Server, version: Option<Version>) -> Result<Asked> {
        Ok(Asked::of(server.inner.awake(self.model, version).await?))
    }

    /// The same; of a rollout the side that is wanted, when no version is.
    ///
    /// # Errors
    /// As [`Inner::awake`].
    pub(crate) async fn asked_side(
        &self,
        server: &Server,
        version: Option<Version>,
        side: Option<Variant>,
    ) -> Result<Asked> {
        Ok(Asked::of(server.inner.awake_side(self.model, version, side).await?))
    }
}

/// A model that may be asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) wanted: Wanted,
    /// What decides the side of a rollout where neither the request nor its inputs do: the key in the client's cookie, or
    /// the one that `cookie` sets.
    pub(super) kept: Option<String>,
    /// What keeps the client on its side of the rollout.
    pub(super) cookie: Option<String>,
}

impl Asked {
    fn of(wanted: Wanted) -> Self {
        Self { wanted, kept: None, cookie: None }
    }

    /// The options of a request with what its headers, or its metadata, say of the side of a rollout.
    ///
    /// # Errors
    /// `InvalidArgument` for a context that the rollout's bandit cannot learn from.
    pub(crate) fn complete(&mut self, options: InferOptions, headers: &HeaderMap) -> Result<InferOptions> {
        let Some(active) = &self.wanted.state.rollout else { return Ok(options) };
        let settings = &active.rollout.settings;
        self.kept = settings.sticky_cookie.as_ref().and_then(|cookie| key_in(cookie, headers));
        let value = |name: &Option<String>| headers.get(name.as_deref()?)?.to_str().ok();
        let context = match (options.context.is_empty(), value(&settings.context_by)) {
            (true, Some(text)) => context_of(text)?,
            _ => options.context,
        };
        match settings.context_wanted() {
            Some(wanted) if !context.is_empty() && context.len() != wanted => {
                let found = context.len();
                let text = format!("the context has {found} numbers; the rollout of this model takes {wanted}");
                return Err(Error::invalid_argument(text));
            }
            _ => {}
        }
        Ok(InferOptions {
            variant: options.variant.or_else(|| value(&settings.override_by).and_then(Variant::parse)),
            routing_key: options.routing_key.or_else(|| value(&settings.sticky_by).map(str::to_owned)),
            context,
            ..options
        })
    }

    /// Lets the client keep the key that its cookie holds, or a new one, for as long as nothing else decides its side.
    pub(crate) fn keep_by_cookie(&mut self, server: &Server, options: &InferOptions) {
        let active = self.wanted.state.rollout.as_ref().filter(|active| active.rollout.is_active());
        let Some(cookie) = active.and_then(|active| active.rollout.settings.sticky_cookie.as_ref()) else { return };
        if self.wanted.pinned || options.routing_key.is_some() {
            return;
        }
        let key = self.kept.get_or_insert_with(|| server.inner.next_request_id());
        self.cookie = Some(cookie.keeping(key));
    }
}

fn key_in(cookie: &StickyCookie, headers: &HeaderMap) -> Option<String> {
    let sent = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookie.key(sent).map(str::to_owned)
}

/// The numbers of a context as text has them, with commas between.
///
/// # Errors
/// `InvalidArgument` for anything else, and more than [`CONTEXT_MAX`] numbers.
pub(crate) fn context_of(text: &str) -> Result<Vec<f64>> {
    let numbers = text.split(',').take(CONTEXT_MAX + 1).map(|number| number.trim().parse().ok());
    let numbers: Option<Vec<f64>> =
        numbers.map(|number: Option<f64>| number.filter(|number| number.is_finite())).collect();
    numbers.filter(|numbers| numbers.len() <= CONTEXT_MAX).ok_or_else(|| {
        Error::invalid_argument(format!("a context is at most {CONTEXT_MAX} finite numbers with commas between"))
    })
}

impl Server {
    /// Whether the sender of the request that this task answers may ask `model`. It is asked before anything else of
    /// a request is looked at, and whether or not there is such a model.
    ///
    /// # Errors
    /// `NotFound` for what is no name; `Unauthenticated`, and the authorizer's refusal.
    pub(crate) async fn permit<'a>(&self, model: &'a str) -> Result<Permit<'a>> {
        if let Some(access) = &self.inner.access {
            access.permit_prediction(&known_model(model)?).await.inspect_err(|error| {
                let unknown = error.kind() == ErrorKind::Unauthenticated;
                let refusal = if unknown { Refusal::Unauthenticated } else { Refusal::PermissionDenied };
                self.inner.traffic.refused(refusal);
            })?;
        }
        Ok(Permit { model })
    }
}

impl Inner {
    /// As [`Inner::wanted`], after loading a model that sleeps to save memory.
    ///
    /// # Errors
    /// As [`Inner::wanted`]; what keeps the model from loading; `DeadlineExceeded` when that takes too long.
    pub(crate) async fn awake(&self, name: &str, version: Option<Version>) -> Result<Wanted> {
        if let Some(sleeping) = self.repository.touch(name) {
            let limit = Duration::from_millis(self.settings.timeout_ms);
            let awake = tokio::time::timeout(limit, Box::pin(self.repository.wake_all(name, sleeping))).await;
            awake.unwrap_or_else(|_| {
                let limit = limit.as_millis();
                Err(Error::deadline_exceeded(format!("model {name:?} was not loaded within {limit} ms; ask again")))
            })?;
        }
        self.wanted(name, version)
    }

    /// Finds the version that describes the request's inputs.
    ///
    /// # Errors
    /// `NotFound` for an unknown model or version, `Unavailable` when the model is not in service.
    pub(crate) fn wanted(&self, name: &str, version: Option<Version>) -> Result<Wanted> {
        let entry = self.repository.entry(name)?;
        let state = entry.state();
        let Some(champion) = state.champion() else {
            let reason = state.reason.as_deref().unwrap_or(match (state.unloaded, state.asleep) {
                (true, _) => "it was unloaded",
                (false, true) => "it sleeps to save memory; ask it for a prediction",
                (false, false) => "it is loading",
            });
            return Err(Error::unavailable(format!("model {name:?} is not in service: {reason}")));
        };
        let described_by = match version {
            Some(version) => state
                .versions
                .get(&version)
                .cloned()
                .ok_or_else(|| Error::not_found(format!("model {name:?} has no loaded version {version}")))?,
            None => Arc::clone(champion),
        };
        Ok(Wanted { entry, state, described_by, pinned: version.is_some() })
    }
}

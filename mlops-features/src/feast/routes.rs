//! The router, and the handlers of a few lines.

use std::{collections::HashMap, future::Future, sync::Arc};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Query, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use mlops_core::{Action, Error, Principal, Resource, Result};

use super::{
    Inner,
    error::{Answer, Failure},
    materialize,
    question::Question,
    render::{StatusCounts, render, status_name},
    search::search,
    wire::{self, GetOnlineFeatures},
    write,
};

/// A request as handlers see it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) body: Bytes,
    query: HashMap<String, String>,
    principal: Option<Principal>,
}

pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/get-online-features", measured("/get-online-features", get_online_features))
        .route("/write-to-online-store", measured("/write-to-online-store", write::write_to_online_store))
        .route("/push", measured("/push", write::push))
        .route("/materialize", measured("/materialize", materialize::materialize))
        .route("/materialize-incremental", measured("/materialize-incremental", materialize::incremental))
        .route("/search", measured("/search", search))
        .route("/retrieve-online-documents", measured("/retrieve-online-documents", search))
        .route("/health", get(health))
        .with_state(inner)
}

/// A route by POST that is read within bounds, counted and timed.
fn measured<H, F>(path: &'static str, handler: H) -> MethodRouter<Arc<Inner>>
where
    H: Fn(Arc<Inner>, Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer<Response>> + Send,
{
    post(move |State(inner): State<Arc<Inner>>, request: Request| async move {
        let start = inner.clock.monotonic();
        let outcome = match Call::read(request, inner.settings.body_bytes_max).await {
            Ok(call) => handler(Arc::clone(&inner), call).await,
            Err(failure) => Err(failure),
        };
        let response = outcome.into_response();
        let seconds = inner.clock.monotonic().saturating_sub(start).as_secs_f64();
        let status = response.status();
        let labels = [("path", path), ("status", status.as_str())];
        inner.meter.count("mlops_feast_requests_total", &labels, 1);
        inner.meter.observe("mlops_feast_request_seconds", &labels[..1], seconds);
        response
    })
}

impl Call {
    async fn read(request: Request, bytes_max: usize) -> Answer<Self> {
        let (mut parts, body) = request.into_parts();
        let query = Query::try_from_uri(&parts.uri).map_or_else(|_| HashMap::new(), |Query(query)| query);
        let principal = parts.extensions.remove();
        let too_large = |_| {
            let message = format!("the body cannot be read; it may have at most {bytes_max} bytes");
            Failure::raising(StatusCode::PAYLOAD_TOO_LARGE, "FeastError", &message)
        };
        Ok(Self { body: to_bytes(body, bytes_max).await.map_err(too_large)?, query, principal })
    }

    /// Whether the query sets `name`, in any of pydantic's ways to say so.
    pub(super) fn flag(&self, name: &str) -> bool {
        let yes = |text: &String| ["true", "1", "yes", "on", "t", "y"].iter().any(|yes| text.eq_ignore_ascii_case(yes));
        self.query.get(name).is_some_and(yes)
    }
}

impl Inner {
    /// Counts what an answer has.
    pub(super) fn count(&self, counts: StatusCounts) {
        for (status, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            self.meter.count("mlops_feast_values_total", &[("status", status_name(status))], count);
        }
    }

    /// Whether whoever calls may do this; everybody may where there is no authorizer.
    pub(super) async fn allow(&self, call: &Call, action: Action, kind: &str, name: &str) -> Result<()> {
        let Some(authorizer) = &self.authorizer else { return Ok(()) };
        let nobody = || Error::new(mlops_core::ErrorKind::Unauthenticated, "the request does not say who sends it");
        let principal = call.principal.as_ref().ok_or_else(nobody)?;
        authorizer.authorize(principal, action, &Resource::new(kind, name)).await
    }
}

async fn get_online_features(inner: Arc<Inner>, call: Call) -> Answer<Response> {
    let asked: GetOnlineFeatures = wire::read(&call.body)?;
    let question = Question::resolve(&inner.store, &asked, &inner.settings)?;
    for view in question.plan.view_names() {
        inner.allow(&call, Action::Read, "feature_view", view).await?;
    }
    let found = inner.store.reader().read(&question.plan, &question.entities, inner.clock.now()).await?;
    let (body, counts) = render(&question.keys, &question.names, &found, &[])?;
    inner.count(counts);
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// 200 while the online store can be read, else 503.
async fn health(State(inner): State<Arc<Inner>>) -> StatusCode {
    match inner.store.online().watermark("").await {
        Ok(_) => StatusCode::OK,
        Err(error) => {
            tracing::warn!(error = %error.chain(), "the online store cannot be read");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

//! `/api/3.0/mlops/runs/{run_id}/tail`: a run as it goes on, as server-sent events.
//!
//! The first event is `state`, the run as `runs/get` has it; `change` follows for whatever is written (`metrics`, `params`,
//! `tags`, `removed_tags`, `status`, `deleted`), and `end` when the run has ended or was deleted. A `change` with
//! `only_latest` tells of each metric the latest point alone: read its history for the others. A client that was left behind
//! gets another `state`. One that comes back with `Last-Event-ID` goes on where it was, or is answered 204 when nothing is
//! left, at which browsers stop asking.
//!
//! Invariant: who may read the run is asked at the beginning of each stream, and no stream lasts longer than
//! [`STREAM_MAX`].

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing,
};
use futures::{Stream, stream};
use mlops_core::RunId;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::{
    Api, MlflowServer,
    auth::Caller,
    files::Answer,
    place::part,
    run_answer::{self, Pair, Point},
};
use crate::tracking::{
    record::status_name,
    tail::{LiveTail, RunChange, Tail, TailCursor, TailEvent, TailItem},
};

/// After so long a client has to ask again, and to show again who it is.
const STREAM_MAX: Duration = Duration::from_secs(300);
/// How often a silent stream says that it is there, which tells a client that is gone.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
const LAST_EVENT_ID: &str = "last-event-id";

/// Below `/api/3.0/mlops`.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/runs/{run_id}/tail", routing::get(tail))
}

impl MlflowServer {
    /// Lets clients watch runs. The server's tracking store must be a clone of it, or it tells only what it finds by
    /// reading. Default: the route answers 501.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use mlops_registry::{
    ///     ArtifactStore, MlflowServer, ModelRegistry, TrackingStore,
    ///     tracking::tail::{LiveTail, TailSettings},
    /// };
    ///
    /// fn watched(
    ///     tracking: Arc<dyn TrackingStore>,
    ///     registry: Arc<dyn ModelRegistry>,
    ///     files: ArtifactStore,
    /// ) -> mlops_core::Result<MlflowServer> {
    ///     let live = LiveTail::new(tracking, TailSettings::default())?;
    ///     Ok(MlflowServer::new(Arc::new(live.clone()), registry, files).with_tail(live))
    /// }
    /// ```
    #[must_use]
    pub fn with_tail(mut self, tail: LiveTail) -> Self {
        self.inner.tail = Some(Arc::new(tail));
        self
    }
}

async fn tail(Caller(api): Caller, Path(run): Path<String>, headers: HeaderMap) -> Answer<Response> {
    let (live, run) = (part(&api.tail, "live tails", "with_tail")?, RunId::new(run)?);
    // The store of the caller refuses what the caller may not read.
    api.tracking.run(&run).await?;
    // What is no cursor of ours was given by another server, and is no reason to refuse.
    let after = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
    let tail = live.tail(&run, after).await?;
    if tail.is_over() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let alive = KeepAlive::new().interval(SIGN_OF_LIFE);
    Ok(Sse::new(events(tail)).keep_alive(alive).into_response())
}

fn events(tail: Tail) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let until = Instant::now() + STREAM_MAX;
    stream::unfold(Some((tail, None)), move |state: Option<(Tail, Option<TailCursor>)>| async move {
        let (mut tail, last) = state?;
        match timeout_at(until, tail.next()).await {
            Ok(Ok(Some(item))) => Some((Ok(event(&item)?), Some((tail, Some(item.cursor))))),
            Ok(Ok(None)) if tail.is_over() => Some((Ok(end(last)), None)),
            // Closed, or long enough: the client comes back.
            Ok(Ok(None)) | Err(_) => None,
            Ok(Err(error)) => {
                tracing::warn!(error = %error.chain(), "a live tail broke off");
                None
            }
        }
    })
}

fn end(last: Option<TailCursor>) -> Event {
    let event = Event::default().event("end").data("{}");
    match last {
        Some(last) => event.id(last.to_string()),
        None => event,
    }
}

/// An event on the wire; none when it cannot be written as JSON, which no record is known to cause.
fn event(item: &TailItem) -> Option<Event> {
    let event = Event::default().id(item.cursor.to_string());
    let written = match &item.event {
        TailEvent::State(record) => event.event("state").json_data(run_answer::run(record, None)),
        TailEvent::Change(change) => event.event("change").json_data(ChangeAnswer::from(&**change)),
    };
    written.inspect_err(|error| tracing::error!(%error, "an event cannot be written as JSON")).ok()
}

#[derive(Debug, Serialize)]
struct ChangeAnswer<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<Point<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    only_latest: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    removed_tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

impl<'a> From<&'a RunChange> for ChangeAnswer<'a> {
    fn from(change: &'a RunChange) -> Self {
        let pair = |(key, value): &'a (String, String)| Pair { key, value };
        Self {
            metrics: change.points.iter().map(|metric| run_answer::point(metric, None)).collect(),
            only_latest: change.only_latest,
            params: change.params.iter().map(pair).collect(),
            tags: change.tags.iter().map(pair).collect(),
            removed_tags: &change.removed_tags,
            status: change.status.map(status_name),
            deleted: change.deleted,
        }
    }
}

//! `POST /materialize` and `/materialize-incremental`: event times in `[start, end)`, at once or in the background.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mlops_core::{Action, Result, Timestamp};
use serde_json::{Value, json};

use super::{
    Inner,
    error::{Answer, Failure},
    question::view_key,
    routes::Call,
    wire::{self, Materialize},
};
use crate::Materializer;

/// The smallest difference between two times: it turns an exclusive end into an inclusive one.
const TICK: Duration = Duration::from_micros(1);

/// What to make complete.
#[derive(Debug, Clone, Copy)]
enum Span {
    /// `[start, end)`; without start from the beginning of time.
    Range(Option<Timestamp>, Timestamp),
    /// From where each view stands.
    Until(Timestamp),
}

/// `POST /materialize`.
pub(super) async fn materialize(inner: Arc<Inner>, call: Call) -> Answer<Response> {
    let asked: Materialize = wire::read(&call.body)?;
    let span = match (asked.disable_event_timestamp, &asked.start_ts, &asked.end_ts) {
        (true, _, _) => Span::Range(None, inner.clock.now() + TICK),
        (false, Some(start), Some(end)) => Span::Range(Some(time("start_ts", start)?), time("end_ts", end)?),
        _ => return Err(Failure::shape("start_ts and end_ts are required unless disable_event_timestamp is set")),
    };
    run(inner, call, asked, span).await
}

/// `POST /materialize-incremental`.
pub(super) async fn incremental(inner: Arc<Inner>, call: Call) -> Answer<Response> {
    let asked: Materialize = wire::read(&call.body)?;
    let end = asked.end_ts.as_deref().ok_or_else(|| Failure::shape("end_ts is required"))?;
    let span = Span::Until(time("end_ts", end)?);
    run(inner, call, asked, span).await
}

fn time(name: &str, text: &str) -> Answer<Timestamp> {
    text.parse().map_err(|_| Failure::shape(&format!("{name} is not a time; write it as 2025-06-01T12:00:00")))
}

async fn run(inner: Arc<Inner>, call: Call, asked: Materialize, span: Span) -> Answer<Response> {
    if let Span::Range(Some(start), end) = span
        && start > end
    {
        return Err(Failure::shape("start_ts is after end_ts"));
    }
    let views = match asked.feature_views {
        Some(views) => views,
        None => inner.store.views().map(|view| view.name().to_owned()).collect(),
    };
    if asked.version.is_some() && views.len() != 1 {
        return Err(Failure::shape("a version needs exactly one feature view"));
    }
    let mut keys = Vec::with_capacity(views.len());
    for view in &views {
        let key = view_key(&inner.store, view, asked.version.as_deref())?;
        // By its own name: a key may name a version besides.
        let defined = inner.store.view(&key).map_err(|error| Failure::of(&error, "FeatureViewNotFoundException"))?;
        inner.allow(&call, Action::Write, "feature_view", defined.name()).await?;
        keys.push(key);
    }
    let materializer = inner.store.materializer();
    if !call.flag("async") {
        for view in &keys {
            one(&materializer, view, span).await?;
        }
        return Ok(Json(Value::Null).into_response());
    }
    let work = async move {
        for view in &keys {
            if let Err(error) = one(&materializer, view, span).await {
                tracing::error!(view, error = %error.chain(), "a materialization in the background failed");
            }
        }
    };
    match inner.jobs.start(&views, call.flag("force"), work)? {
        Ok(()) => {
            let body = json!({ "status": "accepted", "feature_views": views });
            Ok((StatusCode::ACCEPTED, Json(body)).into_response())
        }
        Err(busy) => {
            let message = format!(
                "Cannot start async materialization: feature views {busy:?} are already in MATERIALIZING state. \
                 Use ?force=true to override."
            );
            Err(Failure::plain(StatusCode::CONFLICT, json!({ "error": message, "feature_views": busy })))
        }
    }
}

async fn one(materializer: &Materializer, view: &str, span: Span) -> Result<()> {
    match span {
        Span::Range(start, end) => materializer.backfill(view, start.map(|start| start - TICK), end - TICK).await?,
        Span::Until(end) => materializer.run_incremental(view, end).await?,
    };
    Ok(())
}

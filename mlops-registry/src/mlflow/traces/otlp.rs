//! `/v1/traces`: spans from any OpenTelemetry exporter over HTTP.
//!
//! Invariant: neither a body nor what it inflates to takes more than [`BODY_BYTES_MAX`]; the answer is in the encoding
//! of the request.

use std::io::Read as _;

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{DefaultBodyLimit, Request},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing,
};
use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use mlops_core::{Action, Error, Result};
use serde_json::json;

use super::{Api, active, conventions, store};
use crate::{
    ExperimentId, Span,
    mlflow::{auth::Caller, failure::Failure},
    traces::otlp::{ResourceSpans, from_json, from_protobuf},
};

/// Largest body, compressed or not.
const BODY_BYTES_MAX: usize = 32 << 20;
const EXPERIMENT: &str = "x-mlflow-experiment-id";
const RUN: &str = "x-mlflow-run-id";
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

pub(in crate::mlflow) fn routes() -> Router<Api> {
    // The handler bounds the body itself, and names the bound.
    Router::new().route("/v1/traces", routing::post(export).layer(DefaultBodyLimit::disable()))
}

/// Why an export is refused. What no exporter mends by sending it again is 422, as MLflow has it.
enum Refusal {
    Failure(Failure),
    Unprocessable(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failure(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Failure(failure) => failure.into_response(),
            Self::Unprocessable(error) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "detail": error.message() }))).into_response()
            }
        }
    }
}

async fn export(Caller(api): Caller, request: Request) -> std::result::Result<Response, Refusal> {
    let headers = request.headers().clone();
    let experiment = text(&headers, EXPERIMENT)?
        .ok_or_else(|| Refusal::Unprocessable(invalid(format!("header {EXPERIMENT} is missing"))))?;
    // The store asks again; who may not write learns nothing from how the body is refused.
    if let Some(guard) = &api.guard {
        guard.check_experiment(Action::Write, experiment.parse()?).await?;
    }
    let kind = text(&headers, CONTENT_TYPE.as_str())?.unwrap_or_default();
    let kind = match kind.split(';').next().unwrap_or_default().trim() {
        PROTOBUF => PROTOBUF,
        JSON => JSON,
        _ => return Err(invalid(format!("Invalid Content-Type: {kind}. Expected: {PROTOBUF} or {JSON}")).into()),
    };
    let body = to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|error| {
        invalid(format!("the body is incomplete or has more than {BODY_BYTES_MAX} bytes; send less at once"))
            .with_source(error)
    })?;
    let encoding = text(&headers, CONTENT_ENCODING.as_str())?.unwrap_or_default().to_ascii_lowercase();
    // Taking megabytes apart is no work for a thread that answers others meanwhile.
    let read = move || read(&inflate(body, &encoding)?, kind);
    let spans = tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Error::internal("reading spans was broken off").with_source(error))??;
    let experiment: ExperimentId = experiment.parse()?;
    active(&api, experiment).await?;
    let ids = store(&api)?.add_spans(experiment, spans).await?;
    if let Some(run) = text(&headers, RUN)? {
        let run = run.parse()?;
        api.tracking.run(&run).await?;
        for ids in ids.chunks(100) {
            store(&api)?.link_to_run(ids, &run).await?;
        }
    }
    // An ExportTraceServiceResponse that rejects nothing is empty.
    let body = if kind == JSON { "{}" } else { "" };
    Ok(([(CONTENT_TYPE, kind)], body).into_response())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::invalid_argument(message)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    let value = headers.get(name).map(|value| value.to_str());
    value.transpose().map_err(|error| invalid(format!("header {name} is not text")).with_source(error))
}

fn read(body: &[u8], kind: &str) -> std::result::Result<Vec<ResourceSpans>, Refusal> {
    let mut resources = if kind == JSON { from_json(body)? } else { from_protobuf(body)? };
    if resources.is_empty() {
        return Err(invalid("Invalid OpenTelemetry format - no spans found").into());
    }
    let mut spans = resources.iter().flat_map(|resource| &resource.spans);
    spans.try_for_each(Span::check).map_err(Refusal::Unprocessable)?;
    conventions::translate(&mut resources);
    Ok(resources)
}

fn inflate(body: Bytes, encoding: &str) -> Result<Bytes> {
    match encoding {
        "" | "identity" => Ok(body),
        "gzip" => bounded(MultiGzDecoder::new(&*body), encoding),
        "deflate" => bounded(ZlibDecoder::new(&*body), encoding),
        other => Err(invalid(format!("Unsupported Content-Encoding: {other}; send gzip, deflate or none"))),
    }
}

fn bounded(reader: impl std::io::Read, encoding: &str) -> Result<Bytes> {
    let mut out = Vec::new();
    let read = reader.take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut out);
    read.map_err(|error| invalid(format!("Failed to decompress {encoding} payload")).with_source(error))?;
    if out.len() > BODY_BYTES_MAX {
        return Err(invalid(format!("the body inflates to more than {BODY_BYTES_MAX} bytes; send less at once")));
    }
    Ok(out.into())
}

//! The routes.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use mlops_core::ErrorKind;
use serde::Deserialize;
use serde_json::json;

use super::convert::{self, Kind};
use crate::{
    oip::hosted::{Rows, SAGEMAKER},
    protocol::{Answer, Failure, Incoming, Named, Operation, Queried, Routes, Target, media_type, only_model},
    server::{Server, TensorReply},
};

/// Passed through by SageMaker in both directions.
const CUSTOM_ATTRIBUTES: &str = "x-amzn-sagemaker-custom-attributes";

/// `/ping`, which TorchServe has too.
pub(crate) fn ping() -> Routes {
    Routes::new().get("/ping", Operation::new("Whether the server answers").gives("Object").probes(), healthy)
}

pub(crate) fn routes() -> Routes {
    const SCORE: Operation = Operation::new("Predicts rows").takes("Scoring").gives("Predictions").predicts();
    Routes::new()
        .get("/health", Operation::new("Whether the server answers").gives("Object").probes(), healthy)
        .get("/version", Operation::new("Version of the server").gives_text(), version)
        .get("/execution-parameters", Operation::new("How batch transform calls").gives("Object"), parameters)
        .post("/invocations", SCORE, invocations)
        .post("/models/{model}/invoke", SCORE, invoke)
}

async fn healthy(State(server): State<Server>) -> Response {
    if server.is_ready() {
        return Json(json!({ "status": "Healthy" })).into_response();
    }
    (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "status": "Unhealthy" }))).into_response()
}

async fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

async fn parameters(State(server): State<Server>) -> Response {
    let settings = &server.inner.settings;
    let body = json!({
        "MaxConcurrentTransforms": settings.workers,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": settings.body_bytes_max >> 20,
    });
    Json(body).into_response()
}

/// The model, as TorchServe's clients name it here.
#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    model_name: Option<String>,
}

async fn invocations(
    State(server): State<Server>,
    wanted: Result<Queried<Wanted>, Failure>,
    incoming: Incoming,
) -> Response {
    let model = wanted.and_then(|Queried(wanted)| match wanted.model_name {
        Some(model) => Ok(model),
        None => only_model(&server).map_err(Failure::from),
    });
    passing_attributes(&server, model, incoming).await
}

async fn invoke(State(server): State<Server>, named: Result<Named, Failure>, incoming: Incoming) -> Response {
    passing_attributes(&server, named.map(|named| named.model), incoming).await
}

async fn passing_attributes(server: &Server, model: Result<String, Failure>, incoming: Incoming) -> Response {
    let attributes = incoming.headers.get(CUSTOM_ATTRIBUTES).cloned();
    let answer = match model {
        Ok(model) => score(server, Target::model(model), incoming).await,
        Err(failure) => Err(failure),
    };
    let mut response = answer.unwrap_or_else(|failure| told(&failure));
    if let Some(attributes) = attributes {
        response.headers_mut().insert(CUSTOM_ATTRIBUTES, attributes);
    }
    response
}

async fn score(server: &Server, target: Target, incoming: Incoming) -> Answer {
    let headers = &incoming.headers;
    let kind = if SAGEMAKER.is_binary(headers) { Kind::Json } else { kind_of(headers)? };
    let csv = accepts_csv(headers);
    let rows = Rows {
        read: move |body: &[u8], version: &_| convert::read_body(kind, body, version),
        write: move |reply: &TensorReply, shown| match csv {
            true => convert::write_csv(reply),
            false => convert::FORM.write(reply, shown),
        },
        content_type: if csv { "text/csv" } else { "application/json" },
    };
    SAGEMAKER.answer(server, target, incoming, rows).await
}

fn kind_of(headers: &HeaderMap) -> Result<Kind, Failure> {
    let kind = media_type(headers);
    Kind::of(kind).ok_or_else(|| {
        let text = "the content type must be application/json, application/jsonlines or text/csv";
        let malformed = kind.split('/').filter(|word| !word.is_empty()).count() != 2;
        let status = if malformed { StatusCode::BAD_REQUEST } else { StatusCode::UNSUPPORTED_MEDIA_TYPE };
        Failure::new(status, text)
    })
}

/// Whether CSV is asked for, and nothing else.
fn accepts_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/csv"))
}

/// An error in MLflow's words.
pub(crate) fn told(failure: &Failure) -> Response {
    let code = match failure.status {
        StatusCode::BAD_REQUEST
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::PAYLOAD_TOO_LARGE => "BAD_REQUEST",
        status => ErrorKind::from_http_status(status.as_u16()).mlflow_code(),
    };
    failure.told_as(&json!({ "error_code": code, "message": failure.text }))
}

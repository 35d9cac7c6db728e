//! The routes, and the headers that every answer of `/score` has.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::convert;
use crate::{
    protocol::{Failure, Incoming, Operation, Queried, Routes, Shown, Target, only_model, predict},
    repository::LoadedVersion,
    server::{Server, TensorReply},
    tensor::Tensor,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/", Operation::new("Whether the server answers").gives_text().probes(), alive)
        .get("/score", Operation::new("Predicts the row of the query").gives("Anything").predicts(), score_query)
        .post("/score", Operation::new("Predicts rows").takes("Anything").gives("Anything").predicts(), score)
        .options("/score", Operation::new("For browsers that ask first"), preflight)
        .get("/swagger.json", Operation::new("Description of /score").gives("Object"), swagger)
}

async fn alive(State(server): State<Server>) -> Response {
    if server.is_ready() {
        return "Healthy".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy").into_response()
}

async fn preflight() -> StatusCode {
    StatusCode::OK
}

#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    version: Option<String>,
}

async fn swagger(State(server): State<Server>, wanted: Result<Queried<Wanted>, Failure>) -> Response {
    let wanted = match wanted {
        Ok(Queried(wanted)) => wanted,
        Err(failure) => return told(&failure),
    };
    let version = match wanted.version.as_deref() {
        None | Some("2") => 2,
        Some("3") => 3,
        Some(_) => {
            return told(&Failure::new(StatusCode::NOT_FOUND, "the description comes in version 2 and 3"));
        }
    };
    Json(convert::swagger(&server.inner.settings.name, version)).into_response()
}

async fn score(State(server): State<Server>, incoming: Incoming) -> Response {
    answer(&server, incoming, Ok(|body: &[u8], version: &_| convert::FORM.read(body, version))).await
}

/// The query has a value for each input.
async fn score_query(
    State(server): State<Server>,
    query: Result<Queried<Vec<(String, String)>>, Failure>,
    incoming: Incoming,
) -> Response {
    let read = query.map(|Queried(query)| move |_: &[u8], version: &_| convert::FORM.read_query(&query, version));
    answer(&server, incoming, read).await
}

async fn answer<R>(server: &Server, incoming: Incoming, read: Result<R, Failure>) -> Response
where
    R: FnOnce(&[u8], &LoadedVersion) -> mlops_core::Result<(Vec<Tensor>, Shown)> + Send + 'static,
{
    let begun = server.inner.clock.monotonic();
    let given = |name: &HeaderName| incoming.headers.get(name).cloned();
    let (request_id, client_request_id) = (given(&REQUEST_ID), given(&CLIENT_REQUEST_ID));
    let asked = read.and_then(|read| Ok((read, only_model(server)?)));
    let answer = match asked {
        Ok((read, model)) => {
            let write = |reply: &TensorReply, shown| convert::FORM.write(reply, shown);
            predict(server, Target::model(model), incoming, read, write).await
        }
        Err(failure) => Err(failure),
    };
    let failed = answer.is_err();
    let mut response = answer.unwrap_or_else(|failure| told(&failure));
    let told = response.headers_mut();
    if !failed {
        let took = server.inner.clock.monotonic().saturating_sub(begun).as_secs_f64() * 1e3;
        put(told, "x-ms-run-fn-exec-ms", &format!("{took:.3}"));
    }
    put(told, "x-ms-run-function-failed", if failed { "True" } else { "False" });
    put(told, "x-ms-server-version", concat!("mlops/", env!("CARGO_PKG_VERSION")));
    let id = server.inner.next_request_id();
    put(told, "x-request-id", &id);
    match request_id {
        Some(given) => drop(told.insert(REQUEST_ID, given)),
        None => put(told, "x-ms-request-id", &id),
    }
    if let Some(given) = client_request_id {
        told.insert(CLIENT_REQUEST_ID, given);
    }
    response
}

/// Values that are no header, such as an instance with line ends in its name, are left out.
fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// An error in the words of Azure's inference server.
pub(crate) fn told(failure: &Failure) -> Response {
    failure.told_as(&json!({ "message": failure.text }))
}

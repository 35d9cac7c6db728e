//! The routes of inference.

use axum::{
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::HeaderMap,
    response::Response,
};
use mlops_core::Error;

use super::{convert, failure::Told};
use crate::{
    protocol::{Operation, Routes, Target, parse_version, predict},
    server::Server,
};

type Body = Result<Bytes, BytesRejection>;

pub(crate) fn routes() -> Routes {
    const PREDICT: Operation = Operation::new("Predicts rows").takes("Anything").gives("Anything");
    const EXPLAIN: Operation = Operation::new("Not offered: answers 501").takes("Anything");
    Routes::new()
        .post("/predictions/{model}", PREDICT, predictions)
        .post("/predictions/{model}/{version}", PREDICT, version_predictions)
        .post("/explanations/{model}", EXPLAIN, explanations)
        .post("/explanations/{model}/{version}", EXPLAIN, explanations)
}

async fn predictions(
    State(server): State<Server>,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Told> {
    answer(&server, Target::model(model), &headers, body).await
}

async fn version_predictions(
    State(server): State<Server>,
    Path((model, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Told> {
    let version = Some(parse_version(&version)?);
    answer(&server, Target { version, ..Target::model(model) }, &headers, body).await
}

async fn answer(server: &Server, target: Target, headers: &HeaderMap, body: Body) -> Result<Response, Told> {
    Ok(predict(server, target, headers, body, convert::read_body, convert::write_value).await?)
}

async fn explanations() -> Told {
    Error::unimplemented("this server does not explain predictions").into()
}

//! The routes of inference.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde_json::Value;

use super::failure::Told;
use crate::{
    protocol::{Failure, Form, Incoming, Layout, Named, Operation, Question, Routes, Shown, ask_why, explained_rows},
    repository::LoadedVersion,
    server::{Explained, InferOptions, Server},
};

/// Rows in an array, one row as an object, or KServe's two envelopes; answered by the bare value.
static FORM: Form =
    Form { keys: &[("instances", Layout::Rows), ("inputs", Layout::Columns)], bare: true, answer: None };

pub(crate) fn routes() -> Routes {
    const PREDICT: Operation = Operation::new("Predicts rows").takes("Anything").gives("Anything").predicts();
    const EXPLAIN: Operation = Operation::new("Explains predictions").takes("Anything").gives("Anything").predicts();
    Routes::new()
        .post("/predictions/{model}", PREDICT, predictions)
        .post("/predictions/{model}/{version}", PREDICT, predictions)
        // As `curl -T FILE` asks.
        .put("/predictions/{model}", PREDICT, predictions)
        .put("/predictions/{model}/{version}", PREDICT, predictions)
        .post("/explanations/{model}", EXPLAIN, explanations)
        .post("/explanations/{model}/{version}", EXPLAIN, explanations)
}

async fn predictions(
    State(server): State<Server>,
    named: Result<Named, Failure>,
    incoming: Incoming,
) -> Result<Response, Told> {
    Ok(FORM.predict(&server, named?.target()?, incoming).await?)
}

/// One object per row, as [`explained_rows`] has it; of one row that came as an object, that alone.
async fn explanations(
    State(server): State<Server>,
    named: Result<Named, Failure>,
    mut incoming: Incoming,
) -> Result<Response, Told> {
    let read = |body: Bytes, version: &LoadedVersion| {
        let (tensors, shown) = FORM.read(&body, version)?;
        Ok(Question { tensors, options: InferOptions::default(), wish: shown })
    };
    let (Explained { explanation, .. }, shown) = ask_why(&server, &named?.target()?, &mut incoming, read).await?;
    let mut rows = explained_rows(&explanation);
    let answer = if shown == Shown::Row { rows.pop().unwrap_or_default() } else { Value::from(rows) };
    Ok(Json(answer).into_response())
}

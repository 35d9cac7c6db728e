//! The routes of inference.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde_json::Value;

use super::{
    body::{Content, FORM},
    failure::Told,
};
use crate::{
    protocol::{
        Failure, Incoming, Named, Operation, Queried, Question, Routes, Shown, ask_why, explained_rows, predict,
    },
    repository::LoadedVersion,
    server::{Explained, InferOptions, Server, TensorReply},
    tensor::Tensor,
};

type Asked = Result<Named, Failure>;

pub(crate) fn routes() -> Routes {
    const PREDICT: Operation = Operation::new("Predicts rows").takes("Anything").gives("Anything").predicts();
    const QUERY: Operation = Operation::new("Predicts the row of the query").gives("Anything").predicts();
    const EXPLAIN: Operation = Operation::new("Explains predictions").takes("Anything").gives("Anything").predicts();
    Routes::new()
        .get("/predictions/{model}", QUERY, predict_query)
        .get("/predictions/{model}/{version}", QUERY, predict_query)
        .post("/predictions/{model}", PREDICT, predictions)
        .post("/predictions/{model}/{version}", PREDICT, predictions)
        // As `curl -T FILE` asks.
        .put("/predictions/{model}", PREDICT, predictions)
        .put("/predictions/{model}/{version}", PREDICT, predictions)
        .post("/explanations/{model}", EXPLAIN, explanations)
        .post("/explanations/{model}/{version}", EXPLAIN, explanations)
}

async fn predictions(State(server): State<Server>, named: Asked, incoming: Incoming) -> Result<Response, Told> {
    let content = Content::of(&incoming.headers);
    answer(&server, named?, incoming, move |body: &[u8], version: &_| content.read(body, version)).await
}

/// The query has a value for each input.
async fn predict_query(
    State(server): State<Server>,
    named: Asked,
    query: Result<Queried<Vec<(String, String)>>, Failure>,
    incoming: Incoming,
) -> Result<Response, Told> {
    let Queried(query) = query?;
    answer(&server, named?, incoming, move |_: &[u8], version: &_| FORM.read_query(&query, version)).await
}

async fn answer<R>(server: &Server, named: Named, incoming: Incoming, read: R) -> Result<Response, Told>
where
    R: FnOnce(&[u8], &LoadedVersion) -> mlops_core::Result<(Vec<Tensor>, Shown)> + Send + 'static,
{
    let write = |reply: &TensorReply, shown| FORM.write(reply, shown);
    Ok(predict(server, named.target()?, incoming, read, write).await?)
}

/// One object per row, as [`explained_rows`] has it; of one row that came as an object, that alone.
async fn explanations(State(server): State<Server>, named: Asked, mut incoming: Incoming) -> Result<Response, Told> {
    let content = Content::of(&incoming.headers);
    let read = move |body: Bytes, version: &LoadedVersion| {
        let (tensors, shown) = content.read(&body, version)?;
        Ok(Question { tensors, options: InferOptions::default(), wish: shown })
    };
    let (Explained { explanation, .. }, shown) = ask_why(&server, &named?.target()?, &mut incoming, read).await?;
    let mut rows = explained_rows(&explanation);
    let answer = if shown == Shown::Row { rows.pop().unwrap_or_default() } else { Value::from(rows) };
    Ok(Json(answer).into_response())
}

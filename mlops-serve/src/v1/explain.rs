//! Explanations in the words of KServe v1, which leaves the form of an explanation open.

use axum::{Json, body::Bytes, response::IntoResponse as _};
use serde_json::json;

use super::convert;
use crate::{
    protocol::{Answer, Incoming, Question, Target, ask_why, explained_rows},
    repository::LoadedVersion,
    server::{Explained, InferOptions, Server},
};

pub(super) async fn explain(server: &Server, target: Target, mut incoming: Incoming) -> Answer {
    let read = |body: Bytes, version: &LoadedVersion| {
        let (tensors, _) = convert::read_predict(&body, version)?;
        Ok(Question { tensors, options: InferOptions::default(), wish: () })
    };
    let (Explained { explanation, .. }, ()) = ask_why(server, &target, &mut incoming, read).await?;
    Ok(Json(json!({ "explanations": explained_rows(&explanation) })).into_response())
}

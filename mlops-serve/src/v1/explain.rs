//! Explanations in the words of KServe v1, which leaves the form of an explanation open.

use axum::{body::Bytes, http::header, response::IntoResponse as _};
use serde_json::json;

use super::convert;
use crate::{
    protocol::{Answer, Envelope, Incoming, Question, Target, ask_why, explained_rows},
    repository::LoadedVersion,
    server::{Explained, InferOptions, Server},
};

pub(super) async fn explain(server: &Server, target: Target, mut incoming: Incoming) -> Answer {
    let envelope = Envelope::of(&incoming.headers)?;
    let read = move |body: Bytes, version: &LoadedVersion| {
        let (tensors, _) = convert::read_predict(&envelope.data(&body)?, version)?;
        Ok(Question { tensors, options: InferOptions::default(), wish: () })
    };
    let (Explained { explanation, .. }, ()) = ask_why(server, &target, &mut incoming, read).await?;
    let body = json!({ "explanations": explained_rows(&explanation) }).to_string().into_bytes();
    let answered = envelope.answer(server, &target.model);
    let response = ([(header::CONTENT_TYPE, "application/json")], answered.wrap(body)).into_response();
    Ok(answered.label(response))
}

//! One prediction for a protocol over HTTP: body in, answer out.
//!
//! Invariant: whether the model may be asked is known before the body is read; reading, predicting and writing all know
//! the same version; large bodies are read and written by the workers.

use std::sync::Arc;

use axum::{
    body::Bytes,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use mlops_core::{Result, Version};

use super::{Answer, Failure, Incoming, bytes_of, finish};
use crate::{
    repository::LoadedVersion,
    rollout::Variant,
    server::{Explained, InferOptions, Server, TensorReply},
    tensor::Tensor,
};

const VARIANT: HeaderName = HeaderName::from_static("mlops-variant");
const REQUEST_ID: HeaderName = HeaderName::from_static("mlops-request-id");

/// Whom a request is for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) model: String,
    pub(crate) version: Option<Version>,
    pub(crate) variant: Option<Variant>,
}

impl Target {
    /// The version in service.
    pub(crate) fn model(model: impl Into<String>) -> Self {
        Self { model: model.into(), version: None, variant: None }
    }
}

/// What a body says.
#[derive(Debug)]
pub(crate) struct Question<W> {
    pub(crate) tensors: Vec<Tensor>,
    /// What the body itself says of the way it wants to be answered.
    pub(crate) options: InferOptions,
    /// What the writer of the answer needs to know.
    pub(crate) wish: W,
}

/// Reads a body with `read` and lets the target answer it.
///
/// # Errors
/// What the body, the model or the server refuses.
pub(crate) async fn ask<W: Send + 'static>(
    server: &Server,
    target: &Target,
    incoming: &mut Incoming,
    read: impl FnOnce(Bytes, &LoadedVersion) -> Result<Question<W>> + Send + 'static,
) -> std::result::Result<(TensorReply, W), Failure> {
    let permit = server.permit(&target.model).await?;
    let body = incoming.body().await?;
    let started = server.inner.clock.monotonic();
    let mut asked = permit.asked(server, target.version).await?;
    let described_by = Arc::clone(&asked.wanted.described_by);
    let Question { tensors, options, wish } = body.read(server, move |body| read(body, &described_by)).await?;
    let options = InferOptions { version: target.version, variant: target.variant, ..options };
    let options = asked.complete(options, &incoming.headers)?;
    asked.keep_by_cookie(server, &options);
    let prepared = server.prepare(asked, tensors, options, started)?;
    // Of its own, for each of the futures around it would move it.
    let reply = Box::pin(server.answer(prepared)).await?;
    Ok((reply, wish))
}

/// Reads a body with `read` and explains what the target says of it; the body's wishes of how to be answered are its own.
///
/// # Errors
/// As [`ask`]; `Unimplemented` when nothing explains the model.
pub(crate) async fn ask_why<W: Send + 'static>(
    server: &Server,
    target: &Target,
    incoming: &mut Incoming,
    read: impl FnOnce(Bytes, &LoadedVersion) -> Result<Question<W>> + Send + 'static,
) -> std::result::Result<(Explained, W), Failure> {
    let permit = server.permit(&target.model).await?;
    let asked = permit.asked_side(server, target.version, target.variant).await?;
    asked.wanted.explainer()?;
    let body = incoming.body().await?;
    let described_by = Arc::clone(&asked.wanted.described_by);
    let Question { tensors, wish, .. } = body.read(server, move |body| read(body, &described_by)).await?;
    Ok((server.explain_tensors(asked, &tensors).await?, wish))
}

/// Answers a request with the JSON that `write` makes of the outputs; `read` takes the inputs, and whatever else `write`
/// needs to know of the request.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn predict<W: Send + 'static>(
    server: &Server,
    target: Target,
    mut incoming: Incoming,
    read: impl FnOnce(&[u8], &LoadedVersion) -> Result<(Vec<Tensor>, W)> + Send + 'static,
    write: impl FnOnce(&TensorReply, W) -> Result<Vec<u8>> + Send + 'static,
) -> Answer {
    let read = move |body: Bytes, version: &LoadedVersion| {
        let (tensors, wish) = read(&body, version)?;
        Ok(Question { tensors, options: InferOptions::default(), wish })
    };
    let (reply, wish) = ask(server, &target, &mut incoming, read).await?;
    let origin = Origin::of(&reply);
    let body = finish(server, bytes_of(&reply.outputs), move || write(&reply, wish)).await?;
    Ok(origin.told(([(header::CONTENT_TYPE, "application/json")], body).into_response()))
}

/// Where an answer came from, as its headers tell: the side of the rollout, the cookie that keeps its client there, and the id that labels and outcomes name it by
/// where the client gave none.
#[derive(Debug)]
pub(crate) struct Origin {
    variant: Variant,
    made_id: Option<Arc<str>>,
    cookie: Option<String>,
}

impl Origin {
    pub(crate) fn of(reply: &TensorReply) -> Self {
        Self { variant: reply.variant, made_id: reply.made_id.clone(), cookie: reply.cookie.clone() }
    }

    pub(crate) fn told(self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(VARIANT, HeaderValue::from_static(self.variant.as_str()));
        if let Some(id) = self.made_id.and_then(|id| HeaderValue::try_from(&*id).ok()) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(cookie) = self.cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
            headers.append(header::SET_COOKIE, cookie);
        }
        response
    }
}

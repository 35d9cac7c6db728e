//! One prediction for a protocol that speaks JSON: body in, answer out.
//!
//! Invariant: reading, predicting and writing all know the same version, and large bodies are read and written by the
//! workers.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::rejection::BytesRejection,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use mlops_core::{Result, Version};

use super::{Failure, Incoming, bytes_of};
use crate::{
    repository::LoadedVersion,
    rollout::Variant,
    server::{InferOptions, Server, TensorReply},
    tensor::Tensor,
};

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

/// Answers a request with what `write` makes of the outputs; `read` takes the inputs, and whatever else `write` needs
/// to know of the request.
///
/// # Errors
/// What the body, the model or the server refuses.
pub(crate) async fn predict<W: Send + 'static>(
    server: &Server,
    target: Target,
    headers: &HeaderMap,
    body: std::result::Result<Bytes, BytesRejection>,
    read: impl FnOnce(&[u8], &LoadedVersion) -> Result<(Vec<Tensor>, W)> + Send + 'static,
    write: impl FnOnce(&TensorReply, W) -> Result<Vec<u8>> + Send + 'static,
) -> std::result::Result<Response, Failure> {
    let incoming = Incoming::new(headers, body)?;
    let started = server.inner.clock.monotonic();
    let wanted = server.inner.wanted(&target.model, target.version)?;
    let described_by = Arc::clone(&wanted.described_by);
    let (tensors, known) = incoming.read(server, move |body| read(&body, &described_by)).await?;
    let asked = wanted.asked_by(|name| headers.get(name)?.to_str().ok());
    let options = InferOptions {
        version: target.version,
        variant: target.variant.or(asked.variant),
        routing_key: asked.key,
        ..InferOptions::default()
    };
    let reply = server.infer_tensors(wanted, tensors, options, started).await?;
    let variant = reply.variant;
    let body = if bytes_of(&reply.outputs) > server.inner.settings.offload_bytes {
        server.inner.executor.finish(move || write(&reply, known)).await?
    } else {
        write(&reply, known)?
    };
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    response.headers_mut().insert("mlops-variant", HeaderValue::from_static(variant.as_str()));
    Ok(response)
}

//! The inference handler: from the bytes of a request to the bytes of an answer.
//!
//! Small plain bodies are read and written on the spot; large or compressed ones by the workers, so that they
//! never hold up the runtime.

use std::sync::Arc;

use super::convert::{self, Wish};
use crate::{
    protocol::{
        Answer, Incoming, bytes_of,
        encoding::{self, Encoding},
        parse_version,
    },
    server::{InferOptions, Server, TensorReply},
};
use axum::{
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};

pub(super) const HEADER_LENGTH: &str = "inference-header-content-length";

type Body = Result<Bytes, BytesRejection>;

pub(super) async fn infer(
    State(server): State<Server>,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    answer(&server, &model, None, &headers, body).await
}

pub(super) async fn infer_version(
    State(server): State<Server>,
    Path((model, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    answer(&server, &model, Some(version), &headers, body).await
}

async fn answer(server: &Server, model: &str, version: Option<String>, headers: &HeaderMap, body: Body) -> Answer {
    let incoming = Incoming::new(headers, body)?;
    let started = server.inner.clock.monotonic();
    let version = version.as_deref().map(parse_version).transpose()?;
    let wanted = server.inner.wanted(model, version)?;
    let header_length = headers.get(HEADER_LENGTH).map(|value| value.to_str().unwrap_or_default().to_owned());
    let described_by = Arc::clone(&wanted.described_by);
    let parse = move |body: Bytes| convert::check(&body, header_length.as_deref(), &described_by);
    let checked = incoming.read(server, parse).await?;
    let asked = wanted.asked_by(|name| headers.get(name)?.to_str().ok());
    let options = InferOptions {
        request_id: checked.id.clone(),
        version,
        variant: asked.variant,
        routing_key: checked.routing_key.or(asked.key),
        timeout: checked.timeout,
        priority: checked.priority,
        ..InferOptions::default()
    };
    let reply = server.infer_tensors(wanted, checked.tensors, options, started).await?;
    write(server, model, checked.id, reply, checked.wish, encoding::for_response(headers)).await
}

/// The bytes of an answer.
struct Written {
    body: Vec<u8>,
    header_length: Option<usize>,
    encoding: Option<Encoding>,
}

async fn write(
    server: &Server,
    model: &str,
    id: Option<String>,
    reply: TensorReply,
    wish: Wish,
    accepted: Option<Encoding>,
) -> Answer {
    let settings = &server.inner.settings;
    let bytes = bytes_of(&reply.outputs);
    let encoding = accepted.filter(|_| bytes >= settings.compress_bytes_min);
    let (name, variant) = (model.to_owned(), reply.variant);
    let encode = move || {
        let version = reply.version.0;
        let (body, header_length) = convert::respond((&name, version), id.as_deref(), &reply.outputs, &wish)?;
        let body = match encoding {
            Some(encoding) => encoding::deflate(encoding, &body)?,
            None => body,
        };
        Ok(Written { body, header_length, encoding })
    };
    let written = if encoding.is_some() || bytes > settings.offload_bytes {
        server.inner.executor.finish(encode).await?
    } else {
        encode()?
    };
    let mut response = respond(written);
    response.headers_mut().insert("mlops-variant", HeaderValue::from_static(variant.as_str()));
    Ok(response)
}

fn respond(written: Written) -> Response {
    let binary = written.header_length.is_some();
    let content_type = if binary { "application/octet-stream" } else { "application/json" };
    let mut response = ([(header::CONTENT_TYPE, content_type)], written.body).into_response();
    let headers = response.headers_mut();
    if let Some(length) = written.header_length {
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    if let Some(encoding) = written.encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

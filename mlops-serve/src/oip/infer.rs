//! The inference handler: from the bytes of a request to the bytes of an answer.
//!
//! Small plain bodies are read and written on the spot; large or compressed ones by the workers, so that they
//! never hold up the runtime.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;

use super::convert::{self, Wish};
use crate::{
    protocol::{
        Answer, Incoming, Named, Origin, ask, bytes_of,
        encoding::{self, Encoding},
        finish,
    },
    server::{Server, TensorReply},
};

pub(super) const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Room for the headers of most answers, so that it is made once; what holds more is of a size that takes the allocator
/// longer.
const HEADERS_USUAL: usize = 6;

/// The model that a request asks for a prediction, where its path says so plainly and by one word: nearly all do.
pub(crate) fn plainly_asked(request: &Request) -> Option<&str> {
    let model = request.uri().path().strip_prefix("/v2/models/")?.strip_suffix("/infer")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_plain = request.method() == Method::POST && !model.is_empty() && model.bytes().all(plain);
    is_plain.then_some(model)
}

/// Answers a request that asks `model` plainly, as the router would let [`infer`] answer it.
pub(crate) fn infer_plainly(
    server: Server,
    model: Named,
    request: Request,
) -> impl Future<Output = Response> + Send + use<> {
    let incoming = Incoming::of(request, &server);
    infer(State(server), model, incoming).map(IntoResponse::into_response)
}

pub(super) async fn infer(State(server): State<Server>, named: Named, mut incoming: Incoming) -> Answer {
    let target = named.target()?;
    let length = header_length(&incoming.headers);
    let read = move |body, version: &_| convert::check(&body, length.as_deref(), version);
    let (reply, wish) = ask(&server, &target, &mut incoming, read).await?;
    write(&server, target.model, reply, wish, encoding::for_response(&incoming.headers)).await
}

/// Where the JSON part of the body ends, as the header tells it.
pub(super) fn header_length(headers: &HeaderMap) -> Option<String> {
    headers.get(HEADER_LENGTH).map(|value| value.to_str().unwrap_or_default().to_owned())
}

/// The bytes of an answer.
struct Written {
    body: Vec<u8>,
    header_length: Option<usize>,
    encoding: Option<Encoding>,
}

/// The answer in the form that the request wished, compressed where its sender takes that.
pub(super) async fn write(
    server: &Server,
    model: String,
    reply: TensorReply,
    wish: Wish,
    accepted: Option<Encoding>,
) -> Answer {
    let bytes = bytes_of(&reply.outputs);
    let encoding = accepted.filter(|_| bytes >= server.inner.settings.compress_bytes_min);
    // Compression is work whatever the size.
    let work_bytes = if encoding.is_some() { usize::MAX } else { bytes };
    let origin = Origin::of(&reply);
    let encode = move || {
        let (body, header_length) = convert::respond((&model, reply.version.0), &reply.outputs, &wish)?;
        let body = match encoding {
            Some(encoding) => encoding::deflate(encoding, &body)?,
            None => body,
        };
        Ok(Written { body, header_length, encoding })
    };
    Ok(origin.told(respond(finish(server, work_bytes, encode).await?)))
}

fn respond(written: Written) -> Response {
    let mut response = Response::new(Body::from(written.body));
    let mut headers = HeaderMap::with_capacity(HEADERS_USUAL);
    let binary = written.header_length.is_some();
    let content_type = if binary { "application/octet-stream" } else { "application/json" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = written.header_length {
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    if let Some(encoding) = written.encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    *response.headers_mut() = headers;
    response
}

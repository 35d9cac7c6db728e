//! Methods as routes: from an HTTP/2 request to a typed call and back.
//!
//! Invariant: whatever a call does, the answer is a gRPC answer; an error carries the code of its kind.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
    routing::{MethodRouter, post},
};
use futures::{Stream, StreamExt as _, future, stream::BoxStream};
use mlops_core::{Error, ErrorKind};
use prost::Message;
use tonic::{
    Code, Status, Streaming,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    server::{Grpc, ServerStreamingService, StreamingService},
};
use tower::service_fn;

use super::{codec::Codec, layout::Laid};
use crate::{limits::Tenant, server::Server};

/// What the client says beside its message.
#[derive(Debug, Clone, Default)]
pub(super) struct Ambient {
    /// How long the client waits.
    pub(super) timeout: Option<Duration>,
    /// The metadata, which are the headers of the call.
    pub(super) headers: Arc<HeaderMap>,
}

impl Ambient {
    fn of(metadata: MetadataMap) -> Self {
        let timeout = metadata.get("grpc-timeout").and_then(|value| parse_timeout(value.to_str().ok()?));
        Self { timeout, headers: Arc::new(metadata.into_headers()) }
    }
}

/// What the client says when it opens a stream of messages.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) headers: Arc<HeaderMap>,
    /// Whose messages they are.
    pub(super) tenant: Tenant,
}

/// `TimeoutValue TimeoutUnit` of the gRPC protocol: at most eight digits, then one letter.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// An error as a status.
pub(super) fn status(error: &Error) -> Status {
    if error.kind() == ErrorKind::Internal {
        tracing::error!(error = %error.chain(), "request failed");
    }
    Status::new(Code::from_i32(error.kind().grpc_code()), error.message())
}

/// A refusal in place of an answer.
pub(crate) fn refuse(error: &Error) -> Response {
    status(error).into_http()
}

fn grpc<Q: Message + Laid + Default + 'static, A: Message + 'static>(server: &Server) -> Grpc<Codec<Q, A>> {
    Grpc::new(Codec::new(server.inner.settings.body_bytes_max))
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Deflate)
        .max_decoding_message_size(server.inner.settings.body_bytes_max)
        .max_encoding_message_size(usize::MAX)
}

/// A method with one message each way.
pub(super) fn unary<Q, A, F, Fut>(call: F) -> MethodRouter<Server, Infallible>
where
    Q: Message + Laid + Default + 'static,
    A: Message + 'static,
    F: Fn(Server, Q, Ambient) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<A, Error>> + Send + 'static,
{
    post(move |State(server): State<Server>, request: Request| async move {
        let mut grpc = grpc::<Q, A>(&server);
        let service = service_fn(move |request: tonic::Request<Q>| {
            let (metadata, _, message) = request.into_parts();
            let answer = call(server.clone(), message, Ambient::of(metadata));
            async move { answer.await.map(tonic::Response::new).map_err(|error| status(&error)) }
        });
        plain(grpc.unary(service, request).await)
    })
}

fn plain(response: axum::http::Response<tonic::body::Body>) -> Response {
    response.map(Body::new)
}

/// Answers of a call that has more than one.
pub(super) type Answers<A> = BoxStream<'static, Result<A, Status>>;

/// A call with a stream of answers, as tonic wants it.
struct Streams<F>(Server, F);

impl<Q, A, F> ServerStreamingService<Q> for Streams<F>
where
    A: Message + 'static,
    F: Fn(Server, Q) -> Result<Answers<A>, Status>,
{
    type Response = A;
    type ResponseStream = Answers<A>;
    type Future = std::future::Ready<Result<tonic::Response<Answers<A>>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        std::future::ready((self.1)(self.0.clone(), request.into_inner()).map(tonic::Response::new))
    }
}

/// A method that answers one message with a stream.
pub(super) fn server_streaming<Q, A, F>(call: F) -> MethodRouter<Server, Infallible>
where
    Q: Message + Laid + Default + 'static,
    A: Message + 'static,
    F: Fn(Server, Q) -> Result<Answers<A>, Status> + Clone + Send + Sync + 'static,
{
    post(move |State(server): State<Server>, request: Request| async move {
        let mut grpc = grpc::<Q, A>(&server);
        plain(grpc.server_streaming(Streams(server, call), request).await)
    })
}

/// The messages of a client that sends several.
pub(super) type Messages<Q> = BoxStream<'static, Result<Q, Status>>;

/// The messages up to the first that cannot be read: tonic would tell of a frame that is cut short again and again.
fn up_to_failure<Q: Send + 'static>(messages: Streaming<Q>) -> Messages<Q> {
    let tell = |failed: &mut bool, message: Result<Q, Status>| {
        let told = (!*failed).then_some(message);
        *failed |= told.as_ref().is_some_and(Result::is_err);
        future::ready(told)
    };
    messages.scan(false, tell).boxed()
}

/// A call with streams both ways, as tonic wants it.
struct BothWays<F>(Server, F);

impl<Q, A, F, S> StreamingService<Q> for BothWays<F>
where
    Q: Send + 'static,
    A: Message + 'static,
    F: Fn(Server, Messages<Q>, Opening) -> S,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
{
    type Response = A;
    type ResponseStream = S;
    type Future = std::future::Ready<Result<tonic::Response<S>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Q>>) -> Self::Future {
        let (metadata, extensions, messages) = request.into_parts();
        let opened = extensions.get::<Tenant>().cloned().map(|tenant| {
            let opening = Opening { headers: Arc::new(metadata.into_headers()), tenant };
            tonic::Response::new((self.1)(self.0.clone(), up_to_failure(messages), opening))
        });
        std::future::ready(opened.ok_or_else(|| Status::internal("nobody says whose stream this is")))
    }
}

/// A method with a stream each way.
pub(super) fn streaming<Q, A, F, S>(call: F) -> MethodRouter<Server, Infallible>
where
    Q: Message + Laid + Default + 'static,
    A: Message + 'static,
    F: Fn(Server, Messages<Q>, Opening) -> S + Clone + Send + Sync + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
{
    post(move |State(server): State<Server>, request: Request| async move {
        let mut grpc = grpc::<Q, A>(&server);
        plain(grpc.streaming(BothWays(server, call), request).await)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        assert_eq!(parse_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "m", "1", "-1S", "123456789n", "1x", "1é"] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }
}

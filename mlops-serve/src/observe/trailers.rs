//! The end of a gRPC answer: its status may come behind its messages, so the answer is counted when its body has ended.
//!
//! Invariant: every answer is counted once. One whose client went away before the end counts as cancelled.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, StatusCode},
    response::Response,
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use mlops_core::ErrorKind;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The status that a gRPC code amounts to; none where there is no code.
pub(super) fn status_in(headers: &HeaderMap) -> Option<StatusCode> {
    let code: i32 = headers.get(GRPC_STATUS)?.to_str().ok()?.parse().unwrap_or(2);
    if code == 0 {
        return Some(StatusCode::OK);
    }
    let status = ErrorKind::from_grpc_code(code).map_or(500, ErrorKind::http_status);
    Some(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

/// Whether the status of an answer comes behind its messages.
pub(super) fn is_open(response: &Response) -> bool {
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc")) && status_in(response.headers()).is_none()
}

/// Calls `told` with the status of the answer once it is known.
pub(super) fn when_ended(response: Response, told: impl FnOnce(StatusCode) + Send + 'static) -> Response {
    response.map(|body| Body::new(Ending { body, told: Some(Box::new(told)) }))
}

struct Ending {
    body: Body,
    /// None once it was called.
    told: Option<Box<dyn FnOnce(StatusCode) + Send>>,
}

impl Ending {
    fn end(&mut self, status: StatusCode) {
        if let Some(told) = self.told.take() {
            told(status);
        }
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(status) = frame.trailers_ref().and_then(status_in) {
                    self.end(status);
                }
            }
            // An answer that ends without a status is none.
            Poll::Ready(Some(Err(_)) | None) => self.end(StatusCode::INTERNAL_SERVER_ERROR),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let cancelled = StatusCode::from_u16(ErrorKind::Cancelled.http_status());
        self.end(cancelled.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{body::to_bytes, http::HeaderValue};
    use futures::{StreamExt as _, stream};

    use super::*;

    /// What is told of an answer with these frames, read whole or dropped behind its head.
    async fn told(frames: Vec<Result<Frame<Bytes>, axum::Error>>, whole: bool) -> Vec<u16> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let body = http_body_of(frames);
        let tell = Arc::clone(&seen);
        let response = when_ended(Response::new(body), move |status| tell.lock().unwrap().push(status.as_u16()));
        if whole {
            let _ = to_bytes(response.into_body(), 1 << 10).await;
        } else {
            drop(response);
        }
        let seen = seen.lock().unwrap();
        seen.clone()
    }

    struct Frames(stream::BoxStream<'static, Result<Frame<Bytes>, axum::Error>>);

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = axum::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            self.0.poll_next_unpin(context)
        }
    }

    fn http_body_of(frames: Vec<Result<Frame<Bytes>, axum::Error>>) -> Body {
        Body::new(Frames(stream::iter(frames).boxed()))
    }

    fn trailers(code: &'static str) -> Result<Frame<Bytes>, axum::Error> {
        Ok(Frame::trailers([(GRPC_STATUS, HeaderValue::from_static(code))].into_iter().collect()))
    }

    #[tokio::test]
    async fn the_status_behind_the_messages_is_told_once() {
        let data = || Ok(Frame::data(Bytes::from_static(b"m")));
        assert_eq!(told(vec![data(), trailers("0")], true).await, [200]);
        assert_eq!(told(vec![data(), trailers("14")], true).await, [503]);
        assert_eq!(told(vec![data(), trailers("77")], true).await, [500]);
        assert_eq!(told(vec![data()], true).await, [500], "no status is no success");
        assert_eq!(told(vec![data(), Err(axum::Error::new("x"))], true).await, [500]);
        assert_eq!(told(vec![data(), trailers("0")], false).await, [499], "the client went away");
    }
}

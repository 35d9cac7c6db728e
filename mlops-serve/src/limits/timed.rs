//! Bounds the time of a body that somebody else reads: that of a call over gRPC.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
};
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::observe;

/// The request with a body that fails when it takes too long; one that is there already needs no watching.
pub(super) fn timed(request: Request, limit: Duration) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|body| Body::new(Timed { body, limit, sleep: None }))
}

/// A body that must be there in time.
struct Timed {
    body: Body,
    limit: Duration,
    /// Set when the body makes its reader wait for the first time.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep(this.limit)));
        if sleep.as_mut().poll(context).is_ready() {
            observe::body_is_late();
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

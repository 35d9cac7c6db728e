//! A body from its first bytes to its last, no larger and no slower than it may be.
//!
//! Read frame by frame, without a wrapper for each bound: most bodies come in one frame, which is taken as it is.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    http::StatusCode,
};
use bytes::BytesMut;
use tokio::time::sleep;

use super::Failure;
use crate::observe;

/// The bytes of a body. Its time begins when it makes its reader wait for the first time.
///
/// # Errors
/// 413 when it has more than `bytes_max` bytes, 408 when it takes longer than `time_max`, 400 when it breaks off.
pub(super) async fn whole(mut body: Body, bytes_max: usize, time_max: Duration) -> Result<Bytes, Failure> {
    let mut come = Come { bytes_max, ..Come::default() };
    // Most bodies are there when they are asked for, and need no clock.
    if let Poll::Ready(whole) = poll_fn(|context| Poll::Ready(come.poll(&mut body, context))).await {
        return whole;
    }
    let mut late = pin!(sleep(time_max));
    poll_fn(|context| match come.poll(&mut body, context) {
        Poll::Pending => late.as_mut().poll(context).map(|()| {
            observe::body_is_late();
            Err(too_slow(time_max))
        }),
        ready => ready,
    })
    .await
}

/// What is said of a body that took longer than this.
pub(crate) fn too_slow(time_max: Duration) -> Failure {
    let text = format!("the body did not come within {} ms", time_max.as_millis());
    Failure::new(StatusCode::REQUEST_TIMEOUT, text)
}

/// What has come of a body.
#[derive(Default)]
struct Come {
    bytes_max: usize,
    first: Bytes,
    /// The first bytes and those behind them, where one frame was not all.
    all: BytesMut,
}

impl Come {
    fn poll(&mut self, body: &mut Body, context: &mut Context<'_>) -> Poll<Result<Bytes, Failure>> {
        loop {
            match Pin::new(&mut *body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(self.take())),
                Poll::Ready(Some(Err(error))) => {
                    let text = format!("the body broke off: {error}");
                    return Poll::Ready(Err(Failure::new(StatusCode::BAD_REQUEST, text)));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing here.
                    if let Ok(data) = frame.into_data() {
                        self.add(data)?;
                    }
                    if body.is_end_stream() {
                        return Poll::Ready(Ok(self.take()));
                    }
                }
            }
        }
    }

    fn add(&mut self, data: Bytes) -> Result<(), Failure> {
        if data.is_empty() {
            return Ok(());
        }
        let before = self.first.len().max(self.all.len());
        if data.len() > self.bytes_max.saturating_sub(before) {
            let text = format!("the body has more than {} bytes", self.bytes_max);
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        if before == 0 {
            self.first = data;
            return Ok(());
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&data);
        Ok(())
    }

    fn take(&mut self) -> Bytes {
        if self.all.is_empty() { std::mem::take(&mut self.first) } else { std::mem::take(&mut self.all).freeze() }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};

    use super::*;

    const TIME: Duration = Duration::from_secs(60);

    fn body(frames: &[&'static [u8]]) -> Body {
        let frames: Vec<_> = frames.iter().map(|frame| Ok::<_, std::io::Error>(Bytes::from_static(frame))).collect();
        Body::from_stream(stream::iter(frames))
    }

    async fn check(frames: &[&'static [u8]], expected: Result<&[u8], u16>) {
        let whole = whole(body(frames), 4, TIME).await;
        assert_eq!(whole.as_deref().map_err(|failure| failure.status.as_u16()), expected, "{frames:?}");
    }

    #[tokio::test]
    async fn frames_are_put_together_up_to_the_limit() {
        check(&[], Ok(b"")).await;
        check(&[b"ab"], Ok(b"ab")).await;
        check(&[b"", b"ab", b"", b"c"], Ok(b"abc")).await;
        check(&[b"ab", b"cd"], Ok(b"abcd")).await;
        check(&[b"ab", b"cd", b"e"], Err(413)).await;
        check(&[b"abcde"], Err(413)).await;
    }

    #[tokio::test]
    async fn a_frame_that_is_all_is_taken_as_it_is() {
        let frame: &'static [u8] = b"abcd";
        let whole = whole(body(&[b"", frame, b"", b""]), 4, TIME).await.unwrap();
        assert_eq!((whole.as_ptr(), whole.len()), (frame.as_ptr(), 4));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_is_slow_is_its_senders_fault() {
        let broken = stream::iter([Ok(Bytes::from_static(b"a")), Err(std::io::Error::from(std::io::ErrorKind::Other))]);
        assert_eq!(whole(Body::from_stream(broken), 4, TIME).await.unwrap_err().status, StatusCode::BAD_REQUEST);
        let slow = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"a"))]).chain(stream::pending());
        let slow = whole(Body::from_stream(slow), 4, Duration::from_millis(1)).await;
        assert_eq!(slow.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
    }
}

//! The way a body comes in: inflated under the limit, read on the spot when small, by the workers when large.
//!
//! Invariant: no more than `body_bytes_max` bytes are ever held of one body, before and after decompression, and
//! computation on large bodies stays off the runtime's threads.

use axum::{
    body::Bytes,
    extract::rejection::BytesRejection,
    http::{HeaderMap, StatusCode},
};
use mlops_core::Result;

use super::{
    Failure,
    encoding::{self, Encoding, Inflated},
};
use crate::{executor::guarded, server::Server};

/// A body as it came.
#[derive(Debug)]
pub(crate) struct Incoming {
    body: Bytes,
    encoding: Option<Encoding>,
}

impl Incoming {
    /// Takes the body of a request.
    ///
    /// # Errors
    /// 413 when it is longer than the limit, 415 for an unknown content encoding.
    pub(crate) fn new(
        headers: &HeaderMap,
        body: std::result::Result<Bytes, BytesRejection>,
    ) -> std::result::Result<Self, Failure> {
        let body = body.map_err(|rejection| Failure::new(rejection.status(), rejection.body_text()))?;
        Ok(Self { body, encoding: encoding::of_request(headers)? })
    }

    /// Reads the plain bytes with `parse`.
    ///
    /// # Errors
    /// 413 when the body inflates to more than the limit, and what `parse` refuses.
    pub(crate) async fn read<T: Send + 'static>(
        self,
        server: &Server,
        parse: impl FnOnce(Bytes) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Failure> {
        let limit = server.inner.settings.body_bytes_max;
        let Some(encoding) = self.encoding else {
            let bytes = self.body.len();
            return Ok(offload(server, bytes, move || parse(self.body)).await?);
        };
        let work = move || match encoding::inflate(encoding, &self.body, limit)? {
            Inflated::Body(body) => parse(body).map(Some),
            Inflated::TooLarge => Ok(None),
        };
        server.inner.executor.run(work).await?.ok_or_else(|| {
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body inflates to more than {limit} bytes"))
        })
    }
}

/// Runs computation over `bytes` bytes: here when they are few, else on a worker.
///
/// # Errors
/// What `work` returns; `ResourceExhausted` when the queue is full, `Internal` when it panicked.
pub(crate) async fn offload<T: Send + 'static>(
    server: &Server,
    bytes: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if bytes > server.inner.settings.offload_bytes {
        return server.inner.executor.run(work).await;
    }
    guarded(work)
}

//! The way a body comes in: read when somebody wants it, inflated under the limit, parsed on the spot when small, by the
//! workers when large.
//!
//! Invariant: no more than `body_bytes_max` bytes are ever held of one body, before and after decompression, and
//! computation on large bodies stays off the runtime's threads.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode},
};
use mlops_core::Result;

use super::{
    Failure,
    encoding::{self, Encoding, Inflated},
    whole::whole,
};
use crate::{executor::guarded, server::Server, tensor::Tensor};

/// A request whose body nobody has read.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) headers: HeaderMap,
    body: axum::body::Body,
    bytes_max: usize,
    time_max: Duration,
}

impl FromRequest<Server> for Incoming {
    type Rejection = Infallible;

    async fn from_request(request: Request, server: &Server) -> std::result::Result<Self, Infallible> {
        Ok(Self::of(request, server))
    }
}

impl Incoming {
    pub(crate) fn of(request: Request, server: &Server) -> Self {
        let settings = &server.inner.settings;
        let (parts, body) = request.into_parts();
        let time_max = Duration::from_millis(settings.limits.body_timeout_ms);
        Self { headers: parts.headers, body, bytes_max: settings.body_bytes_max, time_max }
    }

    /// Waits for the whole body, once.
    ///
    /// # Errors
    /// 413 when it is longer than the limit, 408 when it comes too slowly, 400 when it breaks off, 415 for an unknown
    /// content encoding.
    pub(crate) async fn body(&mut self) -> std::result::Result<Body, Failure> {
        let encoding = encoding::of_request(&self.headers)?;
        let bytes = whole(std::mem::take(&mut self.body), self.bytes_max, self.time_max).await?;
        Ok(Body { bytes, encoding })
    }
}

/// A body as it came.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    encoding: Option<Encoding>,
}

impl Body {
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
        let Self { bytes, encoding } = self;
        let Some(encoding) = encoding else {
            return Ok(offload(server, bytes.len(), move || parse(bytes)).await?);
        };
        let work = move || match encoding::inflate(encoding, &bytes, limit)? {
            Inflated::Body(body) => parse(body).map(Some),
            Inflated::TooLarge => Ok(None),
        };
        Box::pin(server.inner.executor.run(work)).await?.ok_or_else(|| {
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
        return Box::pin(server.inner.executor.run(work)).await;
    }
    guarded(work)
}

/// Writes an answer of `bytes` bytes: here when they are few, else on the next idle worker, for its request was admitted.
///
/// # Errors
/// What `work` returns; `Internal` when it panicked.
pub(crate) async fn finish<T: Send + 'static>(
    server: &Server,
    bytes: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if bytes > server.inner.settings.offload_bytes {
        return Box::pin(server.inner.executor.finish(work)).await;
    }
    guarded(work)
}

/// Size of tensors in binary form; JSON takes a few times as much.
pub(crate) fn bytes_of(tensors: &[Tensor]) -> usize {
    let bytes = |tensor: &Tensor| match tensor.data_type().element_bytes() {
        Some(size) => tensor.values().len().saturating_mul(size),
        None => tensor.values().get_buffer_memory_size(),
    };
    tensors.iter().map(bytes).fold(0, usize::saturating_add)
}

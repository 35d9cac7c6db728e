//! Serving a listener until told to stop, without dropping a request that was accepted.

use std::{
    future::{Future, IntoFuture},
    sync::atomic::Ordering,
    time::Duration,
};

use axum::serve::ListenerExt;
use mlops_core::{Error, Result};
use tokio::net::TcpListener;

use super::Server;

impl Server {
    /// Answers connections of `listener` until `shutdown` completes; then refuses new connections, reports not ready,
    /// finishes the requests in flight and flushes the prediction sink.
    ///
    /// # Errors
    /// `DeadlineExceeded` when requests were still in flight after
    /// [`drain_timeout_ms`](crate::ServerSettings::drain_timeout_ms); `Unavailable` when the listener fails; the error of
    /// the flush.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let inner = std::sync::Arc::clone(&self.inner);
        let limit = Duration::from_millis(inner.settings.drain_timeout_ms);
        let (begun, draining) = tokio::sync::oneshot::channel();
        let flagged = std::sync::Arc::clone(&inner);
        let signal = async move {
            shutdown.await;
            flagged.draining.store(true, Ordering::Relaxed);
            // Nobody listens when serving ended by itself.
            let _ = begun.send(());
        };
        // A failed `set_nodelay` costs latency, nothing else.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let serving = axum::serve(listener, self.into_router()).with_graceful_shutdown(signal).into_future();
        let overdue = async {
            // The sender is dropped without a word only when serving has ended.
            if draining.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(limit).await;
        };
        let outcome = tokio::select! {
            served = serving => served.map_err(|error| Error::unavailable("the listener failed").with_source(error)),
            () = overdue => Err(Error::deadline_exceeded(format!(
                "requests were still in flight {} ms after the shutdown began", limit.as_millis()
            ))),
        };
        let flushed = match &inner.predictions {
            Some(sink) => sink.flush().await,
            None => Ok(()),
        };
        outcome.and(flushed)
    }
}

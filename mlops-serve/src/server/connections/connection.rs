//! One connection from the first byte to the last.

use std::{pin::pin, time::Duration};

use axum::{body::Body, http::Request};
use futures::stream::{FuturesUnordered, StreamExt as _};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::sleep,
};

use super::{ConnectionSettings, opening::Opening, timer::HeadTimer};
use crate::{access::PeerCertificate, front::Front};

/// HTTP with the bounds of the settings, for one connection.
pub(super) fn http(settings: &ConnectionSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let bytes = usize::try_from(settings.header_bytes_max).unwrap_or(usize::MAX);
    builder
        .http1()
        .timer(HeadTimer::default())
        .header_read_timeout(Duration::from_millis(settings.header_timeout_ms))
        .max_buf_size(bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(settings.header_bytes_max)
        .max_concurrent_streams(settings.streams_max)
        .keep_alive_interval(Duration::from_millis(settings.ping_every_ms))
        .keep_alive_timeout(Duration::from_millis(settings.ping_timeout_ms));
    builder
}

/// Answers the requests of a connection until it ends. When `closing` says so it lingers for a moment, for requests
/// that are on their way, and then takes no more.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    certificate: Option<PeerCertificate>,
    front: Front,
    settings: &ConnectionSettings,
    mut closing: watch::Receiver<bool>,
) {
    let stream = Opening::new(stream, Duration::from_millis(settings.header_timeout_ms));
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        front.answer(request.map(Body::new))
    });
    let builder = http(settings);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // Polled when it was woken itself, and not whenever the connection is: all connections wait for the same.
    let mut lingered = FuturesUnordered::from_iter([async {
        // The sender lives as long as the server listens.
        let _ = closing.wait_for(|closing| *closing).await;
        sleep(Duration::from_millis(settings.linger_ms)).await;
    }]);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        _ = lingered.next() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

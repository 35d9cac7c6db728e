//! Serving a listener until told to stop, without dropping a request that was accepted.

use std::{
    future::{Future, pending},
    io,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt as _;
use mlops_core::{Error, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{ConnectionSettings, connection};
use crate::{front::Front, server::Server};

/// How long nothing is accepted after the operating system had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the last answers may take to be written when the time of the drain is over.
const GOODBYE: Duration = Duration::from_secs(1);

/// Plain connections, or those of TLS.
#[derive(Clone)]
enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(crate::tls::Tls),
}

impl Server {
    /// Answers connections of `listener` until `shutdown` completes; then reports not ready, refuses new connections
    /// (after [`shutdown_delay_ms`](ConnectionSettings::shutdown_delay_ms)), finishes the requests in flight and those
    /// that are on their way, and flushes the prediction sink.
    ///
    /// # Errors
    /// `DeadlineExceeded` when requests were still in flight after
    /// [`drain_timeout_ms`](crate::ServerSettings::drain_timeout_ms): those that waited for a worker are answered with
    /// 503 then, and what a model is still at work on is cut off; the error of the flush.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        self.serve_over(Transport::Plain, listener, shutdown).await
    }

    /// As [`Server::serve`], over TLS.
    ///
    /// # Errors
    /// As [`Server::serve`].
    #[cfg(feature = "tls")]
    pub async fn serve_tls(
        self,
        listener: TcpListener,
        tls: crate::tls::Tls,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        self.serve_over(Transport::Tls(tls), listener, shutdown).await
    }

    async fn serve_over(
        self,
        transport: Transport,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let settings = inner.settings.connections.clone();
        let (close, closing) = watch::channel(false);
        let delay = Duration::from_millis(settings.shutdown_delay_ms);
        let flagged = Arc::clone(&inner);
        let mut stop = pin!(async move {
            shutdown.await;
            flagged.draining.close();
            sleep(delay).await;
        });
        let mut checks = JoinSet::new();
        if inner.settings.readiness_check_ms > 0 {
            checks.spawn(self.clone().keep_checking());
        }
        let mut open = Open { front: Front::new(self), transport, settings, closing, connections: JoinSet::new() };
        open.accept(&listener, &mut stop).await;
        open.accept_waiting(&listener);
        drop(listener);
        // Nobody listens when there is no connection.
        let _ = close.send(true);
        let limit = Duration::from_millis(inner.settings.drain_timeout_ms);
        let ended = timeout(limit, open.ended()).await;
        if ended.is_err() {
            // What waits is told so rather than cut off. What runs cannot be stopped.
            inner.executor.refuse_waiting();
            // The failure is told already.
            let _ = timeout(GOODBYE, open.ended()).await;
        }
        let outcome = ended.map_err(|_| {
            Error::deadline_exceeded(format!(
                "requests were still in flight {} ms after the shutdown began",
                limit.as_millis()
            ))
        });
        let flushed = match &inner.predictions {
            Some(sink) => sink.flush().await,
            None => Ok(()),
        };
        outcome.and(flushed)
    }
}

/// The connections that are open; dropping it closes them.
struct Open {
    front: Front,
    transport: Transport,
    settings: ConnectionSettings,
    /// Whether nothing is accepted any more.
    closing: watch::Receiver<bool>,
    connections: JoinSet<()>,
}

impl Open {
    /// Accepts until `stop`.
    async fn accept(&mut self, listener: &TcpListener, mut stop: impl Future<Output = ()> + Unpin) {
        loop {
            let room = self.connections.len() < self.settings.connections_max;
            let accepting = async { if room { listener.accept().await } else { pending().await } };
            tokio::select! {
                () = &mut stop => return,
                Some(_) = self.connections.join_next() => {}
                accepted = accepting => match accepted {
                    Ok((stream, _)) => self.spawn(stream),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(error = %error, "no connection can be accepted for a moment");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Takes the connections that the operating system has accepted already; closing the listener would reset them.
    fn accept_waiting(&mut self, listener: &TcpListener) {
        while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
            self.spawn(stream);
        }
    }

    /// Waits until every connection has ended.
    async fn ended(&mut self) {
        while self.connections.join_next().await.is_some() {}
    }

    fn spawn(&mut self, stream: TcpStream) {
        // A failure costs latency, nothing else.
        drop(stream.set_nodelay(true));
        let (front, settings, closing) = (self.front.clone(), self.settings.clone(), self.closing.clone());
        match &self.transport {
            Transport::Plain => {
                self.connections.spawn(async move { connection::serve(stream, None, front, &settings, closing).await });
            }
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => {
                let tls = tls.clone();
                self.connections.spawn(async move {
                    let limit = Duration::from_millis(settings.header_timeout_ms);
                    match timeout(limit, tls.accept(stream)).await {
                        Ok(Ok((stream, certificate))) => {
                            connection::serve(stream, certificate, front, &settings, closing).await;
                        }
                        Ok(Err(error)) => tracing::debug!(error = %error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                });
            }
        }
    }
}

/// Whether the client of one connection is to blame, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

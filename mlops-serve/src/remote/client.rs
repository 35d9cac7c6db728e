//! Calls of one model on another server: attempts, waits and bounds, whatever the protocol.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use mlops_core::{Error, ErrorKind, Result};
use mlops_http::reqwest::header::HeaderMap;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

use super::{
    RemoteSettings,
    address::Protocol,
    breaker::{Breaker, Said},
    budget::RetryBudget,
    fault::{Fault, SERVER},
    rest::Rest,
    transport::{Attempt, Metadata, Question, Transport},
};
use crate::{ambient::Ambient, executor::RETRY_AFTER, tensor::Tensor};

#[derive(Debug)]
pub(super) struct Client {
    transport: Box<dyn Transport>,
    /// For the log and the context of errors: scheme, host and port.
    server: String,
    settings: RemoteSettings,
    budget: RetryBudget,
    breaker: Breaker,
    places: Semaphore,
    calls: AtomicU64,
}

impl Client {
    pub(super) fn new(settings: RemoteSettings, headers: HeaderMap) -> Result<Self> {
        let address = settings.validate()?;
        let server = address.origin();
        let needs = |what: &str, feature: &str| {
            Err(Error::failed_precondition(format!("{server} needs {what}; build with feature {feature:?}")))
        };
        if address.has_tls() && !cfg!(feature = "remote-https") {
            return needs("TLS", "remote-https");
        }
        let transport: Box<dyn Transport> = match address.protocol {
            Protocol::Rest => Box::new(Rest::new(&address, &settings, headers)?),
            #[cfg(feature = "grpc")]
            Protocol::Grpc => Box::new(super::grpc::Calls::new(&address, &settings, headers)?),
            #[cfg(not(feature = "grpc"))]
            Protocol::Grpc => return needs("gRPC", "grpc"),
        };
        Ok(Self {
            transport,
            breaker: Breaker::new(&server, settings.breaker_failures, Duration::from_millis(settings.breaker_pause_ms)),
            server,
            budget: RetryBudget::new(settings.retry_ratio),
            places: Semaphore::new(settings.in_flight_max.min(Semaphore::MAX_PERMITS)),
            calls: AtomicU64::new(0),
            settings,
        })
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn settings(&self) -> &RemoteSettings {
        &self.settings
    }

    fn deadline(&self, ends: Option<Instant>) -> Instant {
        let limit = Instant::now() + self.timeout();
        ends.map_or(limit, |ends| ends.min(limit))
    }

    /// What the other server says of the model.
    pub(super) async fn metadata(&self) -> Result<Metadata> {
        self.attempts(self.deadline(None), |_| self.transport.metadata()).await
    }

    /// Whether the other server says that the model is ready, asked once.
    pub(super) async fn ready(&self) -> Result<()> {
        match timeout_at(self.deadline(None), self.transport.ready()).await {
            Ok(said) => said.map_err(|fault| fault.error),
            Err(_) => Err(self.too_late()),
        }
    }

    /// Asks for a prediction.
    pub(super) async fn infer(&self, question: &Question, ambient: &Ambient) -> Result<Vec<Tensor>> {
        let deadline = self.deadline(ambient.ends);
        self.attempts(deadline, |left| self.transport.infer(question, ambient, left)).await
    }

    /// Attempts a call until it succeeds, cannot, or its time or the budget is used up.
    async fn attempts<T, F>(&self, deadline: Instant, attempt: impl Fn(Duration) -> F) -> Result<T>
    where
        F: Future<Output = Attempt<T>>,
    {
        let place = timeout_at(deadline, self.places.acquire()).await.map_err(|_| self.too_late())?;
        let _place = place.map_err(|error| Error::internal("calls are closed").with_source(error))?;
        self.budget.called();
        let (mut made, mut last) = (1, None);
        loop {
            let pass = match self.breaker.pass(Instant::now(), deadline) {
                Ok(pass) => pass,
                Err(rest) => return Err(last.unwrap_or_else(|| self.left_alone(rest))),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(outcome) = timeout_at(deadline, attempt(left)).await else {
                pass.end_late(Instant::now());
                return Err(self.too_late());
            };
            let away = |fault: &Fault| fault.again && fault.error.kind() == ErrorKind::Unavailable;
            let said = if outcome.as_ref().is_err_and(away) { Said::Nothing } else { Said::Answer };
            pass.end(said, Instant::now());
            let fault = match outcome {
                Ok(answered) => return Ok(answered),
                Err(fault) => fault,
            };
            let wait = self.backoff(made).max(fault.after);
            let in_time = Instant::now().checked_add(wait).is_some_and(|then| then < deadline);
            let error = fault.error.with("attempts", made);
            if !fault.again || made >= self.settings.attempts_max || !in_time || !self.budget.allows() {
                tracing::warn!(server = self.server, attempts = made, error = %error.chain(), "a call failed");
                return Err(error);
            }
            tracing::debug!(server = self.server, attempt = made, %error, "a call is made again");
            last = Some(error);
            sleep(wait).await;
            made += 1;
        }
    }

    /// The wait behind attempt `made`, with up to a half more, so that many do not come back at once.
    fn backoff(&self, made: u32) -> Duration {
        let millis = self.settings.backoff_ms.saturating_mul(1 << (made - 1).min(16));
        // A golden-ratio sequence spreads evenly without drawing.
        let turn = self.calls.fetch_add(1, Ordering::Relaxed) as f64 * 0.618_033_988_749_895;
        Duration::from_millis(millis).mul_f64(1.0 + turn.fract() / 2.0)
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.settings.timeout_ms)
    }

    fn left_alone(&self, rest: Duration) -> Error {
        let text = format!("the server of the model does not answer; ask again in {} ms", rest.as_millis());
        Error::unavailable(text).with(RETRY_AFTER, rest.as_secs().saturating_add(1)).with(SERVER, &self.server)
    }

    fn too_late(&self) -> Error {
        Error::deadline_exceeded("the server of the model did not answer in time").with(SERVER, &self.server)
    }
}

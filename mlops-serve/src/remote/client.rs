//! Calls of one model on another server: attempts, waits and bounds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use mlops_core::{Error, Result};
use mlops_http::reqwest::{
    self, Response, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

use super::{
    RemoteSettings,
    budget::RetryBudget,
    fault::{Fault, SERVER},
    wire::{Metadata, Written},
};

const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Largest metadata and error bodies, bytes.
const WORDS_BYTES_MAX: usize = 1 << 20;

/// What a call knows of the request it is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ambient {
    /// How much of its time is left.
    pub(crate) timeout: Option<Duration>,
    /// Its place in a trace.
    pub(crate) traceparent: Option<String>,
    pub(crate) request_id: Option<Arc<str>>,
}

/// What is asked, again if need be.
#[derive(Clone, Copy)]
enum Call<'a> {
    Metadata,
    Infer(&'a Written),
}

/// A body with the length of its JSON where binary tensors follow.
pub(super) type Answered = (Bytes, Option<usize>);

#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    /// Of the model, `.../v2/models/{model}[/versions/{version}]`.
    model: Url,
    /// For the log and the context of errors: scheme, host and port.
    server: String,
    settings: RemoteSettings,
    /// Sent with every call; it may hold a secret.
    headers: HeaderMap,
    budget: RetryBudget,
    places: Semaphore,
    calls: AtomicU64,
}

impl Client {
    pub(super) fn new(settings: RemoteSettings, headers: HeaderMap) -> Result<Self> {
        let mut model = settings.validate()?;
        let server = model.origin().ascii_serialization();
        if model.scheme() == "https" && !cfg!(feature = "remote-https") {
            return Err(Error::failed_precondition(format!("{server} needs TLS; build with feature \"remote-https\"")));
        }
        if let Ok(mut path) = model.path_segments_mut() {
            path.pop_if_empty().extend(["v2", "models", settings.model.as_str()]);
            if let Some(version) = &settings.version {
                path.extend(["versions", version.as_str()]);
            }
        }
        let product = concat!("mlops-serve/", env!("CARGO_PKG_VERSION"));
        let http = mlops_http::client_builder(product)?.tcp_nodelay(true).build();
        let http = http.map_err(|error| Error::internal("no http client for remote models").with_source(error))?;
        Ok(Self {
            http,
            model,
            server,
            budget: RetryBudget::new(settings.retry_ratio),
            places: Semaphore::new(settings.in_flight_max.min(Semaphore::MAX_PERMITS)),
            calls: AtomicU64::new(0),
            settings,
            headers,
        })
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn settings(&self) -> &RemoteSettings {
        &self.settings
    }

    fn url(&self, below: Option<&str>) -> Url {
        let mut url = self.model.clone();
        if let (Ok(mut path), Some(below)) = (url.path_segments_mut(), below) {
            path.push(below);
        }
        url
    }

    fn deadline(&self, ambient: &Ambient) -> Instant {
        let limit = Duration::from_millis(self.settings.timeout_ms);
        Instant::now() + ambient.timeout.map_or(limit, |left| left.min(limit))
    }

    /// What the other server says of the model.
    pub(super) async fn metadata(&self) -> Result<Metadata> {
        let ambient = Ambient::default();
        let (body, _) = self.attempts(Call::Metadata, &ambient).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let text = format!("{} does not describe its model {:?}", self.server, self.settings.model);
            Error::failed_precondition(text).with_source(error)
        })
    }

    /// Whether the other server says that the model is ready, asked once.
    pub(super) async fn ready(&self) -> Result<()> {
        let deadline = self.deadline(&Ambient::default());
        let asked = timeout_at(deadline, self.get(Some("ready"), WORDS_BYTES_MAX)).await;
        match asked {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(fault)) => Err(fault.error),
            Err(_) => Err(self.too_late()),
        }
    }

    /// Asks for a prediction.
    pub(super) async fn infer(&self, written: &Written, ambient: &Ambient) -> Result<Answered> {
        self.attempts(Call::Infer(written), ambient).await
    }

    /// Attempts a call until it succeeds, cannot, or its time or the budget is used up.
    async fn attempts(&self, call: Call<'_>, ambient: &Ambient) -> Result<Answered> {
        let deadline = self.deadline(ambient);
        let place = timeout_at(deadline, self.places.acquire()).await.map_err(|_| self.too_late())?;
        let _place = place.map_err(|error| Error::internal("calls are closed").with_source(error))?;
        self.budget.called();
        let mut made = 1;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let fault = match timeout_at(deadline, self.attempt(call, ambient, left)).await {
                Ok(Ok(answered)) => return Ok(answered),
                Ok(Err(fault)) => fault,
                Err(_) => return Err(self.too_late()),
            };
            let wait = self.backoff(made).max(fault.after);
            let in_time = Instant::now().checked_add(wait).is_some_and(|then| then < deadline);
            if !fault.again || made >= self.settings.attempts_max || !in_time || !self.budget.allows() {
                tracing::warn!(server = self.server, attempts = made, error = %fault.error.chain(), "a call failed");
                return Err(fault.error.with("attempts", made));
            }
            tracing::debug!(server = self.server, attempt = made, error = %fault.error, "a call is made again");
            sleep(wait).await;
            made += 1;
        }
    }

    async fn attempt(&self, call: Call<'_>, ambient: &Ambient, left: Duration) -> std::result::Result<Answered, Fault> {
        match call {
            Call::Metadata => self.get(None, WORDS_BYTES_MAX).await,
            Call::Infer(written) => self.post(written, ambient, left).await,
        }
    }

    /// The wait behind attempt `made`, with up to a half more, so that many do not come back at once.
    fn backoff(&self, made: u32) -> Duration {
        let millis = self.settings.backoff_ms.saturating_mul(1 << (made - 1).min(16));
        // A golden-ratio sequence spreads evenly without drawing.
        let turn = self.calls.fetch_add(1, Ordering::Relaxed) as f64 * 0.618_033_988_749_895;
        Duration::from_millis(millis).mul_f64(1.0 + turn.fract() / 2.0)
    }

    fn too_late(&self) -> Error {
        Error::deadline_exceeded("the server of the model did not answer in time").with(SERVER, &self.server)
    }

    async fn get(&self, below: Option<&str>, bytes_max: usize) -> std::result::Result<Answered, Fault> {
        let request = self.http.get(self.url(below)).headers(self.headers.clone());
        self.answered(request.send().await, bytes_max).await
    }

    async fn post(&self, written: &Written, ambient: &Ambient, left: Duration) -> std::result::Result<Answered, Fault> {
        let micros = u64::try_from(left.as_micros()).unwrap_or(u64::MAX).max(1);
        let (body, header_length) = written.body(ambient.request_id.as_deref(), micros).map_err(Fault::lasting)?;
        let kind = if header_length.is_some() { "application/octet-stream" } else { "application/json" };
        let mut headers = self.headers.clone();
        headers.insert("content-type", HeaderValue::from_static(kind));
        if let Some(length) = header_length {
            headers.insert(HEADER_LENGTH, HeaderValue::from(length));
        }
        if let Some(value) = ambient.traceparent.as_deref().and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(TRACEPARENT, value);
        }
        let request = self.http.post(self.url(Some("infer"))).headers(headers).body(body);
        self.answered(request.send().await, self.settings.answer_bytes_max).await
    }

    async fn answered(
        &self,
        sent: reqwest::Result<Response>,
        bytes_max: usize,
    ) -> std::result::Result<Answered, Fault> {
        let response = sent.map_err(|error| Fault::of_transport(&self.server, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes_max = if status.is_success() { bytes_max } else { bytes_max.min(WORDS_BYTES_MAX) };
        let body = self.body(response, bytes_max).await?;
        if !status.is_success() {
            return Err(Fault::of_status(&self.server, status, &headers, &body));
        }
        let length = headers.get(HEADER_LENGTH).map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
        match length {
            Some(None) => {
                let error = Error::internal("the server of the model sent a length that is no number");
                Err(Fault::lasting(error.with(SERVER, &self.server)))
            }
            length => Ok((body, length.flatten())),
        }
    }

    async fn body(&self, mut response: Response, bytes_max: usize) -> std::result::Result<Bytes, Fault> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Fault::of_transport(&self.server, error))? {
            if body.len().saturating_add(chunk.len()) > bytes_max {
                let text = format!("the answer of the model's server has more than {bytes_max} bytes");
                return Err(Fault::lasting(Error::resource_exhausted(text).with(SERVER, &self.server)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

//! Events to an OpenLineage receiver (Marquez, DataHub, a collector) by `POST /api/v1/lineage`.
//!
//! Invariant: the token is in no error and not in `Debug`.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use mlops_core::{Error, ErrorKind, Result};
use mlops_http::{
    client_builder,
    reqwest::{
        Client, StatusCode, Url,
        header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    },
};

use super::{
    transport::{Transport, line},
    wire::RunEvent,
};

const PRODUCT: &str = concat!("mlops-features/", env!("CARGO_PKG_VERSION"));
const ENDPOINT: &str = "api/v1/lineage";
const TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one event, when the receiver is busy or away.
const TRIES_MAX: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Posts events.
#[derive(Clone)]
pub struct HttpTransport {
    client: Client,
    url: Url,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl HttpTransport {
    /// Posts to `api/v1/lineage` below `url`; five seconds for an answer.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no `http` or `https` address, `Internal` when TLS cannot be set up.
    pub fn new(url: &str) -> Result<Self> {
        let base = format!("{}/", url.trim_end_matches('/'));
        let fault = |error| Error::invalid_argument("the address of a lineage receiver is no url").with_source(error);
        let url = Url::parse(&base).and_then(|base| base.join(ENDPOINT)).map_err(fault)?;
        if !matches!(url.scheme(), "http" | "https") {
            let found = url.scheme();
            return Err(Error::invalid_argument(format!("a lineage receiver speaks http or https, found \"{found}\"")));
        }
        let client = client_builder(PRODUCT)?.build();
        let client = client.map_err(|error| Error::internal("an http client cannot be made").with_source(error))?;
        Ok(Self { client, url, authorization: None, timeout: TIMEOUT })
    }

    /// Sends `Authorization: Bearer ...`.
    ///
    /// # Errors
    /// `InvalidArgument` when the token cannot be in a header.
    pub fn with_bearer(mut self, token: &str) -> Result<Self> {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value =
            value.map_err(|_| Error::invalid_argument("the token of a lineage receiver is no valid header"))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Longest wait for an answer. The work that is described waits as long, so keep it short.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn post(&self, body: String) -> Result<()> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        let request = match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        };
        let response = request.timeout(self.timeout).body(body).send().await;
        let response = response.map_err(|error| {
            Error::unavailable("the lineage receiver does not answer").with_source(error.without_url())
        })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS => Err(Error::unavailable("the lineage receiver is busy")),
            status => Err(Error::new(
                ErrorKind::from_http_status(status.as_u16()),
                format!("the lineage receiver answered {}", status.as_u16()),
            )),
        }
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, event: &RunEvent) -> Result<()> {
        let body = line(event)?;
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES_MAX {
            match self.post(body.clone()).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.post(body).await
    }
}

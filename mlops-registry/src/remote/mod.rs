//! Tracking on a remote MLflow server, by its REST API.
//!
//! [`MlflowRemote`] is one more [`TrackingStore`]: a program that logs to its own database logs to a server by another line
//! of set-up; its files go to an artifact store as before. The server may be MLflow's own, one that speaks like it, or
//! `MlflowServer` of this crate.
//!
//! Invariant: a call that creates something is sent once; a call that can be repeated without harm is repeated while the
//! server is busy or out of reach. What a server promises less than this crate's own stores is its matter: MLflow's
//! writes params, metrics and tags of a batch in three transactions and keeps infinities as the largest double.
//!
//! [`TrackingStore`]: crate::TrackingStore

mod http;
mod logged;
mod port;
mod read;
mod registered;
mod traces;

use std::{fmt, time::Duration};

use mlops_core::{Error, Result};
use url::Url;

pub use self::http::RETRIES_MAX;
pub(crate) use self::registered::Listed;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How a client shows who it is. Secrets are not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
enum Credentials {
    None,
    Basic { user: String, password: String },
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Basic { user, .. } => write!(f, "basic, user {user:?}"),
            Self::Bearer(_) => f.write_str("bearer"),
        }
    }
}

/// A tracking store on a server that speaks MLflow's REST API 2.0.
///
/// That API has no call for [`append_run_tag`](crate::TrackingStore::append_run_tag). Servers of this crate have one of their
/// own, which loses nothing; on others it reads, then writes, so an item that another appends in between is lost.
///
/// ```no_run
/// use std::sync::Arc;
/// use mlops_core::RunLogger;
/// use mlops_registry::{ArtifactStore, MlflowRemote, Tracker};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = MlflowRemote::builder("http://mlflow.internal:5000").with_bearer("token").build()?;
/// let tracker = Tracker::new(Arc::new(store), ArtifactStore::from_url("file:///mnt/artifacts")?);
/// let run = tracker.start("fraud", "first try").await?;
/// run.log_params(&[("rounds".into(), "50".into())]).await?;
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MlflowRemote {
    client: mlops_http::reqwest::Client,
    base: Url,
    credentials: Credentials,
    timeout: Duration,
    retries: u32,
    answer_bytes_max: usize,
}

/// Puts a [`MlflowRemote`] together.
#[derive(Debug, Clone)]
#[must_use]
pub struct MlflowRemoteBuilder {
    url: String,
    credentials: Credentials,
    timeout: Duration,
    retries: u32,
}

impl MlflowRemoteBuilder {
    /// Sends user and password with every call.
    pub fn with_basic(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Credentials::Basic { user: user.into(), password: password.into() };
        self
    }

    /// Sends a token with every call.
    pub fn with_bearer(mut self, token: impl Into<String>) -> Self {
        self.credentials = Credentials::Bearer(token.into());
        self
    }

    /// How long one attempt may take, and of a file, which may take as long as it needs, each wait for the next piece.
    /// Default two minutes, as MLflow's client.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often a call that can be repeated is repeated, from 0 to [`RETRIES_MAX`]. Default 5, with pauses that double
    /// from 0.2 s.
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries.min(RETRIES_MAX);
        self
    }

    /// Makes the client; nothing is sent yet.
    ///
    /// # Errors
    /// `InvalidArgument` when the URL is not one of HTTP, or of HTTPS without the feature `remote-https`.
    pub fn build(self) -> Result<MlflowRemote> {
        let bad = |why: &str| Error::invalid_argument(format!("tracking server URL {:?} {why}", self.url));
        let mut base = Url::parse(&self.url).map_err(|error| bad("cannot be read").with_source(error))?;
        match base.scheme() {
            "http" => {}
            "https" if cfg!(feature = "remote-https") => {}
            "https" => return Err(bad("needs the cargo feature `remote-https`")),
            _ => return Err(bad("must begin with http:// or https://")),
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Error::invalid_argument("tracking server URL holds credentials; give them to `with_basic`"));
        }
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let client = mlops_http::client_builder(concat!("mlops-registry/", env!("CARGO_PKG_VERSION")))?
            .build()
            .map_err(|error| Error::internal("the HTTP client cannot be made").with_source(error))?;
        let Self { credentials, timeout, retries, .. } = self;
        Ok(MlflowRemote { client, base, credentials, timeout, retries, answer_bytes_max: ANSWER_BYTES_MAX })
    }
}

impl MlflowRemote {
    /// Begins a client of the server at `url`, such as `http://127.0.0.1:5000`.
    pub fn builder(url: impl Into<String>) -> MlflowRemoteBuilder {
        let (credentials, timeout) = (Credentials::None, Duration::from_secs(120));
        MlflowRemoteBuilder { url: url.into(), credentials, timeout, retries: 5 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_secrets_are_not_shown() {
        for url in ["ftp://a", "a", "http://user:secret@a"] {
            let error = MlflowRemote::builder(url).build().unwrap_err();
            assert_eq!(error.kind(), mlops_core::ErrorKind::InvalidArgument, "{url}");
        }
        let shown = format!("{:?}", MlflowRemote::builder("http://a/mlflow").with_bearer("secret").build().unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}

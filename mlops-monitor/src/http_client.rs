//! The start of every HTTP client of this crate: no redirects, no proxy, one TLS.
//!
//! Invariant: a client can be made whichever TLS providers a program links: with `alerts-https` the provider is named
//! here, so none has to be installed. Redirects are not followed: they would carry secrets elsewhere.

use std::time::Duration;

use mlops_core::Result;
use reqwest::{ClientBuilder, redirect::Policy};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that waits five seconds for a connection, and for an answer as long as its caller says.
///
/// # Errors
/// `Internal` when TLS cannot be set up.
pub(crate) fn builder() -> Result<ClientBuilder> {
    let builder = ClientBuilder::new()
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("mlops-monitor/", env!("CARGO_PKG_VERSION")));
    #[cfg(feature = "alerts-https")]
    let builder = builder.tls_backend_preconfigured(tls()?);
    Ok(builder)
}

#[cfg(feature = "alerts-https")]
fn tls() -> Result<rustls::ClientConfig> {
    use std::sync::Arc;

    use rustls_platform_verifier::BuilderVerifierExt as _;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier());
    match config {
        Ok(builder) => Ok(builder.with_no_client_auth()),
        Err(error) => Err(mlops_core::Error::internal("tls cannot be set up for http clients").with_source(error)),
    }
}

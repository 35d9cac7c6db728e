//! The start of every HTTP client of the SDK: no redirects, no proxy, one TLS.
//!
//! Invariant: a client can be made whichever TLS providers a program links: with the feature `tls` the provider is named
//! here, so none has to be installed. Redirects are not followed: they would carry secrets elsewhere.

use std::time::Duration;

use mlops_core::Result;
pub use reqwest;
use reqwest::{ClientBuilder, redirect::Policy};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After so long without a word from the server, an HTTP/2 connection with open calls is asked whether it still stands.
#[cfg(feature = "http2")]
const ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A client of `product` (such as `mlops-monitor/0.1.0`) that waits five seconds for a connection, and for an answer as
/// long as its caller says.
///
/// # Errors
/// `Internal` when TLS cannot be set up.
pub fn client_builder(product: &str) -> Result<ClientBuilder> {
    let builder = plain(product);
    #[cfg(feature = "tls")]
    let builder = builder.tls_backend_preconfigured(tls(&[])?);
    Ok(builder)
}

/// The same for HTTP/2 alone, without asking whether the server speaks it, as gRPC has it. A connection with open calls
/// that says nothing for fifteen seconds, not even to a ping, is given up, and its calls with it.
///
/// Servers of gRPC that keep the default of one ping in five minutes end a connection at the fourth ping in a row: a call
/// that they take more than forty seconds for needs their leave for more.
///
/// # Errors
/// As [`client_builder`].
#[cfg(feature = "http2")]
pub fn http2_client_builder(product: &str) -> Result<ClientBuilder> {
    let builder = plain(product)
        .http2_prior_knowledge()
        .http2_keep_alive_interval(ALIVE_INTERVAL)
        .http2_keep_alive_timeout(CONNECT_TIMEOUT);
    #[cfg(feature = "tls")]
    let builder = builder.tls_backend_preconfigured(tls(&[b"h2"])?);
    Ok(builder)
}

fn plain(product: &str) -> ClientBuilder {
    ClientBuilder::new().redirect(Policy::none()).no_proxy().connect_timeout(CONNECT_TIMEOUT).user_agent(product)
}

#[cfg(feature = "tls")]
fn tls(protocols: &[&[u8]]) -> Result<rustls::ClientConfig> {
    use std::sync::Arc;

    use rustls_platform_verifier::BuilderVerifierExt as _;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier());
    match config {
        Ok(builder) => {
            let mut config = builder.with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Ok(config)
        }
        Err(error) => Err(mlops_core::Error::internal("tls cannot be set up for http clients").with_source(error)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_client_is_made_without_an_installed_provider() {
        super::client_builder("test").unwrap().build().unwrap();
        #[cfg(feature = "http2")]
        super::http2_client_builder("test").unwrap().build().unwrap();
    }
}

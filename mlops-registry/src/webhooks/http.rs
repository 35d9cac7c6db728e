//! Posts messages over HTTP.
//!
//! Invariant: no redirect is followed, no proxy is asked, and a connection is made only to an address that
//! [`WebhookTargets`] allows: the check is in the look-up that the connection uses.

use std::{net::SocketAddr, time::Duration};

use async_trait::async_trait;
use mlops_core::{Error, Result};
use mlops_http::reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
    header::CONTENT_TYPE,
};

use super::{WebhookAnswer, WebhookRequest, WebhookSender, WebhookTargets};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Posts with `reqwest`.
///
/// ```
/// use mlops_registry::webhooks::{HttpWebhookSender, WebhookTargets};
///
/// let sender = HttpWebhookSender::new(WebhookTargets::default())?;
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct HttpWebhookSender {
    client: Client,
    targets: WebhookTargets,
}

impl HttpWebhookSender {
    /// Posts to these targets; thirty seconds for an answer, five to connect.
    ///
    /// # Errors
    /// `Internal` when TLS cannot be set up.
    pub fn new(targets: WebhookTargets) -> Result<Self> {
        let builder = mlops_http::client_builder(concat!("mlops-registry/", env!("CARGO_PKG_VERSION")))?;
        let client = builder
            .timeout(TIMEOUT)
            .dns_resolver(Allowed(targets))
            .build()
            .map_err(|error| Error::internal("the http client of webhooks cannot be made").with_source(error))?;
        Ok(Self { client, targets })
    }
}

#[async_trait]
impl WebhookSender for HttpWebhookSender {
    async fn send(&self, request: WebhookRequest) -> Result<WebhookAnswer> {
        let url = self.targets.check(&request.url)?;
        if url.scheme() == "https" && !cfg!(feature = "webhooks-https") {
            return Err(Error::unimplemented("an https receiver needs the feature webhooks-https of mlops-registry"));
        }
        let mut post = self.client.post(url).header(CONTENT_TYPE, "application/json").body(request.body);
        for (name, value) in request.headers {
            post = post.header(name, value);
        }
        let mut response = post.send().await.map_err(failed)?;
        let (status, mut body) = (response.status().as_u16(), Vec::new());
        // What came of the answer is enough: its status has decided already.
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= ANSWER_BYTES_MAX {
                body.truncate(ANSWER_BYTES_MAX);
                break;
            }
        }
        Ok(WebhookAnswer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

fn failed(error: mlops_http::reqwest::Error) -> Error {
    let error = error.without_url();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(found) = cause {
        if found.is::<Forbidden>() {
            return Error::permission_denied("the webhook leads to a private or local address; that is not allowed");
        }
        cause = found.source();
    }
    match error.is_timeout() {
        true => Error::deadline_exceeded("the receiver of a webhook did not answer in time").with_source(error),
        false => Error::unavailable("the receiver of a webhook cannot be reached").with_source(error),
    }
}

/// Finds only addresses that are allowed.
#[derive(Debug)]
struct Allowed(WebhookTargets);

#[derive(Debug)]
struct Forbidden;

impl std::fmt::Display for Forbidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name leads to a private or local address only")
    }
}

impl std::error::Error for Forbidden {}

impl Resolve for Allowed {
    fn resolve(&self, name: Name) -> Resolving {
        let targets = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                found.iter().copied().filter(|address| targets.allows(address.ip())).collect();
            match allowed.is_empty() && !found.is_empty() {
                true => Err(Box::new(Forbidden) as Box<dyn std::error::Error + Send + Sync>),
                false => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_when_it_is_looked_up() {
        let look_up = async |private: bool| {
            let targets = WebhookTargets { http: true, private };
            Allowed(targets).resolve("localhost".parse().unwrap()).await.map(Iterator::count)
        };
        assert!(look_up(true).await.unwrap() > 0);
        assert!(look_up(false).await.unwrap_err().is::<Forbidden>());
    }
}

//! Where a NATS server is and how it lets us in. Secrets are in no message and in no debug text.

use std::{fmt, time::Duration};

use async_nats::{ConnectErrorKind, ConnectOptions, ServerAddr, jetstream::ContextBuilder};
use mlops_core::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;
use url::Url;

use super::link::{Incidents, Link};
use crate::stream::tls::Tls;

/// Most servers of one address.
const SERVERS_MAX: usize = 64;

/// One NATS server, or the servers of one cluster.
///
/// ```
/// use mlops_features::stream::NatsServer;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = NatsServer::at("tls://one.example:4222,tls://two.example:4222")?.with_password("reader", "secret");
/// assert_eq!(server.to_string(), "one.example:4222,two.example:4222");
/// # Ok(())
/// # }
/// ```
pub struct NatsServer {
    addresses: Vec<ServerAddr>,
    credentials: Credentials,
    domain: Option<String>,
    tls: Tls,
}

enum Credentials {
    None,
    Token(String),
    Password(String, String),
}

impl fmt::Display for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.addresses.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            match (address.host(), address.port()) {
                (host, port) if host.contains(':') => write!(f, "{comma}[{host}]:{port}")?,
                (host, port) => write!(f, "{comma}{host}:{port}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = match &self.credentials {
            Credentials::None => "none",
            Credentials::Token(_) => "a token",
            Credentials::Password(..) => "a user and a password",
        };
        f.debug_struct("NatsServer")
            .field("addresses", &self.to_string())
            .field("credentials", &credentials)
            .field("domain", &self.domain)
            .field("tls", &self.tls)
            .finish()
    }
}

impl NatsServer {
    /// The servers at `urls`, which are like `nats://host:4222` and separated by commas. `tls://` does not speak
    /// without TLS, and neither does a server with authorities or a certificate of its own; `nats://` alone does what
    /// the server wants. All of this holds for the servers that a cluster tells of, too. `nats://user:password@host`
    /// and `nats://token@host` hold credentials, which are those for all servers; letters that a URL cannot have are
    /// percent-encoded.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no such address, and for different credentials or schemes in one.
    pub fn at(urls: &str) -> Result<Self> {
        let mut server =
            Self { addresses: Vec::new(), credentials: Credentials::None, domain: None, tls: Tls::default() };
        let mut seen = None;
        for url in urls.split(',').map(str::trim) {
            let (address, credentials) = address(url)?;
            if seen.get_or_insert_with(|| credentials.clone()) != &credentials {
                return Err(bad_address("every server of it must have the same credentials"));
            }
            if server.addresses.first().is_some_and(|first| first.tls_required() != address.tls_required()) {
                return Err(bad_address("every server of it must have the same scheme"));
            }
            server.addresses.push(address);
        }
        if server.addresses.len() > SERVERS_MAX {
            return Err(bad_address(&format!("{} servers are more than {SERVERS_MAX}", server.addresses.len())));
        }
        server.credentials = match seen.flatten() {
            Some((user, Some(password))) => Credentials::Password(user, password),
            Some((token, None)) => Credentials::Token(token),
            None => Credentials::None,
        };
        Ok(server)
    }

    /// Shows a token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.credentials = Credentials::Token(token.into());
        self
    }

    /// Shows a user and its password.
    #[must_use]
    pub fn with_password(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Credentials::Password(user.into(), password.into());
        self
    }

    /// Uses the JetStream of a domain behind the server.
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Trusts servers with a certificate of these authorities (PEM) instead of those that the system trusts, and speaks
    /// only with TLS.
    ///
    /// # Errors
    /// `InvalidArgument` for text that is no PEM of certificates.
    pub fn with_authorities(mut self, authorities: &[u8]) -> Result<Self> {
        self.tls.trust(authorities)?;
        Ok(self)
    }

    /// Shows a certificate, with those that vouch for it behind it, and has its private key (both PEM). Speaks only
    /// with TLS.
    ///
    /// # Errors
    /// `InvalidArgument` for text that is no PEM.
    pub fn with_certificate(mut self, chain: &[u8], key: &[u8]) -> Result<Self> {
        self.tls.identify(chain, key)?;
        Ok(self)
    }

    fn requires_tls(&self) -> bool {
        self.tls.is_given() || self.addresses.iter().any(ServerAddr::tls_required)
    }

    /// Connects, telling the server who we are by `name`. An answer is waited for up to `timeout`; an answer has up to
    /// `messages_max` messages.
    pub(super) async fn connect(&self, name: &str, timeout: Duration, messages_max: usize) -> Result<Link> {
        let incidents = Incidents::default();
        let options = ConnectOptions::new()
            .name(name)
            .connection_timeout(timeout)
            .request_timeout(Some(timeout))
            .subscription_capacity(messages_max)
            // Not left to the addresses: those that a cluster tells of have none of our schemes.
            .require_tls(self.requires_tls())
            .tls_client_config(self.tls.config()?)
            .event_callback({
                let incidents = incidents.clone();
                move |event| {
                    incidents.note(event);
                    std::future::ready(())
                }
            });
        let options = match &self.credentials {
            Credentials::None => options,
            Credentials::Token(token) => options.token(token.clone()),
            Credentials::Password(user, password) => options.user_and_password(user.clone(), password.clone()),
        };
        let client = options.connect(self.addresses.as_slice()).await.map_err(|error| {
            let kind = match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    ErrorKind::PermissionDenied
                }
                ConnectErrorKind::ServerParse => ErrorKind::InvalidArgument,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, format!("NATS server {self} cannot be reached: {error}")).with_source(error)
        })?;
        let builder = ContextBuilder::new();
        let context = match &self.domain {
            Some(domain) => builder.domain(domain).build(client.clone()),
            None => builder.build(client.clone()),
        };
        Ok(Link { client, context, server: self.to_string(), timeout, incidents })
    }
}

/// Who we are: a user with its password, or a token.
type UserInfo = Option<(String, Option<String>)>;

fn address(url: &str) -> Result<(ServerAddr, UserInfo)> {
    let url = if url.contains("://") { Url::parse(url) } else { Url::parse(&format!("nats://{url}")) };
    let mut url = url.map_err(|error| bad_address(&error.to_string()))?;
    if !matches!(url.scheme(), "nats" | "tls") {
        return Err(bad_address(&format!("\"{}\" is neither nats nor tls", url.scheme())));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad_address("it names no host"));
    }
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|_| bad_address("credentials must be UTF-8"))
    };
    let credentials = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some((decoded(user)?, password.map(decoded).transpose()?)),
    };
    // A URL that has a host can be without these, so this cannot fail.
    let stripped = url.set_username("").and_then(|()| url.set_password(None));
    stripped.map_err(|()| bad_address("it cannot be without credentials"))?;
    let address = ServerAddr::from_url(url).map_err(|error| bad_address(&error.to_string()))?;
    Ok((address, credentials))
}

/// The address may hold a password, so it is not repeated.
fn bad_address(why: &str) -> Error {
    Error::invalid_argument(format!("address of NATS must be like nats://host:4222: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(urls: &str) -> UserInfo {
        match NatsServer::at(urls).unwrap().credentials {
            Credentials::None => None,
            Credentials::Token(token) => Some((token, None)),
            Credentials::Password(user, password) => Some((user, Some(password))),
        }
    }

    #[test]
    fn addresses_and_credentials_are_told_apart() {
        let hosts = |urls: &str| NatsServer::at(urls).unwrap().to_string();
        assert_eq!(hosts("localhost"), "localhost:4222");
        assert_eq!(hosts("tls://u:p@one:1, tls://u:p@two"), "one:1,two:4222");
        assert_eq!(hosts("nats://[::1]:4223"), "[::1]:4223");
        assert_eq!(credentials("nats://localhost"), None);
        assert_eq!(credentials("nats://a%40b:p%3A%2F@h"), Some(("a@b".into(), Some("p:/".into()))));
        assert_eq!(credentials("nats://t0ken@h"), Some(("t0ken".into(), None)));
        let overridden = NatsServer::at("nats://t0ken@h").unwrap().with_password("user", "secret");
        let shown = format!("{overridden:?}");
        assert!(
            shown.contains("a user and a password") && !shown.contains("secret") && !shown.contains("t0ken"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        let many = vec!["h"; SERVERS_MAX + 1].join(",");
        let mixed = "tls://secret@h,nats://secret@h";
        let credentials = "nats://secret@h,nats://h";
        for urls in ["", "redis://secret@h", credentials, mixed, "nats://secret@", "nats://h:secret", &many] {
            let error = NatsServer::at(urls).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{urls}");
            assert!(!error.chain().contains("secret"), "{error}");
        }
        assert!(NatsServer::at("h").unwrap().with_authorities(b"no PEM").is_err());
        assert!(NatsServer::at("h").unwrap().with_certificate(b"no PEM", b"").is_err());
    }

    #[test]
    fn tls_is_required_wherever_it_is_asked_for() {
        let at = |urls: &str| NatsServer::at(urls).unwrap();
        assert!(!at("nats://one,two").requires_tls());
        assert!(at("tls://one,tls://two").requires_tls());
        let certificates = concat!(env!("CARGO_MANIFEST_DIR"), "/../mlops-serve/tests/it/certificates");
        let read = |name: &str| std::fs::read(format!("{certificates}/{name}")).unwrap();
        assert!(at("one").with_authorities(&read("ca.pem")).unwrap().requires_tls());
        assert!(at("one").with_certificate(&read("client.pem"), &read("client.key")).unwrap().requires_tls());
    }
}

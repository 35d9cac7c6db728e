//! Where the brokers of a Kafka cluster are and how they let us in. Secrets are in no message and in no debug text.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use mlops_core::{Error, Result};
use rustls::ClientConfig;
use url::Url;

use super::sasl::Credentials;
use crate::stream::tls::Tls;

/// Most brokers of one address.
const BROKERS_MAX: usize = 64;

/// Where brokers listen by custom.
const PORT: u16 = 9092;

/// Some brokers of one Kafka cluster, which tell of the others.
///
/// ```
/// use mlops_features::stream::KafkaServer;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = KafkaServer::at("one.example:9093,two.example")?.with_tls().with_scram_sha_512("reader", "secret");
/// assert_eq!(server.to_string(), "one.example:9093,two.example:9092");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KafkaServer {
    pub(super) addresses: Vec<Address>,
    pub(super) credentials: Option<Credentials>,
    /// None where it is spoken in the clear.
    tls: Option<Tls>,
    /// What `tls` comes to, once it was needed.
    config: OnceLock<Arc<ClientConfig>>,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

impl fmt::Display for KafkaServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if number > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl KafkaServer {
    /// The brokers at `addresses`, which are like `host:9092` and separated by commas.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no such address, and for more than 64 of them.
    pub fn at(addresses: &str) -> Result<Self> {
        let addresses = addresses.split(',').map(|text| address(text.trim())).collect::<Result<Vec<_>>>()?;
        if addresses.len() > BROKERS_MAX {
            return Err(bad_address(&format!("{} brokers are more than {BROKERS_MAX}", addresses.len())));
        }
        Ok(Self { addresses, credentials: None, tls: None, config: OnceLock::new() })
    }

    /// Shows a user and its password as they are (SASL PLAIN); only for brokers that speak TLS or are on a network that
    /// is trusted.
    #[must_use]
    pub fn with_password(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { credentials: Some(Credentials::plain(user.into(), password.into())), ..self }
    }

    /// Shows that it knows the password of a user, without showing it (SASL SCRAM-SHA-256).
    #[must_use]
    pub fn with_scram_sha_256(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { credentials: Some(Credentials::scram_sha_256(user.into(), password.into())), ..self }
    }

    /// Shows that it knows the password of a user, without showing it (SASL SCRAM-SHA-512).
    #[must_use]
    pub fn with_scram_sha_512(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { credentials: Some(Credentials::scram_sha_512(user.into(), password.into())), ..self }
    }

    /// Speaks only with TLS, to brokers with a certificate of an authority that the system trusts.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.tls.get_or_insert_default();
        self
    }

    /// Speaks only with TLS, and trusts brokers with a certificate of these authorities (PEM) instead of those that the
    /// system trusts.
    ///
    /// # Errors
    /// `InvalidArgument` for text that is no PEM of certificates.
    pub fn with_authorities(mut self, authorities: &[u8]) -> Result<Self> {
        self.tls.get_or_insert_default().trust(authorities)?;
        Ok(self)
    }

    /// Speaks only with TLS, shows a certificate, with those that vouch for it behind it, and has its private key (both
    /// PEM).
    ///
    /// # Errors
    /// `InvalidArgument` for text that is no PEM.
    pub fn with_certificate(mut self, chain: &[u8], key: &[u8]) -> Result<Self> {
        self.tls.get_or_insert_default().identify(chain, key)?;
        Ok(self)
    }

    /// How connections are encrypted, made once; none where it is spoken in the clear.
    pub(super) fn tls(&self) -> Result<Option<Arc<ClientConfig>>> {
        let Some(tls) = &self.tls else { return Ok(None) };
        if let Some(config) = self.config.get() {
            return Ok(Some(Arc::clone(config)));
        }
        let config = Arc::new(tls.config()?);
        Ok(Some(Arc::clone(self.config.get_or_init(|| config))))
    }
}

fn address(text: &str) -> Result<Address> {
    if text.contains("://") {
        return Err(bad_address("it has a scheme"));
    }
    let url = Url::parse(&format!("kafka://{text}")).map_err(|error| bad_address(&error.to_string()))?;
    let alone = url.username().is_empty() && url.password().is_none() && url.path().is_empty();
    if !alone || url.query().is_some() || url.fragment().is_some() {
        return Err(bad_address("it is more than a host and a port"));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad_address("it names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Address { host, port: url.port().unwrap_or(PORT) })
}

/// The address may hold a password where it is wrong, so it is not repeated.
fn bad_address(why: &str) -> Error {
    Error::invalid_argument(format!("address of Kafka must be like host:9092,other:9092: {why}"))
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    #[test]
    fn addresses_are_hosts_and_ports() {
        let hosts = |text: &str| KafkaServer::at(text).unwrap().to_string();
        assert_eq!(hosts("localhost"), "localhost:9092");
        assert_eq!(hosts("one:1, 10.0.0.2:2"), "one:1,10.0.0.2:2");
        assert_eq!(hosts("[::1]:9093"), "[::1]:9093");
        assert_eq!(KafkaServer::at("[::1]:9093").unwrap().addresses[0].host, "::1");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        let many = vec!["h"; BROKERS_MAX + 1].join(",");
        for text in ["", "a,,b", "h:secret", "user:secret@h", "kafka://secret", "h/secret", "h?secret", &many] {
            let error = KafkaServer::at(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
            assert!(!error.chain().contains("secret"), "{error}");
        }
        assert!(KafkaServer::at("h").unwrap().with_authorities(b"no PEM").is_err());
    }

    #[test]
    fn authorities_are_read_once() {
        let server = KafkaServer::at("h").unwrap().with_tls();
        let config = || server.tls().unwrap().unwrap();
        assert!(Arc::ptr_eq(&config(), &config()));
        assert!(KafkaServer::at("h").unwrap().tls().unwrap().is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        let server = KafkaServer::at("h").unwrap().with_tls();
        for server in
            [server.with_password("u", "secret"), KafkaServer::at("h").unwrap().with_scram_sha_256("u", "secret")]
        {
            assert!(!format!("{server:?}").contains("secret"));
        }
    }
}

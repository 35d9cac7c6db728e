//! Where messages may go: not to this machine and its private networks, unless that is allowed.
//!
//! Invariant: the address of the connection decides, not a look-up made before it, so that a name cannot lead elsewhere
//! the second time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Which targets are allowed. The default allows `https` to public addresses.
///
/// ```
/// use mlops_registry::webhooks::WebhookTargets;
///
/// let targets = WebhookTargets::default();
/// assert!(targets.check("https://ci.example.com/hook").is_ok());
/// assert!(targets.check("https://127.0.0.1/hook").is_err());
/// assert!(WebhookTargets { http: true, private: true }.check("http://localhost:8080/").is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookTargets {
    /// Whether plain `http` is allowed.
    pub http: bool,
    /// Whether loopback, private, link-local and other special addresses are allowed.
    pub private: bool,
}

impl WebhookTargets {
    /// Checks what an address shows without a look-up.
    ///
    /// # Errors
    /// `InvalidArgument`; the message does not repeat the address, which may hold a secret.
    pub fn check(&self, url: &str) -> Result<Url> {
        if url.trim().is_empty() {
            return Err(Error::invalid_argument("Webhook URL cannot be empty or just whitespace"));
        }
        self.check_as("webhook URL", url)
    }

    /// The same of an address that is called `what`.
    pub(crate) fn check_as(&self, what: &str, url: &str) -> Result<Url> {
        let wrong = |why: &str| Error::invalid_argument(format!("Invalid {what}: {why}"));
        let parsed = Url::parse(url.trim()).map_err(|error| wrong(&error.to_string()))?;
        match parsed.scheme() {
            "https" => {}
            "http" if self.http => {}
            other => {
                let allowed = if self.http { "http, https" } else { "https" };
                let message = format!("Invalid {what} scheme: {other:?} is not allowed; use {allowed}");
                return Err(Error::invalid_argument(message));
            }
        }
        let local = match parsed.host() {
            None => return Err(wrong("it must include a hostname")),
            Some(Host::Ipv4(address)) => !is_public(address.into()),
            Some(Host::Ipv6(address)) => !is_public(address.into()),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost")
            }
        };
        if local && !self.private {
            return Err(wrong("it must not lead to a private or local address"));
        }
        Ok(parsed)
    }

    /// Whether a connection to this address is allowed.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.private || is_public(address)
    }
}

/// Whether an address is on the public internet (IANA's special-purpose registries). An IPv6 address that carries an
/// IPv4 one is judged by that.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!((a, b, c), |(0 | 10 | 127 | 240.., ..)| (100, 64..=127, _)
        | (169, 254, _)
        | (172, 16..=31, _)
        | (192, 168, _)
        | (198, 18 | 19, _)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 51, 100)
        | (203, 0, 113));
    !special && !address.is_multicast()
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, benchmarks, ORCHID and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MLflow's clients look for these words.
    #[test]
    fn a_url_that_is_none_is_called_so() {
        for (url, words) in [
            ("  ", "Webhook URL cannot be empty or just whitespace"),
            ("ftp://example.com", "Invalid webhook URL scheme"),
            ("http://[invalid", "Invalid webhook URL"),
        ] {
            let refused = WebhookTargets::default().check(url).unwrap_err();
            assert!(refused.message().starts_with(words), "{refused}");
        }
    }

    #[test]
    fn special_addresses_are_private_in_every_disguise() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::7f00:1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn urls_are_checked_and_not_repeated() {
        let check = |url: &str| WebhookTargets::default().check(url);
        for bad in [
            "",
            "SECRET",
            "http://example.com/SECRET",
            "ftp://example.com",
            "https://127.1/SECRET",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://LOCALHOST./",
            "https://a.localhost/",
        ] {
            let error = check(bad).unwrap_err();
            assert!(!error.message().contains("SECRET"), "{error}");
        }
        check("https://example.com:8443/a?b=c").unwrap();
    }
}

//! Where another server is, and what it speaks there.

use mlops_http::reqwest::Url;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Rest,
    Grpc,
}

/// The address of another server.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(super) protocol: Protocol,
    /// With `http` or `https` for a scheme, which is what carries either protocol.
    pub(super) carrier: Url,
}

impl Address {
    /// Reads `http://`, `https://`, `grpc://` or `grpcs://` with a host, a port, and over REST a path; a user, a query
    /// or a fragment makes it none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let (protocol, carrier) = match scheme.as_str() {
            scheme @ ("http" | "https") => (Protocol::Rest, scheme),
            "grpc" => (Protocol::Grpc, "http"),
            "grpcs" => (Protocol::Grpc, "https"),
            _ => return None,
        };
        let carrier = Url::parse(&format!("{carrier}://{rest}")).ok()?;
        let plain = carrier.username().is_empty() && carrier.password().is_none() && carrier.query().is_none();
        let rooted = protocol == Protocol::Rest || carrier.path() == "/";
        (carrier.has_host() && plain && carrier.fragment().is_none() && rooted).then_some(Self { protocol, carrier })
    }

    /// Scheme, host and port: what a server is known by.
    pub(crate) fn origin(&self) -> String {
        let carrier = self.carrier.origin().ascii_serialization();
        match self.protocol {
            Protocol::Rest => carrier,
            Protocol::Grpc => carrier.replacen("http", "grpc", 1),
        }
    }

    pub(super) fn has_tls(&self) -> bool {
        self.carrier.scheme() == "https"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_protocols_are_known_by_their_origin() {
        for (text, origin, tls) in [
            ("http://models:8000/serve", "http://models:8000", false),
            ("https://models", "https://models", true),
            ("grpc://models:8001", "grpc://models:8001", false),
            ("grpcs://models:8001/", "grpcs://models:8001", true),
            ("HTTPS://models", "https://models", true),
            ("gRPC://models:8001", "grpc://models:8001", false),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.origin().as_str(), address.has_tls()), (origin, tls));
        }
        for bad in ["", "models:8000", "ftp://m", "http://user:secret@m", "grpc://m?key=1", "grpc://m/path", "http://"]
        {
            assert!(Address::parse(bad).is_none(), "{bad}");
        }
    }
}

//! Where a server is: Spark's connection string, `sc://host:port/;key=value;key=value`.
//!
//! Understood: `user_id`, `token` and any `x-...` header. TLS is not spoken here, and what is not understood is refused
//! rather than ignored.

use mlops_core::{Error, Result};

/// Spark's own default.
const PORT: u16 = 15_002;

/// A server and who asks it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    /// Names and values of headers that go with every call.
    pub(super) headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Address {
    /// Without the headers, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sc://{}:{}", self.host, self.port)
    }
}

impl Address {
    /// Reads a connection string.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no connection string or asks for something that is not spoken here.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let invalid = |why: String| {
            // A token may follow the host.
            let shown = text.split(';').next().unwrap_or_default();
            Error::invalid_argument(format!("spark address \"{shown}\" {why}; write sc://HOST:PORT"))
        };
        let rest = text.strip_prefix("sc://").ok_or_else(|| invalid("does not begin with sc://".to_owned()))?;
        let (place, parameters) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match place.rsplit_once(':') {
            // The colons of an IPv6 address are inside its brackets.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| invalid(format!("has the port {port:?}")))?)
            }
            _ => (place, PORT),
        };
        if host.is_empty() || place.contains(';') {
            return Err(invalid("has no host or lacks the / before its parameters".to_owned()));
        }
        let (mut user, mut headers) = ("mlops".to_owned(), Vec::new());
        for parameter in parameters.split(';').filter(|parameter| !parameter.is_empty()) {
            let (key, value) =
                parameter.split_once('=').ok_or_else(|| invalid("has a parameter without =".to_owned()))?;
            match key {
                "user_id" => value.clone_into(&mut user),
                "token" => headers.push(("authorization".to_owned(), format!("Bearer {value}"))),
                "use_ssl" if value == "false" => {}
                "use_ssl" => {
                    return Err(invalid("asks for TLS, which is not spoken here: put a proxy before it".to_owned()));
                }
                header if header.starts_with("x-") => headers.push((header.to_owned(), value.to_owned())),
                other => return Err(invalid(format!("has the parameter \"{other}\", which is not known"))),
            }
        }
        Ok(Self { host: host.to_owned(), port, user, headers })
    }

    /// The address as HTTP has it.
    pub(super) fn uri(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_are_read() {
        let plain = Address::parse("sc://localhost").unwrap();
        assert_eq!((plain.uri().as_str(), plain.headers.len()), ("http://localhost:15002", 0));
        let full = Address::parse("sc://[::1]:99/;user_id=ann;token=abc;x-team=b").unwrap();
        assert_eq!((full.uri().as_str(), full.user.as_str()), ("http://[::1]:99", "ann"));
        assert_eq!(full.headers[0], ("authorization".to_owned(), "Bearer abc".to_owned()));
        assert_eq!(full.headers[1], ("x-team".to_owned(), "b".to_owned()));
        assert!(!format!("{full:?}").contains("abc"));
    }

    #[test]
    fn what_is_not_understood_is_refused_without_telling_secrets() {
        for text in ["localhost:1", "sc://", "sc://h:x", "sc://h;token=abc", "sc://h/;use_ssl=true", "sc://h/;a"] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.message().ends_with("write sc://HOST:PORT"), "{error}");
            assert!(!error.message().contains("abc"), "{error}");
        }
        assert!(Address::parse("sc://h/;ssl=1").unwrap_err().message().contains("\"ssl\""));
    }
}

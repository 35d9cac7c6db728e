//! Addresses of pages: what a request asks for, and links that ask.
//!
//! Invariant: a link leads to a path of these pages; whatever stands in it is percent-encoded.

use std::{
    convert::Infallible,
    fmt::{self, Display},
};

use axum::{extract::FromRequestParts, http::request::Parts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Most parameters that are read; the rest is ignored.
const PARAMETERS_MAX: usize = 1_000;

/// The parameters of a request, in their order; names may repeat.
#[derive(Debug, Default)]
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    /// The first of that name that is not blank.
    pub(super) fn one<'a>(&'a self, name: &str) -> Option<&'a str> {
        let mut named = self.0.iter().filter(|(key, value)| key == name && !value.trim().is_empty());
        named.next().map(|(_, value)| value.as_str())
    }

    /// All of that name that are not blank.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(key, value)| key == name && !value.trim().is_empty());
        named.map(|(_, value)| value.as_str())
    }

    /// A number of that name; none when it is absent or no number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.one(name).and_then(|text| text.trim().parse().ok())
    }
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        Ok(Self(form_urlencoded::parse(query).take(PARAMETERS_MAX).map(|(k, v)| (k.into(), v.into())).collect()))
    }
}

/// The address of a page.
#[derive(Debug, Clone)]
pub(super) struct Link {
    text: String,
    asks: bool,
}

impl Link {
    /// The page at these segments below `/ui`.
    pub(super) fn to(segments: &[&str]) -> Self {
        let mut text = "/ui".to_owned();
        for segment in segments {
            text.push('/');
            text.extend(utf8_percent_encode(segment, KEPT));
        }
        Self { text, asks: false }
    }

    /// Asks for one thing more.
    pub(super) fn with(mut self, name: &str, value: impl Display) -> Self {
        self.text.push(if self.asks { '&' } else { '?' });
        self.asks = true;
        self.text.push_str(name);
        self.text.push('=');
        self.text.extend(utf8_percent_encode(&value.to_string(), KEPT));
        self
    }
}

impl Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_what_they_ask() {
        let link = Link::to(&["models", "a b/ü"]).with("order", "metrics.`x` DESC").with("token", "1&2");
        assert_eq!(link.to_string(), "/ui/models/a%20b%2F%C3%BC?order=metrics.%60x%60%20DESC&token=1%262");
    }
}

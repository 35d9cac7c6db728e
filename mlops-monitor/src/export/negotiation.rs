//! Which text format a scraper wants, from its `Accept` header (RFC 9110, section 12.5.1).
//!
//! Invariant: any header gives a format; whoever asks for nothing known gets the classic one, which all can read.

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

/// Most alternatives of a header that are read.
const ALTERNATIVES_MAX: usize = 32;

impl TextFormat {
    /// The better of both for this header; OpenMetrics where it is liked as much.
    ///
    /// ```
    /// use mlops_monitor::export::TextFormat;
    ///
    /// let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    /// assert_eq!(TextFormat::negotiate(Some(accept)), TextFormat::OpenMetrics);
    /// assert_eq!(TextFormat::negotiate(Some("text/html, */*")), TextFormat::Prometheus);
    /// ```
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        let (mut classic, mut open) = (0.0_f64, 0.0_f64);
        for alternative in accept.unwrap_or_default().split(',').take(ALTERNATIVES_MAX) {
            let mut parts = alternative.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, None);
            for part in parts {
                match part.split_once('=').map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))) {
                    Some((name, value)) if name.eq_ignore_ascii_case("q") => quality = value.parse().unwrap_or(0.0),
                    Some((name, value)) if name.eq_ignore_ascii_case("version") => version = Some(value.to_owned()),
                    _ => {}
                }
            }
            match media_type.as_str() {
                "application/openmetrics-text" if version.as_deref().is_none_or(|version| version == "1.0.0") => {
                    open = open.max(quality);
                }
                "text/plain" | "text/*" | "*/*" => classic = classic.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= classic { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The `Content-Type` of the answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TextFormat::*, *};

    #[test]
    fn headers_of_scrapers() {
        let cases = [
            (None, Prometheus),
            (Some(""), Prometheus),
            (Some("*/*"), Prometheus),
            // Prometheus 2.42.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                OpenMetrics,
            ),
            // Prometheus 3 with its preferences.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                OpenMetrics,
            ),
            (Some("application/openmetrics-text;version=0.0.1"), Prometheus),
            (Some("application/openmetrics-text;q=0,*/*;q=0.1"), Prometheus),
            (Some("text/plain, application/openmetrics-text;q=0.3"), Prometheus),
            (Some("APPLICATION/OpenMetrics-Text; Version=\"1.0.0\""), OpenMetrics),
            (Some(";;;=,=;q=x,\u{0},"), Prometheus),
        ];
        for (accept, expected) in cases {
            assert_eq!(TextFormat::negotiate(accept), expected, "{accept:?}");
        }
    }
}

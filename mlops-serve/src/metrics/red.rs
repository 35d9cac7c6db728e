//! Rate, errors and duration of the requests that one variant of a version answered.

use std::time::Duration;

use mlops_core::{Error, ErrorKind};

use super::{Histogram, Kinds, Tally};

/// A status, of those that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code {
    number: u16,
    text: &'static str,
}

impl Code {
    const fn new(number: u16, text: &'static str) -> Self {
        Self { number, text }
    }

    /// Everything else is counted as a failure of the server.
    fn of(number: u16) -> Self {
        Self::ALL.iter().copied().find(|code| code.number == number).unwrap_or(Self::new(500, "500"))
    }
}

impl Kinds for Code {
    const ALL: &'static [Self] = &[
        Self::new(200, "200"),
        Self::new(400, "400"),
        Self::new(401, "401"),
        Self::new(403, "403"),
        Self::new(404, "404"),
        Self::new(409, "409"),
        Self::new(429, "429"),
        Self::new(499, "499"),
        Self::new(500, "500"),
        Self::new(501, "501"),
        Self::new(503, "503"),
        Self::new(504, "504"),
    ];

    fn as_str(self) -> &'static str {
        self.text
    }
}

/// Triton's reasons of a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It was not run.
    Rejected,
    /// The caller went away.
    Cancelled,
    /// The model failed.
    Backend,
    /// Anything else, the caller's mistakes among them.
    Other,
}

impl Kinds for Failed {
    const ALL: &'static [Self] = &[Self::Rejected, Self::Cancelled, Self::Backend, Self::Other];

    fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "REJECTED",
            Self::Cancelled => "CANCELED",
            Self::Backend => "BACKEND",
            Self::Other => "OTHER",
        }
    }
}

impl Failed {
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::ResourceExhausted | ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => Self::Rejected,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Internal | ErrorKind::DataLoss => Self::Backend,
            _ => Self::Other,
        }
    }
}

/// Requests by status, and how long they took.
#[derive(Debug, Default)]
pub(crate) struct Red {
    codes: Tally<Code>,
    pub(crate) seconds: Histogram,
}

impl Red {
    /// Notes a request that ended with `code`.
    pub(crate) fn answered(&self, code: u16, took: Duration) {
        self.codes.add(Code::of(code));
        self.seconds.observe(took);
    }

    /// Counts that are not zero, by status.
    pub(crate) fn codes(&self) -> impl Iterator<Item = (Code, u64)> + '_ {
        self.codes.iter().filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_counted_once() {
        let red = Red::default();
        for code in [200, 200, 404, 418] {
            red.answered(code, Duration::ZERO);
        }
        let counted: Vec<_> = red.codes().map(|(code, count)| (code.as_str(), count)).collect();
        assert_eq!(counted, [("200", 2), ("404", 1), ("500", 1)]);
        assert_eq!(red.seconds.read().0.last().unwrap().1, 4);
    }
    #[test]
    fn the_status_of_every_kind_of_error_is_told_apart() {
        for kind in (1..=16).filter_map(ErrorKind::from_grpc_code) {
            assert_eq!(Code::of(kind.http_status()).number, kind.http_status(), "{kind}");
        }
    }
}

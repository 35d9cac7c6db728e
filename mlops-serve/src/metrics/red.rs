//! Rate, errors and duration of the requests that one variant of a version answered.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use mlops_core::{Error, ErrorKind};

use super::Histogram;

/// The statuses that are told apart; everything else is counted as the last.
const CODES: [u16; 11] = [200, 400, 401, 403, 404, 429, 499, 501, 503, 504, 500];

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

impl Failed {
    pub(crate) const ALL: [Self; 4] = [Self::Rejected, Self::Cancelled, Self::Backend, Self::Other];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "REJECTED",
            Self::Cancelled => "CANCELED",
            Self::Backend => "BACKEND",
            Self::Other => "OTHER",
        }
    }

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
    codes: [AtomicU64; CODES.len()],
    pub(crate) seconds: Histogram,
}

impl Red {
    /// Notes a request that ended with `code`.
    pub(crate) fn answered(&self, code: u16, took: Duration) {
        let place = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len() - 1);
        if let Some(count) = self.codes.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.seconds.observe(took);
    }

    /// Counts that are not zero, by status.
    pub(crate) fn codes(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let counts = CODES.iter().zip(&self.codes).map(|(code, count)| (*code, count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0)
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
        assert_eq!(red.codes().collect::<Vec<_>>(), [(200, 2), (404, 1), (500, 1)]);
        assert_eq!(red.seconds.read().0.last().unwrap().1, 4);
    }
}

//! Requests over protocols as a whole: how many are in flight, how they ended, and why some were not let in.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

/// Why a request was refused before a model was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many requests were in flight as may be.
    InFlight,
    /// Its tenant sent more in a time than it may.
    TenantRate,
    /// Its tenant had as many in flight as it may.
    TenantInFlight,
    /// Nobody knows who sent it.
    Unauthenticated,
    /// Who sent it may not do this.
    PermissionDenied,
    /// Its body did not come in time.
    BodyTimeout,
}

impl Refusal {
    pub(crate) const ALL: [Self; 6] = [
        Self::InFlight,
        Self::TenantRate,
        Self::TenantInFlight,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::BodyTimeout,
    ];

    /// The value of the label `reason`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::TenantRate => "tenant_rate",
            Self::TenantInFlight => "tenant_in_flight",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::BodyTimeout => "body_timeout",
        }
    }
}

/// Counts of a server.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    in_flight: AtomicU64,
    /// By the first digit of the status, from 1 to 5.
    classes: [AtomicU64; 5],
    refusals: [AtomicU64; Refusal::ALL.len()],
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Traffic {
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).wrapping_sub(1);
        if let Some(count) = self.classes.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        if let Some(count) = self.refusals.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers by class (`2xx`).
    pub(crate) fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .into_iter()
            .zip(self.classes.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Refusal::ALL
            .into_iter()
            .zip(&self.refusals)
            .map(|(reason, count)| (reason.as_str(), count.load(Ordering::Relaxed)))
    }
}

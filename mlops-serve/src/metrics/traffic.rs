//! Requests over protocols as a whole: how many are in flight, how they ended, and why some were not let in.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use super::{Kinds, Tally};

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

impl Kinds for Refusal {
    const ALL: &'static [Self] = &[
        Self::InFlight,
        Self::TenantRate,
        Self::TenantInFlight,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::BodyTimeout,
    ];

    fn as_str(self) -> &'static str {
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
    classes: Tally<Class>,
    refusals: Tally<Refusal>,
}

/// The first digit of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(u16);

impl Kinds for Class {
    const ALL: &'static [Self] = &[Self(1), Self(2), Self(3), Self(4), Self(5)];

    fn as_str(self) -> &'static str {
        match self.0 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        }
    }
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
        self.classes.add(Class(status.as_u16() / 100));
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        self.refusals.add(reason);
    }

    /// Answers by class (`2xx`).
    pub(crate) fn classes(&self) -> &Tally<Class> {
        &self.classes
    }

    pub(crate) fn refusals(&self) -> &Tally<Refusal> {
        &self.refusals
    }
}

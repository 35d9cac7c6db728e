//! What is seen of a request from outside: its trace context, a line in the access log, and where its time went.
//!
//! Invariant: watching never changes an answer beyond its headers, and no log line or label holds a row value, a query
//! string or a secret.

mod notes;
mod settings;
mod trace;
#[cfg(feature = "grpc")]
mod trailers;
mod watch;

pub(crate) use notes::{body_is_late, is_body_late, note, noted};
#[cfg(feature = "grpc")]
pub(crate) use notes::{carry, current};
pub use settings::ObserveSettings;
pub(crate) use trace::SpanIds;
#[cfg(feature = "remote")]
pub(crate) use trace::TraceContext;
pub(crate) use watch::watch;

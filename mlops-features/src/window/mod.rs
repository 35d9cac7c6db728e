//! Window aggregates with exact edges, the same offline and online.
//!
//! The value of an aggregation at time t is its function over the events of one entity with event time in
//! `(t - window, t]`, taken in order of time, then of arrival, computed afresh for every question by the code in
//! `function`. No running sums are kept: they would depend on what else was asked, and a served value could differ
//! in its last bits from the one trained on.
//!
//! A retraction takes back the event of its time and identity, whether it came before or comes after. Asked for what
//! was known, an event counts until its retraction became known.

mod function;
mod history;
mod plan;
mod state;

pub(crate) use history::history_columns;
#[cfg(feature = "spark")]
pub(crate) use plan::PlannedAggregation;
pub(crate) use plan::WindowPlan;
pub use state::AggregateState;
pub(crate) use state::{Event, StateLimits};

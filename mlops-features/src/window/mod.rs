//! Window aggregates with exact edges, the same offline and online.
//!
//! The value of an aggregation at time t is its function over the events of one entity with event time in
//! `(t - window, t]`, taken in order of time, then of arrival. A long window is answered from tiles: partial aggregates
//! of neighbouring events (`tile`) for what lies wholly inside, the events themselves at the edges. How events are
//! divided changes no bit, because sums are exact until they are rounded once, at the end (`exact`), quantiles are places
//! among all numbers (`sorted`), and different values are counted, not estimated (`different`). Online a tile is a
//! span of time, so that a late event changes one tile and moves none; offline, where all events are there, it is so
//! many of them.
//!
//! A retraction takes back the event of its time and identity, whether it came before or comes after. Asked for what
//! was known, an event counts until its retraction became known.

mod different;
mod exact;
mod function;
mod history;
mod plan;
mod sorted;
mod state;
mod tile;

pub(crate) use history::history_columns;
#[cfg(feature = "spark")]
pub(crate) use plan::PlannedAggregation;
pub(crate) use plan::WindowPlan;
pub(crate) use state::{AggregateState, Event, StateLimits};
#[cfg(any(test, feature = "conformance"))]
pub(crate) use tile::Parts;

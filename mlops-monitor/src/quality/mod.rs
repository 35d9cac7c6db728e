//! Rules that a batch must keep before it is stored: expectations, collected in a suite.
//!
//! Invariant: what a null means is part of every rule and written down with it, because the
//! field's tools disagree. Row values never appear in a failure, only counts and row indices.

mod evaluate;
mod rule;
mod suite;

pub use rule::{Expectation, Nulls, Rule, SetValue};
pub use suite::{Suite, SuiteBuilder};

//! Rules that a batch must keep before it is stored: expectations, collected in a suite.
//!
//! Invariant: what a null means is part of every rule and written down with it, because the
//! field's tools disagree. Row values never appear in a failure, only counts and row indices.

mod check;
mod condition;
mod constructors;
mod expectation;
mod ge;
mod result;
mod rule;
mod run;
mod settings;
mod suggest;
mod suite;
#[cfg(test)]
mod tests;
mod validity;
mod value;

pub use check::{ExceptionKind, RuleException, Tables};
pub use condition::{CONDITION_BYTES_MAX, CONDITION_DEPTH_MAX, Comparison, Condition};
pub use expectation::{
    Expectation, IgnoreRowIf, Interpolation, LengthUnit, Limits, PairLimits, QuantileLimits, SchemaField, ValuePair,
};
pub use ge::{ImportedSuite, SkippedExpectation};
pub use result::{Counts, RuleResult, Statistics, ValidationResult};
pub use rule::{Nulls, Rule, Severity};
pub use run::SuiteRun;
pub use settings::ValidationSettings;
pub use suggest::{SuggestSettings, suggest};
pub use suite::{Suite, SuiteBuilder};
pub use value::SetValue;

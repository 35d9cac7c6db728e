//! Great Expectations' JSON: validation results written, suites read.
//!
//! Invariant: a rule that Great Expectations knows is written under its expectation type with its
//! keyword arguments; every rule is also in `meta.mlops_rule`, so that reading gives it back as it
//! was. Shapes are those of Great Expectations 1.x; suites of 0.x are read as well.

mod condition;
mod export;
mod import;
mod names;

pub use import::{ImportedSuite, SkippedExpectation};

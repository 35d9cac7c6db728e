//! May this model replace the one in service: declared once, judged on labelled rows.
//!
//! Invariant: a gate passes only if every check passes, and a check that cannot be computed does
//! not pass.

mod builder;
mod champion;
mod judge;
mod latency;
mod verdict;

pub use builder::{Gate, GateBuilder};
pub use judge::{GateInput, Slice};
pub use latency::latency_per_row;
pub use verdict::{CheckResult, Verdict};

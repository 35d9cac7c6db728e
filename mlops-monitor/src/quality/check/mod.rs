//! How rules are evaluated: one check per rule, fed batch by batch, and scans that checks share.
//!
//! Invariant: a check that fails to observe a batch is an exception of its rule alone.

mod aggregates;
mod association;
mod column;
mod distinct;
mod exception;
mod facts;
mod filter;
mod found;
mod frame;
mod identity;
mod json;
mod key;
mod literal;
mod mask;
mod nulls;
mod order;
mod pairs;
mod patterns;
mod plan;
mod reference;
mod rows;
mod scan;
mod sets;
mod shape;
mod text;

use std::fmt;

use serde_json::Value as Json;

pub(super) use exception::Checked;
pub use exception::{ExceptionKind, RuleException};
pub(super) use facts::{ColumnFacts, facts};
pub(super) use found::{EXAMPLES_MAX, Found};
pub(super) use frame::Frame;
pub(super) use patterns::{format_fault, like_fault, pattern_fault};
pub(super) use plan::Plan;
pub use reference::Tables;
pub(super) use scan::Scan;

use super::result::Counts;

/// One rule at work.
pub(super) trait Check: fmt::Debug + Send {
    /// Takes in one batch; after an exception it is not called again.
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()>;

    /// Judges, when all `rows` rows are seen.
    fn finish(&mut self, scans: &[Scan], rows: u64) -> Checked<Finding>;
}

/// What a rule found.
#[derive(Debug, Default)]
pub(super) struct Finding {
    pub(super) success: bool,
    pub(super) counts: Option<Counts>,
    /// The figure or list that a rule about the whole judged. It holds row values, so it is shown
    /// only when those are, unless `public`.
    pub(super) observed: Option<Json>,
    /// Whether `observed` is a figure about the data, not a value from them.
    pub(super) public: bool,
    /// What was expected and what was found, without row values.
    pub(super) detail: Option<String>,
    pub(super) found: Found,
}

impl Finding {
    fn of_rows(success: bool, counts: Counts, found: Found) -> Self {
        Self { success, counts: Some(counts), found, ..Self::default() }
    }

    fn of_figure(success: bool, observed: Json) -> Self {
        Self { success, observed: Some(observed), public: true, ..Self::default() }
    }

    fn of_values(success: bool, observed: Json) -> Self {
        Self { success, observed: Some(observed), ..Self::default() }
    }

    fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

//! The durable record of what was decided and done.
//!
//! Invariant: a decision is in the journal before it is acted upon. Three narrow ports share it:
//! [`Journal`] keeps runs and their tasks, [`FiringJournal`] which runs are due,
//! [`DecisionJournal`] why a trigger fired or held back. [`SqlJournal`] is all three over one
//! metadata database.

mod decision;
mod firing;
mod run;
mod sql;

pub use decision::{DecisionJournal, PastFiring, Rule, Sighting, TriggerHistory};
pub use firing::{Firing, FiringJournal, FiringSource};
pub use run::{Claim, Journal, Lease, OpenedRun, RunFilter, RunRecord, RunSpec, RunState, TaskRecord, TaskState};
pub use sql::SqlJournal;

use mlops_core::Error;

/// Context key of an error that says who holds a run.
const LEASE_OWNER: &str = "lease_owner";

/// Who holds the run, when `error` says that someone else does.
#[must_use]
pub fn lease_owner(error: &Error) -> Option<&str> {
    error.context().iter().find(|(key, _)| *key == LEASE_OWNER).map(|(_, owner)| owner.as_str())
}

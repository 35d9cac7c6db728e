//! How often an alarm may be false: among the tests of one run, and from run to run.
//!
//! | over | use | bounds |
//! |---|---|---|
//! | the tests of one run | [`Correction`] | the share of false alarms in the run, or the chance of any |
//! | runs, one after the other | [`AlarmBudget`] | the expected number of false alarms per 30 days |
//!
//! Invariant: corrected values are never below the raw ones, keep their order, and are computed in log space, so that
//! the smallest tails stay apart. Nothing here looks at effects: whether a difference matters is the detectors' part.

mod online;
mod spending;
mod within_run;

pub use online::{AlarmBudget, AlarmBudgetSettings, AlarmDecision, AlarmMethod, REJECTIONS_MAX};
pub use within_run::{Correction, benjamini_hochberg};

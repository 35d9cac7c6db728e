//! Studies in the tables of Optuna's relational storage: read from a file that Optuna wrote, and written so that Optuna
//! opens them.
//!
//! The schema is that of Optuna 5.0 (schema version 12, revision `v3.2.0.a`). Choices are text, numbers or switches;
//! what is not finite in a value fails the trial, as it does everywhere here, and is left out of reports. Studies of
//! Optuna 2.4 to 2.10 are read as they are.

mod distribution;
mod export;
mod import;

pub use self::{export::export_optuna, import::import_optuna};

/// Prefix of a constraint's name among the system attributes of a trial.
const CONSTRAINT: &str = "constraints:";

//! The whole house from outside: its example programs as separate processes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod drift_report;
mod lifecycle;
mod lifecycle_bad_input;
mod lifecycle_crash;
mod program;

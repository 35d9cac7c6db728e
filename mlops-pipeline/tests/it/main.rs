//! The journals' promises, and the runner, scheduler and trigger over them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod journals;
mod runner;
mod trigger;

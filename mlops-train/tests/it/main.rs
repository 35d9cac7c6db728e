//! The crate through its public API: trainers on made and on real tables, numbers against
//! independent references, results into a run.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;
mod gbdt;
mod mlp;
mod real_data;
mod tracking;
mod vectors;

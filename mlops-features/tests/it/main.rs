//! Tests of the feature store through its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

mod crash;
mod data;
mod history;
mod log_lines;
mod parity;
mod prediction_log;
mod speed;
mod table;

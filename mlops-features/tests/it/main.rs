//! Tests of the feature store through its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

mod checks;
mod crash;
mod data;
mod definitions;
mod derived;
mod dvc;
mod evolution;
mod feast;
mod flight;
mod full_disk;
mod history;
mod join;
mod join_memory;
mod kills;
mod labels;
mod lineage;
mod log_lines;
mod lost_store;
mod materialization;
mod offline;
mod on_demand;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod online_servers;
mod parity;
mod parity_types;
mod prediction_log;
mod retraction;
#[cfg(any(feature = "kafka", feature = "nats", feature = "postgres", feature = "redis"))]
mod servers;
mod sources;
mod spark;
mod speed;
mod stream;
#[cfg(any(feature = "kafka", feature = "nats", feature = "redis"))]
mod stream_servers;
mod table;
mod vectors;

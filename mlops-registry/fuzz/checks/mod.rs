//! What must hold for any input, one file for each kind: the fuzz targets look for inputs for which it does not, and the
//! tests of the crate hold it for those in `seeds/`.

#![allow(dead_code, reason = "each target uses one of them")]
#![allow(clippy::expect_used, reason = "a check fails by panicking")]

pub(crate) mod filter;
pub(crate) mod log_batch;
pub(crate) mod otlp;
pub(crate) mod rest;
pub(crate) mod segment;
mod server;

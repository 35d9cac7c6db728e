//! Numbers against independent programs, and how often intervals cover the truth.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod comparisons;
mod coverage;
mod sections;
mod vectors;

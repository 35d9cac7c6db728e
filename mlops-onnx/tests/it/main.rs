//! Models as users have them: exported ones with reference answers, broken ones, rows in any number.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod broken;
mod build;
mod golden;
mod layers;
mod rows;

//! Batch jobs through the public API, on real files.

mod bad_rows;
mod crash;
mod data;
mod faults;
mod resume;
mod rows;

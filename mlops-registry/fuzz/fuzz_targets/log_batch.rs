//! Looks for an input for which `checks/log_batch.rs` does not hold.
//!
//! ```text
//! cargo +nightly fuzz run log_batch corpus/log_batch seeds/log_batch
//! ```

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &str| checks::log_batch::check(input));

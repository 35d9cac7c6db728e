//! Looks for an input for which `checks/filter.rs` does not hold.
//!
//! ```text
//! cargo +nightly fuzz run filter corpus/filter seeds/filter
//! ```

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &str| checks::filter::check(input));

//! Looks for an input for which `checks/rest.rs` does not hold.
//!
//! ```text
//! cargo +nightly fuzz run rest corpus/rest seeds/rest
//! ```

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::rest::check(input));

//! Looks for an input for which `checks/otlp.rs` does not hold.
//!
//! ```text
//! cargo +nightly fuzz run otlp corpus/otlp seeds/otlp
//! ```

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::otlp::check(input));

//! Looks for an input for which `checks/segment.rs` does not hold.
//!
//! ```text
//! cargo +nightly fuzz run segment corpus/segment seeds/segment
//! ```

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::segment::check(input));

//! Whatever JSON and binary tensors are framed together, they are answered or refused.
//!
//! ```text
//! cargo +nightly fuzz run oip_binary corpus/oip_binary seeds/oip_binary -- -timeout=10 -rss_limit_mb=1024
//! ```
//!
//! The first byte says which model is asked, the next two how long the JSON is said to be.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_serve_fuzz::{chosen, post};

const MODELS: [&str; 6] = ["row", "pair", "number", "raw", "bytes", "uint"];

fuzz_target!(|data: &[u8]| {
    let Some((model, rest)) = chosen(&MODELS, data) else { return };
    let Some((length, body)) = rest.split_first_chunk::<2>() else { return };
    // Half of the lengths are the end of the JSON, as far as it can be seen.
    let said = u16::from_be_bytes(*length);
    let end = body.iter().rposition(|byte| *byte == b'}').map_or(0, |end| end + 1);
    let length = if said % 2 == 0 { end } else { usize::from(said) };
    let headers = [("inference-header-content-length", length.to_string())];
    post(&format!("/v2/models/{model}/infer"), &[(headers[0].0, &headers[0].1)], body.to_vec());
});

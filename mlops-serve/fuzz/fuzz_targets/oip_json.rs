//! Whatever body comes to Open Inference over REST, it is answered or refused.
//!
//! ```text
//! cargo +nightly fuzz run oip_json corpus/oip_json seeds/oip_json -- -timeout=10 -rss_limit_mb=1024
//! ```
//!
//! The first byte says which model is asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_serve_fuzz::{chosen, post};

const PATHS: [&str; 8] = [
    "/v2/models/row/infer",
    "/v2/models/pair/infer",
    "/v2/models/word/infer",
    "/v2/models/number/versions/1/infer",
    "/v2/models/raw/infer",
    "/v2/models/bytes/infer",
    "/v2/models/uint/infer",
    "/v2/models/word/generate",
];

fuzz_target!(|data: &[u8]| {
    let Some((path, body)) = chosen(&PATHS, data) else { return };
    post(path, &[], body.to_vec());
});

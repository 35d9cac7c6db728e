//! Whatever comes as instances or columns of KServe's and TensorFlow's protocol is answered or refused.
//!
//! ```text
//! cargo +nightly fuzz run v1 corpus/v1 seeds/v1 -- -timeout=10 -rss_limit_mb=1024
//! ```
//!
//! The first byte says which model is asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_serve_fuzz::{chosen, post};

const PATHS: [&str; 5] = [
    "/v1/models/row:predict",
    "/v1/models/pair:predict",
    "/v1/models/word:predict",
    "/v1/models/number:regress",
    "/v1/models/number:classify",
];

fuzz_target!(|data: &[u8]| {
    let Some((path, body)) = chosen(&PATHS, data) else { return };
    post(path, &[], body.to_vec());
});

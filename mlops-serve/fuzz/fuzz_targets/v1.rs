//! Whatever comes as instances or columns of KServe's and TensorFlow's protocol, in an event or not, is answered or
//! refused.
//!
//! ```text
//! cargo +nightly fuzz run v1 corpus/v1 seeds/v1 -- -timeout=10 -rss_limit_mb=1024
//! ```
//!
//! The first byte says which model is asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_serve_fuzz::{chosen, post};

const WAYS: [(&str, &str); 7] = [
    ("/v1/models/row:predict", "application/json"),
    ("/v1/models/pair:predict", "application/json"),
    ("/v1/models/word:predict", "application/json"),
    ("/v1/models/number:regress", "application/json"),
    ("/v1/models/number:classify", "application/json"),
    ("/v1/models/pair:predict", "application/cloudevents+json"),
    ("/v1/models/number:regress", "application/cloudevents+json"),
];

fuzz_target!(|data: &[u8]| {
    let Some(((path, kind), body)) = chosen(&WAYS, data) else { return };
    post(path, &[("content-type", kind)], body.to_vec());
});

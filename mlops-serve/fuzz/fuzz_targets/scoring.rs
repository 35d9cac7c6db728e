//! Whatever rows come to the routes of SageMaker, MLflow, TorchServe and Azure ML are answered or refused.
//!
//! ```text
//! cargo +nightly fuzz run scoring corpus/scoring seeds/scoring -- -timeout=10 -rss_limit_mb=1024
//! ```
//!
//! The first byte says where they go, and as what.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_serve_fuzz::{chosen, post};

const WAYS: [(&str, &str); 11] = [
    ("/invocations", "text/csv"),
    ("/invocations", "application/json"),
    ("/invocations", "application/jsonlines"),
    ("/invocations", "text/csv; header=present"),
    ("/predictions/number", "application/json"),
    ("/predictions/pair", "text/csv"),
    ("/score", "application/json"),
    ("/predictions/row", "multipart/form-data; boundary=b"),
    ("/predictions/word", "multipart/form-data; boundary=b"),
    ("/predictions/bytes", "application/octet-stream"),
    ("/invocations", "application/vnd.sagemaker-triton.binary+json;json-header-size=64"),
];

fuzz_target!(|data: &[u8]| {
    let Some(((path, kind), body)) = chosen(&WAYS, data) else { return };
    post(path, &[("content-type", kind)], body.to_vec());
});

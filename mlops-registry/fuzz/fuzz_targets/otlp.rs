//! Whatever bytes a client sends as spans, in protobuf or JSON, are read within bounds or refused.
//!
//! ```text
//! cargo +nightly fuzz run otlp -- -rss_limit_mb=512
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_registry::traces::otlp::{SPANS_MAX, from_json, from_protobuf};

fuzz_target!(|body: &[u8]| {
    for read in [from_protobuf(body), from_json(body)].into_iter().flatten() {
        assert!(read.iter().map(|resource| resource.spans.len()).sum::<usize>() <= SPANS_MAX);
    }
});

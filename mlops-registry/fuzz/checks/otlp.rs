//! Whatever bytes a client sends as spans, in protobuf or JSON, are read within bounds or refused.

use mlops_registry::traces::otlp::{SPANS_MAX, from_json, from_protobuf};

pub(crate) fn check(body: &[u8]) {
    for read in [from_protobuf(body), from_json(body)].into_iter().flatten() {
        assert!(read.iter().map(|resource| resource.spans.len()).sum::<usize>() <= SPANS_MAX);
    }
}

//! Whatever bytes come in, loading ends in an error with a message or in a model that answers its own signature.
//!
//! ```text
//! cargo +nightly fuzz run model corpus/model ../tests/data -- -rss_limit_mb=1024 -max_len=20000
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_onnx::{Limits, OnnxModel};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { elements_max: 1 << 16, live_bytes_max: 1 << 24, tree_nodes_max: 1 << 16, ..Limits::default() };
    if let Err(error) = OnnxModel::with_limits(bytes, &limits) {
        assert!(!error.message().is_empty());
    }
});

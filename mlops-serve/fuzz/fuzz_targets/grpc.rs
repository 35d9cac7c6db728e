//! Whatever bytes come as a message of gRPC, typed or raw, are answered or refused.
//!
//! ```text
//! cargo +nightly fuzz run grpc corpus/grpc seeds/grpc -- -timeout=10 -rss_limit_mb=1024
//! ```
//!
//! The first byte says which method is called.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_serve_fuzz::{call, chosen};

const METHODS: [&str; 6] =
    ["ModelInfer", "ModelStreamInfer", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex"];

fuzz_target!(|data: &[u8]| {
    let Some((method, message)) = chosen(&METHODS, data) else { return };
    call(method, message);
});

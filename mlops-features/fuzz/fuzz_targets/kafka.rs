//! Whatever bytes a broker of Kafka answers, they are read within bounds, or refused with a reason.
//!
//! ```text
//! cargo +nightly fuzz run kafka corpus/kafka seeds/kafka -- -timeout=10 -rss_limit_mb=1024
//! ```
//!
//! The first byte says to what kind of question.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_features::stream::conformance::takes_any_answer_of_kafka;

fuzz_target!(|answer: &[u8]| {
    if let Err(error) = takes_any_answer_of_kafka(answer) {
        panic!("{error}");
    }
});

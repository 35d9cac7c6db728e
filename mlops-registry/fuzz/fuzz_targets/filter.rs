//! Whatever is written as a filter or order of runs is taken or refused at its place.
//!
//! ```text
//! cargo +nightly fuzz run filter
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_registry::Search;

fuzz_target!(|parts: (String, Vec<String>)| {
    let (filter, order) = parts;
    let search = order.into_iter().fold(Search::new().with_filter(filter), Search::with_order);
    if let Err(error) = search.check_for_runs() {
        assert!(!error.message().is_empty());
    }
});

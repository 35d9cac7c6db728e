//! Whatever is written as a filter or order of runs is taken or refused at its place.

use mlops_registry::Search;

/// The first line is a filter, the others are keys to order by.
pub(crate) fn check(text: &str) {
    let mut lines = text.split('\n');
    let search = Search::new().with_filter(lines.next().unwrap_or_default());
    if let Err(error) = lines.fold(search, Search::with_order).check_for_runs() {
        assert!(!error.message().is_empty());
    }
}

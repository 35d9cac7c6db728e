//! What the fuzz targets look for holds for the inputs that are kept, among them those for which it once did not.

use std::path::Path;

#[path = "../../fuzz/checks/mod.rs"]
mod checks;

fn seeds(target: &str, check: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        println!("{}", path.display());
        check(&std::fs::read(path).unwrap());
    }
}

#[test]
fn filters() {
    seeds("filter", |seed| checks::filter::check(std::str::from_utf8(seed).unwrap()));
}

#[test]
fn segments() {
    seeds("segment", checks::segment::check);
}

#[test]
fn spans() {
    seeds("otlp", checks::otlp::check);
}

#[test]
fn batches() {
    seeds("log_batch", |seed| checks::log_batch::check(std::str::from_utf8(seed).unwrap()));
}

#[test]
fn bodies() {
    seeds("rest", checks::rest::check);
}

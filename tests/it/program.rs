//! The example programs as `cargo test` has built them.

use std::{path::Path, process::Command};

/// An example; `cargo test` builds them beside the tests.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(Path::parent).unwrap();
    Command::new(target.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

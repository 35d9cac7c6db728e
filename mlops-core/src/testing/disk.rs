//! A disk that is small, and really full when it is.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs one test of the present test program as a process of its own, for which `directory` is an empty file system of
/// `bytes` bytes; the environment variable `variable` names it. Gives how it ended, or none where this system makes no
/// file systems for everybody (it takes `unshare` and namespaces of users, which Linux may have turned off).
///
/// The test takes part in normal runs too; it must do nothing when the variable is absent.
///
/// # Panics
/// When the process cannot be started although a file system can be made.
#[must_use]
#[expect(clippy::expect_used, reason = "a helper of tests fails by panicking")]
pub fn run_on_small_disk(test: &str, variable: &str, directory: &Path, bytes: u64) -> Option<Output> {
    let mount = format!("mount -t tmpfs -o size={bytes} small \"$1\"");
    let within = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(directory);
        command
    };
    if !within(&mount).output().is_ok_and(|tried| tried.status.success()) {
        return None;
    }
    let program = std::env::current_exe().expect("a test program has a path");
    let output = within(&format!("{mount} && shift && exec \"$@\""))
        .arg(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(variable, directory)
        .output();
    Some(output.expect("the test program starts"))
}

/// Bytes of the files in a directory and below.
///
/// # Panics
/// When it cannot be read.
#[must_use]
#[expect(clippy::expect_used, reason = "a helper of tests fails by panicking")]
pub fn bytes_below(directory: &Path) -> u64 {
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("the directory can be read");
        let meta = entry.metadata().expect("the entry is there");
        if meta.is_dir() { bytes_below(&entry.path()) } else { meta.len() }
    };
    std::fs::read_dir(directory).expect("the directory can be read").map(entry).sum()
}

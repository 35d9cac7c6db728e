//! A disk that is small, and really full when it is.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Runs one test of the present test program as a process of its own, on an empty file system of `bytes` bytes, and fails
/// with what it printed unless it ends by [`acknowledge(1)`](super::acknowledge). The environment variable `variable`
/// gives it the directory. Says so and does nothing where this system makes no file systems for everybody (it takes
/// `unshare` and namespaces of users, which Linux may have turned off).
///
/// The test takes part in normal runs too; it must do nothing when the variable is absent.
///
/// # Panics
/// When the test fails, or cannot be started although a file system can be made.
#[expect(clippy::expect_used, reason = "a helper of tests fails by panicking")]
pub fn passes_on_small_disk(test: &str, variable: &str, bytes: u64) {
    let directory = std::env::temp_dir().join(format!("{variable}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    let mount = format!("mount -t tmpfs -o size={bytes} small \"$1\"");
    let within = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(&directory);
        command
    };
    let possible = within(&mount).output().is_ok_and(|tried| tried.status.success());
    let outcome = possible.then(|| {
        within(&format!("{mount} && shift && exec \"$@\""))
            .arg(std::env::current_exe().expect("a test program has a path"))
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(variable, &directory)
            .output()
    });
    // The file system went with the process, and so did all in it.
    drop(std::fs::remove_dir(&directory));
    let Some(outcome) = outcome else { return println!("skipped: this system makes no small file systems for tests") };
    let outcome = outcome.expect("the test program starts");
    let (out, err) = (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
    assert!(outcome.status.success() && out.contains("ack 1"), "{out}\n{err}");
}

/// A file that takes room away from the others until it is removed.
///
/// # Panics
/// When it cannot be written.
#[must_use]
#[expect(clippy::expect_used, reason = "a helper of tests fails by panicking")]
pub fn occupy(disk: &Path, name: &str, bytes: usize) -> PathBuf {
    let path = disk.join(name);
    std::fs::write(&path, vec![1_u8; bytes]).expect("the disk has that room");
    path
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

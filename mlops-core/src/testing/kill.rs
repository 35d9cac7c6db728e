//! A process that is killed at any moment.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

/// Runs one test of the present test program as a process of its own, waits for `acks` acknowledgements, then a while
/// longer, and kills it (`kill -9`). Gives the last number it acknowledged by [`acknowledge`], also after the decision
/// to kill it.
///
/// The test takes part in normal runs too; it must do nothing when its environment variables are absent.
///
/// # Panics
/// When the process cannot be started or killed.
#[must_use]
#[expect(clippy::expect_used, reason = "a helper of tests fails by panicking")]
pub fn run_and_kill(test: &str, envs: &[(&str, &str)], acks: usize, spins: u64) -> Option<u64> {
    let program = std::env::current_exe().expect("a test program has a path");
    let mut child = Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .envs(envs.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test program starts");
    let lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let mut numbers = lines.filter_map(|line| line.ok()?.split_once("ack ")?.1.trim().parse().ok());
    let seen = numbers.by_ref().take(acks).last();
    for _ in 0..spins {
        std::thread::yield_now();
    }
    child.kill().expect("the child can be killed");
    let last = numbers.last().or(seen);
    child.wait().expect("the child ends");
    last
}

/// Says from within the child that everything up to `number` is durable.
///
/// # Panics
/// When nobody reads any more.
#[expect(clippy::expect_used, reason = "a helper of tests fails by panicking")]
pub fn acknowledge(number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ack {number}").expect("the parent reads");
    out.flush().expect("the parent reads");
}

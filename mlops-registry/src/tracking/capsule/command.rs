//! Child processes with an end: so long, and so much output.
//!
//! Invariant: a child does not outlive the call, also when the caller gives up.

use std::{
    io::{Read, Write as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use mlops_core::{Error, Result};

/// How often a child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);
/// How long outputs may stay open after the child's end, as they do when children of its own live on.
const OUTPUT_LIMIT: Duration = Duration::from_secs(2);

/// What a child left.
#[derive(Debug)]
pub(super) struct Outcome {
    /// How it ended; none when a signal ended it or it was out of time.
    pub(super) code: Option<i32>,
    pub(super) timed_out: bool,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}

/// The first bytes of an output.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    /// Whether there was more.
    pub(super) cut: bool,
}

impl Outcome {
    pub(super) fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs a child, writes `input` to it and keeps up to `max` bytes of each output.
///
/// # Errors
/// `NotFound` when there is no such program, `Unavailable` when it cannot be started.
pub(super) async fn run(command: &mut Command, input: &[u8], limit: Duration, max: usize) -> Result<Outcome> {
    let name = command.get_program().to_string_lossy().into_owned();
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        let message = format!("program {name:?} cannot be started: {error}");
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        if missing { Error::not_found(message) } else { Error::unavailable(message) }.with_source(error)
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A child that reads nothing says so by how it ends.
        thread::spawn(move || stdin.write_all(&input).ok());
    }
    let (done, ends) = channel();
    let stdout = keep(child.stdout.take(), max, done.clone());
    let stderr = keep(child.stderr.take(), max, done);
    // Given up with this future, at which the child is killed.
    let (alive, given_up) = channel();
    let mut task = tokio::task::spawn_blocking(move || wait(child, &given_up, &ends));
    let in_time = tokio::time::timeout(limit, &mut task).await;
    let timed_out = in_time.is_err();
    let ended = match in_time {
        Ok(ended) => ended,
        Err(_) => {
            drop::<Sender<()>>(alive);
            task.await
        }
    };
    let lost = |error: std::io::Error| Error::unavailable(format!("program {name:?} was lost")).with_source(error);
    let status = ended.map_err(|error| Error::internal("waiting for a program died").with_source(error))?;
    let code = status.map_err(lost)?.code().filter(|_| !timed_out);
    Ok(Outcome { code, timed_out, stdout: take(&stdout), stderr: take(&stderr) })
}

/// Waits until the child ends or is given up, and for its outputs to close.
fn wait(mut child: Child, given_up: &Receiver<()>, ends: &Receiver<()>) -> std::io::Result<ExitStatus> {
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if given_up.recv_timeout(POLL) == Err(RecvTimeoutError::Disconnected) {
            child.kill()?;
            break child.wait()?;
        }
    };
    // Both ends drop their sender; nothing is ever sent.
    while ends.recv_timeout(OUTPUT_LIMIT).is_ok() {}
    Ok(status)
}

/// Reads to the end and keeps the first `max` bytes; drops `done` then.
fn keep(pipe: Option<impl Read + Send + 'static>, max: usize, done: Sender<()>) -> Arc<Mutex<Output>> {
    let kept = Arc::new(Mutex::new(Output::default()));
    if let Some(mut pipe) = pipe {
        let kept = Arc::clone(&kept);
        thread::spawn(move || {
            let mut piece = vec![0; 16 << 10];
            while let Ok(read) = pipe.read(&mut piece) {
                if read == 0 {
                    break;
                }
                let mut output = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = max.saturating_sub(output.bytes.len());
                output.cut |= read > room;
                output.bytes.extend(piece.iter().take(read.min(room)));
            }
            drop(done);
        });
    }
    kept
}

fn take(kept: &Mutex<Output>) -> Output {
    std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A question to `git` in a directory. It asks nobody for a password.
pub(super) fn git(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(args).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    command
}

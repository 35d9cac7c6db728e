//! What the programs that checkers drive from outside share; they are under `src/bin`.

use std::{fmt::Display, future::Future, process::ExitCode};

use mlops_core::{Error, Result};

/// Ends `program`: 0, or 2 after one sentence on standard error.
pub fn end(program: &str, outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {}", error.chain());
            ExitCode::from(2)
        }
    }
}

/// The same for a program that prints one line.
pub fn end_with_line(program: &str, outcome: Result<impl Display>) -> ExitCode {
    end(program, outcome.map(|line| println!("{line}")))
}

/// The same for a program that works on a runtime.
pub fn end_of_async(program: &str, work: impl Future<Output = Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let no_runtime = |error| Error::unavailable("no runtime could be started").with_source(error);
    end(program, runtime.map_err(no_runtime).and_then(|runtime| runtime.block_on(work)))
}

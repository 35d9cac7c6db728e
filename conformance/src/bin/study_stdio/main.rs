//! Drives a search from outside: one JSON object a line in, one out, so that a program in any language evaluates the
//! trials.
//!
//! An operation that cannot be done is answered with `{"error": {"kind", "message"}}` and changes nothing; input that is
//! no operation, and a study that cannot be created, end the program with status 2 and one sentence.

mod protocol;
mod session;

use std::{
    io::{self, BufRead, Read, Write},
    process::ExitCode,
};

use mlops_core::{Error, Result};

use self::{protocol::Operation, session::Session};

/// Most bytes of one line.
const LINE_MAX: usize = 16 << 20;

fn main() -> ExitCode {
    mlops_conformance::end("study_stdio", run(io::stdin().lock(), io::stdout().lock()))
}

fn run(mut input: impl BufRead, mut output: impl Write) -> Result<()> {
    let failed = |error: io::Error| Error::unavailable("standard input or output failed").with_source(error);
    let mut session = Session::new()?;
    let mut line = String::new();
    loop {
        line.clear();
        if input.by_ref().take(LINE_MAX as u64).read_line(&mut line).map_err(failed)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            continue;
        }
        let operation: Operation = serde_json::from_str(&protocol::plain(&line))
            .map_err(|error| Error::invalid_argument(format!("no operation of this program: {error}")))?;
        let answer = match session.run(operation) {
            Ok(answer) => answer,
            Err(error) if session.is_open() => protocol::refusal(&error),
            Err(error) => return Err(error),
        };
        writeln!(output, "{answer}").and_then(|()| output.flush()).map_err(failed)?;
    }
}

//! How an example ends.

use std::process::ExitCode;

use mlops::{Error, Result};
use tokio::runtime::Builder;

/// Does `work` on `threads` and ends the program: with 0, or with 2 after one sentence on standard error.
pub(crate) fn end(threads: &mut Builder, work: impl Future<Output = Result<()>>) -> ExitCode {
    let runtime = threads.enable_all().build();
    let no_threads = |error| Error::unavailable("no threads can be started").with_source(error);
    match runtime.map_err(no_threads).and_then(|runtime| runtime.block_on(work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::from(2)
        }
    }
}

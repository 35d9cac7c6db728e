//! Repeating a transaction whose concurrent rival was faster.
//!
//! Invariant: only `Conflict` is repeated, at most [`ATTEMPTS_MAX`] times, with growing pauses.

use std::time::Duration;

use mlops_core::{Error, ErrorKind};
use mlops_store::Value;

/// How often a transaction is tried before its conflict is reported to the caller.
pub(crate) const ATTEMPTS_MAX: u32 = 64;
const PAUSE_MS_MAX: u64 = 32;

/// One statement with its values, for changes that need no answer in between.
pub(crate) type Statement = (String, Vec<Value>);

/// Waits before the next attempt when `error` is a conflict between transactions and attempts are left; gives the
/// error back when it is final.
pub(crate) async fn pause_after(error: Error, tried: u32) -> Result<(), Error> {
    if error.kind() != ErrorKind::Conflict {
        return Err(error);
    }
    if tried + 1 >= ATTEMPTS_MAX {
        return Err(Error::conflict(format!(
            "gave up after {ATTEMPTS_MAX} conflicts with concurrent writers; try again later"
        ))
        .with_source(error));
    }
    let pause_ms = (1_u64 << tried.min(16)).min(PAUSE_MS_MAX);
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    Ok(())
}

/// Evaluates a future, made anew each time, until it ends in anything but a conflict between transactions.
///
/// A conflict that the action itself found (a compare-and-set that lost) must be an ordinary value, or it would
/// be repeated in vain. A macro, because a closure that returns a borrowing future cannot promise that it is `Send`.
macro_rules! on_conflict {
    ($attempt:expr) => {{
        let mut tried = 0;
        loop {
            match $attempt.await {
                Ok(value) => break Ok(value),
                Err(error) => match $crate::retry::pause_after(error, tried).await {
                    Ok(()) => tried += 1,
                    Err(error) => break Err(error),
                },
            }
        }
    }};
}
pub(crate) use on_conflict;

//! Alerts against real sockets: every sink passes the conformance suite, and nothing is lost when
//! the process is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test and its helpers fail by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "the environment names the server to test against, and a child's home")]

mod alertmanager;
mod crash;
mod receiver;
mod sinks;

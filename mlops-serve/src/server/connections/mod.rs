//! The server's own listener: accepting, bounding and closing connections.
//!
//! Invariant: a connection that was accepted gets its answers, and none can hold a place for nothing: every phase in
//! which the client could be slow (handshake, first bytes, headers, idle time) has a limit.

mod connection;
mod listen;
mod opening;
mod settings;
mod timer;

pub use settings::ConnectionSettings;

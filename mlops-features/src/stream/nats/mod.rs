//! NATS JetStream as a source: a stream of JetStream is a partition, and a message's stream sequence is its offset.
//!
//! What is durable is in the table's log, so the server keeps no state for us: messages are pulled from a sequence on
//! by a consumer that acknowledges nothing and lives in memory as long as it is asked. JetStream numbers the messages
//! of a stream without gaps, so a number that does not come is a message that was removed before it was read, and that
//! is told.

mod link;
mod reading;
mod server;
mod source;

pub use server::NatsServer;
pub use source::{NatsSource, NatsSourceSettings};

//! A topic of Kafka as a source: a partition of the topic is a partition, and a message's offset is its offset.
//!
//! What is durable is in the table's log, so no consumer group is joined and nothing is committed at the brokers: every
//! partition is fetched from the offset that the table has. Only messages of committed transactions are given; what
//! lies between them (markers, aborted messages, what compaction removed) is passed over.
//!
//! | look for | in |
//! |---|---|
//! | where the brokers are and how they let us in | [`KafkaServer`] |
//! | the source: positions, what is gone, what is read ahead | [`KafkaSource`] |
//! | which broker leads which partition | `cluster` |
//! | one connection, from TCP over TLS to the broker's greeting | `connection`, `sasl` |
//! | questions and answers byte by byte | `wire`, `messages` |
//! | messages in batches, compressed, in transactions | `records`, `compression` |
//! | what must hold for any bytes of a broker | `any_answer` |
//!
//! The protocol is spoken by hand in few fixed versions, which by its documentation brokers from 2.1 to 4.x have in
//! common; tests run against the cluster for tests that librdkafka has. The sizes that a broker tells are checked before
//! anything is allocated, and every answer is waited for with a limit.

#[cfg(any(test, feature = "conformance"))]
mod any_answer;
mod cluster;
mod compression;
mod connection;
#[cfg(test)]
mod fake;
mod messages;
mod records;
mod sasl;
mod server;
mod source;
mod wire;

#[cfg(any(test, feature = "conformance"))]
pub use any_answer::takes_any_answer_of_kafka;
pub use server::KafkaServer;
pub use source::{KafkaSource, KafkaSourceSettings, StartAt};

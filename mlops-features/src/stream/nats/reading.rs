//! A consumer that reads a stream from a sequence on, and what it notices on the way: messages that were removed before
//! they were read, a stream that is not the one that was read, and messages that got lost between the server and us.

use std::time::Duration;

use async_nats::{
    Message, StatusCode,
    jetstream::{
        consumer::{AckPolicy, Config, DeliverPolicy},
        stream::{Info, RetentionPolicy},
    },
};
use bytes::Bytes;
use mlops_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use super::link::{Answers, Link, Pull};

/// What becomes of messages that were removed before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Refuse,
    Skip,
}

/// How a reading begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begin {
    /// 0 for the first message that there is.
    pub(super) from: u64,
    pub(super) missing: Missing,
    /// How long the server keeps the consumer while nobody asks it.
    pub(super) idle: Duration,
}

#[derive(Debug)]
pub(super) struct Reading {
    stream: String,
    consumer: String,
    idle: Duration,
    /// When the server answered last.
    answered: Instant,
    /// Where it begins or goes on, as whoever reads has it; 0 for the first message that there is.
    position: u64,
    /// The sequence that must come next; 0 where any may, because nothing of the stream was read yet.
    next: u64,
    /// How many messages it was sent. Messages say how many; another number tells of one that got lost.
    delivered: u64,
    missing: Missing,
}

/// A message and its sequence.
pub(super) type Numbered = (u64, Bytes);

/// How much one answer may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub(super) messages: usize,
    /// Bytes of all messages.
    pub(super) bytes: usize,
    /// Bytes of the first message, which comes alone where it has more than `bytes`.
    pub(super) message_bytes: usize,
}

/// What a consumer gave.
pub(super) enum Pulled {
    /// Messages, and what is left of the reading where it can go on.
    Messages(Vec<Numbered>, Option<Reading>),
    /// Nothing: the server does not have the consumer any more.
    Ended(Error),
}

/// What an answer is.
enum Answer {
    Message {
        sequence: u64,
        delivered: u64,
        payload: Bytes,
    },
    /// There is no other message now.
    End,
    /// The next message alone is larger than what was asked for in all.
    TooLarge,
    /// The consumer is no more.
    Ended(Error),
}

/// Refuses a stream that cannot be read from sequence `from` on without leaving something out.
fn check(link: &Link, stream: &str, info: &Info, from: u64, missing: Missing) -> Result<()> {
    if info.config.retention != RetentionPolicy::Limits {
        return Err(Error::failed_precondition(format!(
            "{} removes messages once others have read them (retention {:?}); only a stream with retention Limits can \
             be read again after a crash",
            link.about(stream),
            info.config.retention
        )));
    }
    let (first, last) = (info.state.first_sequence, info.state.last_sequence);
    if from > last.saturating_add(1) {
        return Err(Error::failed_precondition(format!(
            "{} ends with message {last}, but messages up to {} are durable here: it was made anew, or its server lost \
             messages; read it under another source name to take what is there",
            link.about(stream),
            from - 1
        )));
    }
    if 0 < from && from < first {
        gone(link, stream, from, first, missing)?;
    }
    Ok(())
}

/// Messages `from..until` were removed before they were read.
fn gone(link: &Link, stream: &str, from: u64, until: u64, missing: Missing) -> Result<()> {
    let (about, last) = (link.about(stream), until - 1);
    match missing {
        Missing::Refuse => Err(Error::failed_precondition(format!(
            "{about} no longer has messages {from} to {last}, which were not read yet: they were deleted, purged or \
             removed by the stream's limits; set skip_missing to go on with message {until}, and let the stream keep \
             more"
        ))),
        Missing::Skip => {
            tracing::warn!(from, last, "{about} no longer has messages that were not read yet; they are skipped");
            Ok(())
        }
    }
}

impl Reading {
    /// Gives the stream as it is, too.
    pub(super) async fn start(link: &Link, stream: &str, begin: Begin) -> Result<(Self, Info)> {
        let Begin { from, missing, idle } = begin;
        let info = link.info(stream).await?;
        check(link, stream, &info, from, missing)?;
        let deliver_policy = match from {
            0 => DeliverPolicy::All,
            from => DeliverPolicy::ByStartSequence { start_sequence: from },
        };
        let config = Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            inactive_threshold: idle,
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        let consumer = link.consumer(stream, &config).await?;
        let next = if from == 0 { 0 } else { from.max(info.state.first_sequence) };
        let (stream, answered) = (stream.to_owned(), Instant::now());
        Ok((Self { stream, consumer, idle, answered, position: from, next, delivered: 0, missing }, info))
    }

    /// Whether the server surely has the consumer still, unless it lost or removed it.
    pub(super) fn is_kept(&self) -> bool {
        self.answered.elapsed() < self.idle / 2
    }

    /// Whether the next message is the one at `position`.
    pub(super) fn is_at(&self, position: u64) -> bool {
        self.position == position
    }

    /// The messages that there are, up to `most`; the first one is waited for.
    pub(super) async fn pull(mut self, link: &Link, most: Most, wait: Duration) -> Result<Pulled> {
        let Most { mut messages, mut bytes, message_bytes } = most;
        let mut answers = self.ask(link, (messages, bytes), wait).await?;
        let mut found = Vec::new();
        while found.len() < messages {
            match self.answer(link, &mut answers, wait).await? {
                Answer::Message { sequence, delivered, payload } => {
                    self.delivered += 1;
                    if delivered != self.delivered {
                        let (count, stream) = (self.delivered, &self.stream);
                        let why = format!("message {delivered} of a reading came instead of message {count}");
                        return Err(link.unavailable(stream, why));
                    }
                    if 0 < self.next && self.next < sequence {
                        let told = gone(link, &self.stream, self.next, sequence, self.missing);
                        match told {
                            Err(error) if found.is_empty() => return Err(error),
                            // Those before the gap can be taken; the next reading meets it first.
                            Err(_) => return Ok(Pulled::Messages(found, None)),
                            Ok(()) => {}
                        }
                    }
                    self.next = sequence.saturating_add(1);
                    self.position = self.next;
                    found.push((sequence, payload));
                }
                Answer::TooLarge if found.is_empty() && bytes < message_bytes => {
                    (messages, bytes) = (1, message_bytes);
                    answers = self.ask(link, (messages, bytes), wait).await?;
                }
                Answer::TooLarge if found.is_empty() => {
                    return Err(Error::new(
                        ErrorKind::ResourceExhausted,
                        format!(
                            "{}: the message after {} has more than {bytes} bytes; raise bytes_max",
                            link.about(&self.stream),
                            self.next.saturating_sub(1)
                        ),
                    ));
                }
                Answer::Ended(error) if found.is_empty() => return Ok(Pulled::Ended(error)),
                Answer::Ended(_) => return Ok(Pulled::Messages(found, None)),
                Answer::End | Answer::TooLarge => break,
            }
        }
        self.answered = Instant::now();
        Ok(Pulled::Messages(found, Some(self)))
    }

    async fn ask(&self, link: &Link, (batch, max_bytes): (usize, usize), wait: Duration) -> Result<Answers> {
        let expires = (!wait.is_zero()).then(|| i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX));
        let pull = Pull { batch, max_bytes, expires, no_wait: expires.is_none() };
        link.pull(&self.stream, &self.consumer, &pull).await
    }

    async fn answer(&self, link: &Link, answers: &mut Answers, wait: Duration) -> Result<Answer> {
        let stream = &self.stream;
        let message = link.next(stream, answers, wait).await?;
        let description = message.description.as_deref().unwrap_or_default();
        match message.status {
            None | Some(StatusCode::OK) => {}
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => return Ok(Answer::End),
            Some(_) if description.eq_ignore_ascii_case("Message Size Exceeds MaxBytes") => {
                return Ok(Answer::TooLarge);
            }
            Some(status) => {
                let why = format!("its consumer ended: {} {description}", status.as_u16());
                return Ok(Answer::Ended(link.unavailable(stream, why)));
            }
        }
        let numbers = message.reply.as_ref().and_then(|reply| numbers(reply));
        let Some((sequence, delivered)) = numbers else { return Err(unknown(link, stream, &message)) };
        Ok(Answer::Message { sequence, delivered, payload: message.payload })
    }
}

fn unknown(link: &Link, stream: &str, message: &Message) -> Error {
    let reply = message.reply.as_deref().unwrap_or("none");
    Error::internal(format!("{}: a message has an address that is not known: {reply}", link.about(stream)))
}

/// Stream sequence and consumer sequence of a message, by the address for its acknowledgement: `$JS.ACK.<stream>.
/// <consumer>.<times delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>`, or the same with the domain
/// and the hash of the account before the stream and possibly more behind it (NATS ADR-15).
fn numbers(reply: &str) -> Option<(u64, u64)> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let sequence = match tokens.len() {
        7 => 3,
        9.. => 5,
        _ => return None,
    };
    Some((tokens.get(sequence)?.parse().ok()?, tokens.get(sequence + 1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_addresses_are_read() {
        assert_eq!(numbers("$JS.ACK.events.c.1.17.3.1764172800123456789.4"), Some((17, 3)));
        assert_eq!(numbers("$JS.ACK.hub.hash.events.c.1.17.3.1764172800123456789.4.token"), Some((17, 3)));
        assert_eq!(numbers("$JS.ACK._.hash.events.c.1.17.3.1764172800123456789.4"), Some((17, 3)));
        for other in ["", "_INBOX.a.b", "$JS.ACK.events.c.1.x.3.1.4", "$JS.ACK.events.c.1.17"] {
            assert_eq!(numbers(other), None, "{other}");
        }
    }
}

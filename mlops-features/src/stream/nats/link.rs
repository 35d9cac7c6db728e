//! A connection to a NATS server, which comes back by itself when it breaks. What goes wrong on it names the server.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, Event, Message, Request, ServerError, Subscriber,
    jetstream::{self, Context, ErrorCode, consumer::Config, response::Response, stream::Info},
};
use bytes::Bytes;
use futures::StreamExt as _;
use mlops_core::{Error, ErrorKind, Result};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

/// Most texts that are kept of what a server said.
const SAID_MAX: usize = 64;

/// What happens to a connection besides answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Incidents {
    /// What the server said last that was no answer to a question: a subject that we may not use, for example.
    said: Arc<Mutex<VecDeque<String>>>,
    /// How often the connection broke.
    breaks: watch::Sender<u64>,
}

impl Incidents {
    pub(super) fn note(&self, event: Event) {
        match event {
            Event::ServerError(ServerError::Other(text)) => {
                let mut said = self.said();
                if said.len() >= SAID_MAX {
                    said.pop_front();
                }
                said.push_back(text);
            }
            Event::Disconnected => {
                self.said().clear();
                self.breaks.send_modify(|breaks| *breaks += 1);
            }
            _ => {}
        }
    }

    /// A question by `subject` begins: what was said of an earlier one is not about it.
    fn begin(&self, subject: &str) {
        self.said().retain(|text| match About::of(text) {
            About::Inbox => true,
            About::Subject(other) => !is_of(other, subject),
            About::Anything => false,
        });
    }

    /// What was said last that tells why a question by `subject` has no answer.
    fn why(&self, subject: &str) -> Option<String> {
        let tells = |text: &&String| match About::of(text) {
            About::Subject(other) => is_of(other, subject),
            About::Inbox | About::Anything => true,
        };
        self.said().iter().rev().find(tells).cloned()
    }

    fn said(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a text of the server is about, by the subject that it quotes.
enum About<'a> {
    Subject(&'a str),
    /// Where answers go, of all questions: we subscribe to it once for many of them.
    Inbox,
    Anything,
}

impl<'a> About<'a> {
    fn of(text: &'a str) -> Self {
        match text.split('"').nth(1) {
            Some(subject) if subject.starts_with("_INBOX.") => Self::Inbox,
            Some(subject) => Self::Subject(subject),
            None => Self::Anything,
        }
    }
}

/// Whether `full` is `subject` behind a prefix such as `$JS.API`.
fn is_of(full: &str, subject: &str) -> bool {
    full.strip_suffix(subject).is_some_and(|prefix| prefix.ends_with('.'))
}

pub(super) struct Link {
    pub(super) client: Client,
    pub(super) context: Context,
    pub(super) server: String,
    /// Longest wait for an answer.
    pub(super) timeout: Duration,
    pub(super) incidents: Incidents,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Messages that a consumer is asked for.
#[derive(Debug, Serialize)]
pub(super) struct Pull {
    /// Most messages.
    pub(super) batch: usize,
    /// Most bytes of them.
    pub(super) max_bytes: usize,
    /// How long to wait for the first one, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<i64>,
    pub(super) no_wait: bool,
}

/// Messages that are on their way. They do not outlive the connection.
pub(super) struct Answers {
    messages: Subscriber,
    breaks: watch::Receiver<u64>,
    /// What they were asked for by.
    subject: String,
}

impl Link {
    pub(super) async fn info(&self, stream: &str) -> Result<Info> {
        self.question(stream, &format!("STREAM.INFO.{stream}"), &serde_json::Map::new()).await
    }

    /// Makes a consumer, and gives its name.
    pub(super) async fn consumer(&self, stream: &str, config: &Config) -> Result<String> {
        #[derive(Serialize)]
        struct Create<'a> {
            stream_name: &'a str,
            config: &'a Config,
        }
        #[derive(serde::Deserialize)]
        struct Created {
            name: String,
        }
        let create = Create { stream_name: stream, config };
        let created: Created = self.question(stream, &format!("CONSUMER.CREATE.{stream}"), &create).await?;
        Ok(created.name)
    }

    /// Removes all messages before `sequence`.
    pub(super) async fn forget(&self, stream: &str, sequence: u64) -> Result<()> {
        #[derive(Serialize)]
        struct Purge {
            seq: u64,
        }
        let purge = Purge { seq: sequence };
        self.question::<serde::de::IgnoredAny>(stream, &format!("STREAM.PURGE.{stream}"), &purge).await.map(drop)
    }

    /// Asks `consumer` for messages.
    pub(super) async fn pull(&self, stream: &str, consumer: &str, pull: &Pull) -> Result<Answers> {
        let breaks = self.incidents.breaks.subscribe();
        let inbox = self.client.new_inbox();
        let messages = self.client.subscribe(inbox.clone()).await.map_err(|error| self.unavailable(stream, error))?;
        let payload = serde_json::to_vec(pull).map(Bytes::from);
        let payload = payload.map_err(|error| Error::internal("a question is no JSON").with_source(error))?;
        let request = Request::new().payload(payload).inbox(inbox);
        let subject = format!("CONSUMER.MSG.NEXT.{stream}.{consumer}");
        self.incidents.begin(&subject);
        let sent = self.context.send_request(subject.clone(), request).await;
        sent.map_err(|error| self.unavailable(stream, error))?;
        Ok(Answers { messages, breaks, subject })
    }

    /// The next message, which is waited for longer than an answer by `wait`.
    pub(super) async fn next(&self, stream: &str, answers: &mut Answers, wait: Duration) -> Result<Message> {
        let Answers { messages, breaks, subject } = answers;
        tokio::select! {
            biased;
            message = messages.next() => message.ok_or_else(|| self.unavailable(stream, "the connection ended")),
            _ = breaks.changed() => Err(self.unavailable(stream, "the connection broke")),
            () = tokio::time::sleep(wait.saturating_add(self.timeout)) => Err(self.silent(stream, subject)),
        }
    }

    async fn question<T: DeserializeOwned>(&self, stream: &str, subject: &str, body: &impl Serialize) -> Result<T> {
        self.incidents.begin(subject);
        match self.context.request(subject.to_owned(), body).await {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(self.refused(stream, error)),
            Err(error) => Err(match error.kind() {
                jetstream::context::RequestErrorKind::NoResponders => {
                    self.unavailable(stream, "nobody answers for JetStream; is it enabled there, and for this account?")
                }
                jetstream::context::RequestErrorKind::TimedOut => self.silent(stream, subject),
                _ => self.unavailable(stream, error),
            }),
        }
    }

    /// No answer in time: it may have said why.
    fn silent(&self, stream: &str, subject: &str) -> Error {
        match self.incidents.why(subject) {
            Some(said) if said.to_ascii_lowercase().contains("permissions violation") => {
                Error::new(ErrorKind::PermissionDenied, format!("{}: {said}", self.about(stream)))
            }
            Some(said) => self.unavailable(stream, format!("no answer within {:?}; it said: {said}", self.timeout)),
            None => self.unavailable(stream, format!("no answer within {:?}", self.timeout)),
        }
    }

    pub(super) fn unavailable(&self, stream: &str, why: impl fmt::Display) -> Error {
        Error::unavailable(format!("{}: {why}", self.about(stream)))
    }

    fn refused(&self, stream: &str, error: jetstream::Error) -> Error {
        let kind = match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND => ErrorKind::NotFound,
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                ErrorKind::FailedPrecondition
            }
            ErrorCode::MAXIMUM_CONSUMERS_LIMIT | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => ErrorKind::ResourceExhausted,
            _ => match error.code() {
                // What a cluster says while it chooses a leader.
                500.. => ErrorKind::Unavailable,
                _ => ErrorKind::FailedPrecondition,
            },
        };
        Error::new(kind, format!("{}: {error}", self.about(stream))).with_source(error)
    }

    pub(super) fn about(&self, stream: &str) -> String {
        format!("stream \"{stream}\" of NATS server {}", self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(incidents: &Incidents, text: &str) {
        incidents.note(Event::ServerError(ServerError::Other(text.to_owned())));
    }

    #[test]
    fn what_a_server_says_is_told_of_the_question_that_it_is_about() {
        let incidents = Incidents::default();
        let (one, other) = ("STREAM.INFO.one", "STREAM.INFO.other");
        let refused = r#"Permissions Violation for Publish to "$JS.API.STREAM.INFO.one""#;
        incidents.begin(one);
        say(&incidents, refused);
        incidents.begin(other);
        assert_eq!(incidents.why(other), None);
        assert_eq!(incidents.why("STREAM.INFO.someone"), None);
        assert_eq!(incidents.why(one).as_deref(), Some(refused), "another question took nothing away");
        incidents.begin(one);
        assert_eq!(incidents.why(one), None, "of an earlier question");
        say(&incidents, r#"Permissions Violation for Subscription to "_INBOX.a.*""#);
        incidents.begin(one);
        assert!(incidents.why(one).is_some() && incidents.why(other).is_some(), "answers go to one inbox");
        incidents.note(Event::Disconnected);
        assert_eq!(incidents.why(one), None);
        for number in 0..2 * SAID_MAX {
            say(&incidents, &format!("number {number}"));
        }
        assert_eq!(incidents.said().len(), SAID_MAX);
    }
}

//! The source: which streams, from where on, and how long a server may stay away.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use mlops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    link::Link,
    reading::{Missing, Most, Numbered, Pulled, Reading},
    server::NatsServer,
};
use crate::stream::{MessageDecoder, Positions, StreamBatch, StreamSource, message::batch};

/// Longest name of a stream of JetStream.
const STREAM_BYTES_MAX: usize = 255;

/// Most messages of one read, whatever the settings say.
const MESSAGES_MAX: usize = 1 << 20;

/// Shortest and longest look for new messages, whatever the settings say.
const WAIT_MIN: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Pause between two tries while the server is away.
const PAUSE: Duration = Duration::from_millis(100);

/// How streams of JetStream are read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct NatsSourceSettings {
    /// Most messages of one read of one partition, 1 to 2^20.
    pub messages_max: usize,
    /// Most bytes of one read of all partitions, and of one message. A message that is larger than its partition's
    /// share of them is read alone.
    pub bytes_max: usize,
    /// How long one look for new messages lasts. Of several partitions one is waited at, in turn, before all are looked
    /// at again, so this bounds how late a message of another one is seen. 1 millisecond to 1 hour.
    pub wait: Duration,
    /// Longest wait for a connection, and for an answer.
    pub timeout: Duration,
    /// How long the server may stay away before that is an error; meanwhile the connection is made again and reading
    /// goes on where it was.
    pub patience: Duration,
    /// Whether to wait for messages that are still to come; if not, the stream ends with the last message.
    pub follow: bool,
    /// Whether messages before the last one that is durable are purged from the stream.
    pub forget: bool,
    /// Whether messages that were removed before they were read are skipped, with a warning, instead of being an error.
    pub skip_missing: bool,
}

impl Default for NatsSourceSettings {
    fn default() -> Self {
        Self {
            messages_max: 10_000,
            bytes_max: 64 << 20,
            wait: Duration::from_millis(500),
            timeout: Duration::from_secs(5),
            patience: Duration::from_secs(30),
            follow: true,
            forget: false,
            skip_missing: false,
        }
    }
}

/// Some streams of one NATS server or cluster, read as one source: each with all of its subjects, because only then a
/// number that is missing is a message that is missing. A part of the subjects is had by a stream that `sources` from
/// the other one with a filter.
///
/// A stream that was removed and made again under the same name is noticed when it has fewer messages than are durable,
/// or when it was made while this source lives; otherwise give it another source name.
pub struct NatsSource {
    name: Arc<str>,
    /// The stream of each partition.
    streams: BTreeMap<Arc<str>, String>,
    link: Link,
    decoder: Arc<dyn MessageDecoder>,
    settings: NatsSourceSettings,
    /// Consumers that stand where the next poll may begin.
    readings: Mutex<BTreeMap<Arc<str>, Reading>>,
    /// When each stream was made, as it was first seen.
    made: Mutex<BTreeMap<Arc<str>, String>>,
    /// Counts the looks: each begins with another partition, so that none waits for ever behind others.
    turn: AtomicUsize,
}

impl fmt::Debug for NatsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSource")
            .field("name", &self.name)
            .field("streams", &self.streams)
            .field("link", &self.link)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl NatsSource {
    /// Connects to `server`. `streams` are names of partitions and of their streams.
    ///
    /// # Errors
    /// `InvalidArgument` for what can be no stream, `Unavailable` when the server cannot be reached,
    /// `PermissionDenied` when it refuses. A stream that is not there is `NotFound` when it is read.
    pub async fn connect(
        server: &NatsServer,
        name: &str,
        streams: impl IntoIterator<Item = (impl AsRef<str>, impl Into<String>)>,
        decoder: Arc<dyn MessageDecoder>,
        settings: NatsSourceSettings,
    ) -> Result<Self> {
        let streams: BTreeMap<Arc<str>, String> =
            streams.into_iter().map(|(partition, stream)| (partition.as_ref().into(), stream.into())).collect();
        if streams.is_empty() {
            return Err(Error::invalid_argument(format!("source \"{name}\" needs at least one stream of NATS")));
        }
        streams.values().try_for_each(|stream| check_name(stream))?;
        let messages_max = settings.messages_max.clamp(1, MESSAGES_MAX);
        let wait = settings.wait.clamp(WAIT_MIN, WAIT_MAX);
        let settings = NatsSourceSettings { messages_max, wait, ..settings };
        // One more, for what ends an answer.
        let link = server.connect(name, settings.timeout, messages_max + 1).await?;
        Ok(Self {
            name: name.into(),
            streams,
            link,
            decoder,
            settings,
            readings: Mutex::default(),
            made: Mutex::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// What there is from the positions on, and what comes within one wait where there is nothing.
    async fn round(&self, positions: &Positions, rows_max: usize) -> Result<Vec<StreamBatch>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.streams.len().max(1);
        let looked_at = self.streams.len().min(rows_max.max(1));
        let most = Most {
            messages: self.settings.messages_max.min(rows_max / looked_at.max(1)).max(1),
            bytes: (self.settings.bytes_max / looked_at.max(1)).max(1),
            message_bytes: self.settings.bytes_max,
        };
        let partitions = || self.streams.iter().cycle().skip(first).take(looked_at);
        let look = async |(partition, stream): (&Arc<str>, &String)| {
            let from = positions.get(partition).copied().unwrap_or(0);
            let found = self.pull(partition, stream, from, most, Duration::ZERO).await?;
            Ok::<_, Error>((Arc::clone(partition), found))
        };
        let mut found = futures::future::try_join_all(partitions().map(look)).await?;
        found.retain(|(_, messages)| !messages.is_empty());
        if let (true, true, Some((partition, stream))) = (found.is_empty(), self.settings.follow, partitions().next()) {
            let from = positions.get(partition).copied().unwrap_or(0);
            let messages = self.wait(partition, stream, from, most).await?;
            found.extend((!messages.is_empty()).then(|| (Arc::clone(partition), messages)));
        }
        let rows = |(partition, messages): (Arc<str>, Vec<Numbered>)| {
            let entries = messages.into_iter().map(|(sequence, payload)| (sequence, Ok(payload))).collect();
            batch(&partition, self.decoder.as_ref(), entries)
        };
        found.into_iter().map(rows).collect()
    }

    /// Waits for one message at `from`, and takes those that are behind it by then.
    async fn wait(&self, partition: &Arc<str>, stream: &str, from: u64, most: Most) -> Result<Vec<Numbered>> {
        let one = Most { messages: 1, ..most };
        let mut found = self.pull(partition, stream, from, one, self.settings.wait).await?;
        if let Some((last, payload)) = found.last() {
            let bytes = most.bytes.saturating_sub(payload.len());
            let left = Most { messages: most.messages - 1, bytes, message_bytes: bytes };
            let next = last.saturating_add(1);
            if left.messages > 0 && left.bytes > 0 {
                match self.pull(partition, stream, next, left, Duration::ZERO).await {
                    Ok(more) => found.extend(more),
                    // The first message is good; the next poll meets the error.
                    Err(error) => tracing::debug!(%error, "what follows message {last} is read later"),
                }
            }
        }
        Ok(found)
    }

    async fn pull(
        &self,
        partition: &Arc<str>,
        stream: &str,
        from: u64,
        most: Most,
        wait: Duration,
    ) -> Result<Vec<Numbered>> {
        // Taken out for the time: a call that is dropped leaves none whose answers are half read.
        let known = self.readings().remove(partition).filter(|reading| reading.is_at(from));
        let kept = match known {
            Some(reading) => match reading.pull(&self.link, most, wait).await? {
                Pulled::Messages(found, reading) => Some((found, reading)),
                // It was not asked for long; the stream may be there all the same.
                Pulled::Ended(_) => None,
            },
            None => None,
        };
        let (found, reading) = match kept {
            Some(pulled) => pulled,
            None => match self.start(partition, stream, from).await?.pull(&self.link, most, wait).await? {
                Pulled::Messages(found, reading) => (found, reading),
                Pulled::Ended(error) => return Err(error),
            },
        };
        if let Some(reading) = reading {
            self.readings().insert(Arc::clone(partition), reading);
        }
        Ok(found)
    }

    async fn start(&self, partition: &Arc<str>, stream: &str, from: u64) -> Result<Reading> {
        let missing = if self.settings.skip_missing { Missing::Skip } else { Missing::Refuse };
        let (reading, info) = Reading::start(&self.link, stream, from, missing).await?;
        let made = format!("{:?}", info.created);
        let first = self.made().entry(Arc::clone(partition)).or_insert_with(|| made.clone()).clone();
        if first != made {
            return Err(Error::failed_precondition(format!(
                "{} was made anew: its messages are others than those that were read (it was made at {first}, now at \
                 {made}); read it under another source name",
                self.link.about(stream)
            )));
        }
        Ok(reading)
    }

    /// Purges what lies before `from`, in the stream that was read and in no other of its name.
    async fn forget(&self, partition: &Arc<str>, stream: &str, from: u64) -> Result<()> {
        let Some(made) = self.made().get(partition).cloned() else { return Ok(()) };
        let info = self.link.info(stream).await?;
        if made != format!("{:?}", info.created) || from > info.state.last_sequence.saturating_add(1) {
            return Ok(());
        }
        self.link.forget(stream, from).await
    }

    fn made(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readings(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Reading>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_name(stream: &str) -> Result<()> {
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || ".*>/\\".contains(letter);
    if stream.is_empty() || stream.len() > STREAM_BYTES_MAX || stream.contains(bad) {
        return Err(Error::invalid_argument(format!(
            "\"{}\" can be no stream of NATS: 1 to {STREAM_BYTES_MAX} bytes without spaces and without . * > / \\",
            stream.chars().take(STREAM_BYTES_MAX).collect::<String>()
        )));
    }
    Ok(())
}

#[async_trait]
impl StreamSource for NatsSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn partitions(&self) -> Result<Vec<Arc<str>>> {
        Ok(self.streams.keys().cloned().collect())
    }

    async fn poll(&self, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>> {
        let mut away_since = None;
        loop {
            let begun = Instant::now();
            match self.round(positions, rows_max).await {
                Ok(batches) if !batches.is_empty() => return Ok(Some(batches)),
                Ok(_) if !self.settings.follow => return Ok(None),
                Ok(_) => away_since = None,
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    let since = *away_since.get_or_insert(begun);
                    if since.elapsed() >= self.settings.patience {
                        return Err(error);
                    }
                    tracing::warn!(source = &*self.name, %error, "the stream cannot be read; it is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn commit(&self, positions: &Positions) -> Result<()> {
        if !self.settings.forget {
            return Ok(());
        }
        let mut forgotten = Ok(());
        for (partition, from) in positions.iter().filter(|(_, from)| **from > 0) {
            if let Some(stream) = self.streams.get(partition) {
                // One that fails does not keep the others back; the first error is told.
                forgotten = forgotten.and(self.forget(partition, stream, *from).await);
            }
        }
        forgotten
    }
}

//! The source: which streams, from where on, and how long a server may stay away.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use mlops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{
    link::Link,
    reading::{Begin, Missing, Most, Numbered, Pulled, Reading},
    server::NatsServer,
};
use crate::stream::{
    MessageDecoder, Positions, ReadSettings, StreamBatch, StreamSource,
    given_name::NameRule,
    read::{Reader, tell_each},
};

const STREAM: NameRule = NameRule {
    thing: "stream of NATS",
    bytes_max: 255,
    allows: |letter| !(letter.is_whitespace() || letter.is_control() || ".*>/\\".contains(letter)),
    allowed: "without spaces and without . * > / \\",
};

/// Shortest time that a server is asked to keep an idle consumer, whatever the settings say.
const IDLE_MIN: Duration = Duration::from_millis(100);

/// How streams of JetStream are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NatsSourceSettings {
    /// How any stream is read. Of several partitions one is waited at, in turn, before all are looked at again.
    #[serde(flatten)]
    pub read: ReadSettings,
    /// Most bytes of one read of all partitions, and of one message. A message that is larger than its partition's
    /// share of them is read alone.
    pub bytes_max: usize,
    /// How long the server keeps a consumer of ours while nobody asks it. One that was not asked for half of this is
    /// made anew, so a pause of any length is no more than one question more.
    pub idle: Duration,
    /// Whether messages before the last one that is durable are purged from the stream.
    pub forget: bool,
}

impl Default for NatsSourceSettings {
    fn default() -> Self {
        Self { read: ReadSettings::default(), bytes_max: 64 << 20, idle: Duration::from_secs(60), forget: false }
    }
}

/// Some streams of one NATS server or cluster, read as one source: each with all of its subjects, because only then a
/// number that is missing is a message that is missing. A part of the subjects is had by a stream that `sources` from
/// the other one with a filter.
///
/// A stream that was removed and made again under the same name is noticed when it has fewer messages than are durable,
/// or when it was made while this source lives; otherwise give it another source name.
#[derive(Debug)]
pub struct NatsSource {
    reader: Reader,
    /// The stream of each partition.
    streams: BTreeMap<Arc<str>, String>,
    link: Link,
    settings: NatsSourceSettings,
    /// Consumers that stand where the next poll may begin.
    readings: Mutex<BTreeMap<Arc<str>, Reading>>,
    /// When each stream was made, as it was first seen.
    made: Mutex<BTreeMap<Arc<str>, String>>,
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
        streams.values().try_for_each(|stream| STREAM.check(stream))?;
        let reader = Reader::new(name, decoder, settings.read.clone());
        // One more, for what ends an answer.
        let link = server.connect(name, reader.settings.timeout, reader.settings.messages_max + 1).await?;
        Ok(Self { reader, streams, link, settings, readings: Mutex::default(), made: Mutex::default() })
    }

    /// What there is from the positions on, and what comes within one wait where there is nothing.
    async fn round(&self, positions: &Positions, rows_max: usize) -> Result<Vec<StreamBatch>> {
        let mut partitions = self.reader.in_turn(&self.streams);
        partitions.truncate(rows_max.max(1));
        let looked_at = partitions.len();
        let most = Most {
            messages: self.reader.settings.messages_max.min(rows_max / looked_at.max(1)).max(1),
            bytes: (self.settings.bytes_max / looked_at.max(1)).max(1),
            message_bytes: self.settings.bytes_max,
        };
        let look = async |(partition, stream): (&Arc<str>, &String)| {
            let from = positions.get(partition).copied().unwrap_or(0);
            let found = self.pull(partition, stream, from, most, Duration::ZERO).await?;
            Ok::<_, Error>((Arc::clone(partition), found))
        };
        let mut found = futures::future::try_join_all(partitions.iter().copied().map(look)).await?;
        found.retain(|(_, messages)| !messages.is_empty());
        let first = partitions.first().filter(|_| found.is_empty() && self.reader.settings.follow);
        if let Some(&(partition, stream)) = first {
            let from = positions.get(partition).copied().unwrap_or(0);
            let messages = self.wait(partition, stream, from, most).await?;
            found.extend((!messages.is_empty()).then(|| (Arc::clone(partition), messages)));
        }
        let entries = |(partition, messages): (Arc<str>, Vec<Numbered>)| {
            (partition, messages.into_iter().map(|(sequence, payload)| (sequence, Ok(payload))).collect())
        };
        self.reader.rows(found.into_iter().map(entries))
    }

    /// Waits for one message at `from`, and takes those that are behind it by then.
    async fn wait(&self, partition: &Arc<str>, stream: &str, from: u64, most: Most) -> Result<Vec<Numbered>> {
        let one = Most { messages: 1, ..most };
        let mut found = self.pull(partition, stream, from, one, self.reader.settings.wait).await?;
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
        let stands = |reading: &Reading| reading.is_at(from) && reading.is_kept();
        let known = self.readings().remove(partition).filter(stands);
        let kept = match known {
            Some(reading) => match reading.pull(&self.link, most, wait).await {
                Ok(Pulled::Messages(found, reading)) => Some((found, reading)),
                // The stream may be there all the same.
                Ok(Pulled::Ended(_)) => None,
                // A server does not always say that a consumer is no more: some are silent. Whether the stream is away
                // as well is found out by another one.
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::debug!(%error, "a consumer does not answer; another one is made");
                    None
                }
                Err(error) => return Err(error),
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
        let missing = if self.reader.settings.skip_missing { Missing::Skip } else { Missing::Refuse };
        let begin = Begin { from, missing, idle: self.settings.idle.max(IDLE_MIN) };
        let (reading, info) = Reading::start(&self.link, stream, begin).await?;
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

#[async_trait]
impl StreamSource for NatsSource {
    fn name(&self) -> &str {
        &self.reader.name
    }

    async fn partitions(&self) -> Result<Vec<Arc<str>>> {
        Ok(self.streams.keys().cloned().collect())
    }

    async fn poll(&self, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>> {
        self.reader.poll(|| self.round(positions, rows_max)).await
    }

    async fn commit(&self, positions: &Positions) -> Result<()> {
        if !self.settings.forget {
            return Ok(());
        }
        let forget = |partition, from| async move {
            match self.streams.get(partition) {
                Some(stream) => self.forget(partition, stream, from).await,
                None => Ok(()),
            }
        };
        tell_each(positions, forget).await
    }
}

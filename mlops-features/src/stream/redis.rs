//! Redis streams as a source: a stream of Redis is a partition, and an entry's id is its offset.
//!
//! An id is milliseconds and a number within them, `ms-n`; the offset is `ms * 2^20 + n`. What is durable is in the
//! table's log; the consumer group only shows it to others: its last delivered id is the last entry that is durable, so
//! `XINFO GROUPS` tells the lag. Entries are not claimed by consumers, because a claim and a commit could part.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Error, ErrorKind, Result};
use redis::{Cmd, Value};
use serde::{Deserialize, Serialize};

use super::{
    MessageDecoder, Positions, ReadSettings, StreamBatch, StreamSource,
    message::Entry,
    read::{Reader, tell_each},
};
use crate::redis_link::RedisLink;

/// Bits of an offset that number the entries of one millisecond.
const NUMBER_BITS: u32 = 20;

/// How Redis streams are read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct RedisSourceSettings {
    /// How any stream is read. A source that is dropped in the middle of a look ends after that look, which lasts at
    /// most half of `timeout` here. What is skipped by `skip_missing` cannot be counted: Redis does not number entries.
    #[serde(flatten)]
    pub read: ReadSettings,
    /// The field of an entry that holds the message.
    pub field: String,
    /// The consumer group that shows how far entries are durable.
    pub group: String,
    /// Whether entries before the last one that is durable are removed from Redis.
    pub forget: bool,
}

impl Default for RedisSourceSettings {
    fn default() -> Self {
        let (field, group) = ("payload".to_owned(), "mlops".to_owned());
        Self { read: ReadSettings::default(), field, group, forget: false }
    }
}

/// Some streams of one Redis server, read as one source.
#[derive(Debug)]
pub struct RedisSource {
    reader: Reader,
    /// The key of each partition.
    keys: BTreeMap<Arc<str>, String>,
    link: RedisLink,
    settings: RedisSourceSettings,
    /// By key, before which offset entries may be missing that were told of.
    told: Mutex<BTreeMap<String, u64>>,
}

impl RedisSource {
    /// Connects to `redis://user:password@host:port/database`. `keys` are names of partitions and the keys of their
    /// streams, which need not exist yet.
    ///
    /// # Errors
    /// `InvalidArgument` for an address that is none, `Unavailable` when the server cannot be reached,
    /// `PermissionDenied` when it refuses.
    pub async fn connect(
        url: &str,
        name: &str,
        keys: impl IntoIterator<Item = (impl AsRef<str>, impl Into<String>)>,
        decoder: Arc<dyn MessageDecoder>,
        settings: RedisSourceSettings,
    ) -> Result<Self> {
        let keys = keys.into_iter().map(|(partition, key)| (partition.as_ref().into(), key.into())).collect();
        let link = RedisLink::server(url, settings.read.timeout).await?;
        let reader = Reader::new(name, decoder, settings.read.clone());
        Ok(Self { reader, keys, link, settings, told: Mutex::default() })
    }

    /// What there is from the positions on; where there is nothing, waits a while for something.
    async fn round(&self, positions: &Positions, rows_max: usize) -> Result<Vec<StreamBatch>> {
        let batches = self.look(positions, rows_max).await?;
        if batches.is_empty() && self.reader.settings.follow {
            self.wait(positions).await?;
        }
        Ok(batches)
    }

    /// What there is from the positions on, without waiting.
    async fn look(&self, positions: &Positions, rows_max: usize) -> Result<Vec<StreamBatch>> {
        let most = self.reader.settings.messages_max.min(rows_max / self.keys.len().max(1)).max(1);
        let mut pipeline = redis::pipe();
        // Together, so that nothing is removed between the two looks.
        pipeline.atomic();
        let keys = self.reader.in_turn(&self.keys);
        for (partition, key) in keys.iter().copied() {
            let from = positions.get(partition).copied().unwrap_or(0);
            let last = id(from.saturating_sub(1));
            pipeline.cmd("XRANGE").arg(key).arg(&last).arg(&last);
            pipeline.cmd("XRANGE").arg(key).arg(id(from)).arg("+").arg("COUNT").arg(most);
        }
        let found: Vec<Value> = self.link.pipeline(&pipeline).await?;
        let (mut batches, mut left) = (Vec::new(), rows_max.max(1));
        for ((partition, key), answers) in keys.into_iter().zip(found.chunks(2)) {
            let [last, entries] = answers else { return Err(unexpected(key)) };
            let from = positions.get(partition).copied().unwrap_or(0);
            if from > 0 && self.entries(key, last)?.is_empty() {
                self.check_gone(key, from).await?;
            }
            let mut entries = self.entries(key, entries)?;
            entries.truncate(left);
            left -= entries.len();
            if !entries.is_empty() {
                batches.push((Arc::clone(partition), entries));
            }
        }
        self.reader.rows(batches)
    }

    /// Entries are trimmed from the oldest on: where the last one that was durable is gone and none older is left, those
    /// after it may be gone, too. Where an older one is left, only that one was deleted, or Redis lost it in a crash.
    async fn check_gone(&self, key: &str, from: u64) -> Result<()> {
        let mut command = redis::cmd("XRANGE");
        command.arg(key).arg("-").arg("+").arg("COUNT").arg(1);
        let oldest = self.entries(key, &self.link.query(&command).await?)?;
        if oldest.first().is_some_and(|(oldest, _)| *oldest < from) {
            return Ok(());
        }
        if oldest.is_empty() {
            // All was removed; the id that was given last says whether there was more than we have.
            let mut command = redis::cmd("XINFO");
            command.arg("STREAM").arg(key);
            let info: BTreeMap<String, Value> = match self.link.query(&command).await {
                Ok(info) => info,
                Err(error) if error.message().contains("no such key") => return Ok(()),
                Err(error) => return Err(error),
            };
            let last = info.get("last-generated-id").and_then(text).ok_or_else(|| unexpected(key))?;
            if offset(key, last)? < from {
                return Ok(());
            }
        }
        let gone = format!(
            "Redis stream \"{key}\" no longer has entry {}, the last that is durable; those after it may be gone, too",
            id(from - 1)
        );
        if self.reader.settings.skip_missing {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.insert(key.to_owned(), from) != Some(from) {
                tracing::warn!("{gone}; they are skipped");
            }
            return Ok(());
        }
        Err(Error::failed_precondition(format!(
            "{gone}: set skip_missing to take what is there, and let the stream keep more"
        )))
    }

    fn entries(&self, key: &str, answer: &Value) -> Result<Vec<Entry>> {
        let Value::Array(entries) = answer else { return Err(unexpected(key)) };
        let entry = |entry: &Value| {
            let Value::Array(parts) = entry else { return Err(unexpected(key)) };
            let [at, Value::Array(fields)] = parts.as_slice() else { return Err(unexpected(key)) };
            let offset = offset(key, text(at).ok_or_else(|| unexpected(key))?)?;
            Ok((offset, self.message(fields)))
        };
        entries.iter().map(entry).collect()
    }

    /// The message of an entry with these names and values.
    fn message(&self, fields: &[Value]) -> Result<Bytes, (Bytes, String)> {
        let bytes = |value: &Value| match value {
            Value::BulkString(bytes) => bytes.clone(),
            _ => Vec::new(),
        };
        let fields: Vec<Vec<u8>> = fields.iter().map(bytes).collect();
        let wanted = |pair: &&[Vec<u8>]| pair.first().is_some_and(|name| name == self.settings.field.as_bytes());
        match fields.chunks(2).find(wanted) {
            Some([_, value]) => Ok(value.clone().into()),
            _ => {
                let reason = format!("no row: the entry has no field \"{}\"", self.settings.field);
                Err((fields.join(&b'\n').into(), reason))
            }
        }
    }

    /// Waits a while for an entry at or after the positions.
    async fn wait(&self, positions: &Positions) -> Result<()> {
        let wait = self.reader.settings.wait.min(self.reader.settings.timeout / 2).as_millis().max(1);
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(u64::try_from(wait).unwrap_or(u64::MAX)).arg("STREAMS");
        for key in self.keys.values() {
            command.arg(key);
        }
        for partition in self.keys.keys() {
            command.arg(id(positions.get(partition).copied().unwrap_or(0).saturating_sub(1)));
        }
        self.link.query::<Value>(&command).await.map(drop)
    }

    /// Shows that what lies before `from` is durable.
    async fn show(&self, key: &str, from: u64) -> Result<()> {
        let last = id(from - 1);
        let mut show = Cmd::new();
        show.arg("XGROUP").arg("SETID").arg(key).arg(&self.settings.group).arg(&last);
        match self.link.query::<Value>(&show).await {
            // The stream is gone, and its group with it: there is nothing to show.
            Err(error) if error.message().contains("requires the key to exist") => return Ok(()),
            Err(error) if error.message().contains("NOGROUP") => {
                let mut create = Cmd::new();
                create.arg("XGROUP").arg("CREATE").arg(key).arg(&self.settings.group).arg(&last);
                self.link.query::<Value>(&create).await?;
            }
            shown => drop(shown?),
        }
        if self.settings.forget {
            let mut forget = Cmd::new();
            forget.arg("XTRIM").arg(key).arg("MINID").arg(&last);
            self.link.query::<Value>(&forget).await?;
        }
        Ok(())
    }
}

fn unexpected(key: &str) -> Error {
    Error::internal(format!("Redis answered about stream \"{key}\" in a form that is not known"))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// The id of an offset.
fn id(offset: u64) -> String {
    format!("{}-{}", offset >> NUMBER_BITS, offset & ((1 << NUMBER_BITS) - 1))
}

/// The offset of an id.
fn offset(key: &str, id: &str) -> Result<u64> {
    let parts =
        id.split_once('-').and_then(|(ms, number)| Some((ms.parse::<u64>().ok()?, number.parse::<u64>().ok()?)));
    let (ms, number) = parts.ok_or_else(|| unexpected(key))?;
    if ms >> (63 - NUMBER_BITS) > 0 || number >> NUMBER_BITS > 0 {
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!(
                "Redis stream \"{key}\" has entry {id}; ids must be below {}-{}, as those that Redis gives are",
                1_u64 << (63 - NUMBER_BITS),
                1 << NUMBER_BITS
            ),
        ));
    }
    Ok(ms << NUMBER_BITS | number)
}

#[async_trait]
impl StreamSource for RedisSource {
    fn name(&self) -> &str {
        &self.reader.name
    }

    async fn partitions(&self) -> Result<Vec<Arc<str>>> {
        Ok(self.keys.keys().cloned().collect())
    }

    async fn poll(&self, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>> {
        self.reader.poll(|| self.round(positions, rows_max)).await
    }

    async fn commit(&self, positions: &Positions) -> Result<()> {
        let show = |partition, from| async move {
            match self.keys.get(partition) {
                Some(key) => self.show(key, from).await,
                None => Ok(()),
            }
        };
        tell_each(positions, show).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_offsets_are_each_other() {
        for at in ["0-1", "1764172800123-0", "1764172800123-1048575", "8796093022207-5"] {
            assert_eq!(id(offset("k", at).unwrap()), at);
        }
        assert!(offset("k", "5-1").unwrap() < offset("k", "6-0").unwrap());
        for at in ["5-1048576", "8796093022208-0"] {
            assert_eq!(offset("k", at).unwrap_err().kind(), ErrorKind::FailedPrecondition);
        }
        assert_eq!(offset("k", "x").unwrap_err().kind(), ErrorKind::Internal);
    }
}

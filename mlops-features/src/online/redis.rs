//! An online store in Redis, on one server or a cluster.
//!
//! A view's records are the fields of [`RedisOnlineSettings::shards`] hashes. A write reads the records that it
//! changes, and a script puts the new ones in the place of exactly those that were read; when another writer was
//! faster it is done again from what is there now. So nothing is lost between two writers, whatever a record holds.

use std::{collections::BTreeMap, num::NonZeroU16, sync::LazyLock, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use mlops_core::{Error, Result, Timestamp};
use redis::Script;
use serde::{Deserialize, Serialize};

use super::{EntityKey, OnlineStore, ReadKeys, ScanPage, Update, WriteBatch};
use crate::redis_link::RedisLink;

/// `KEYS`: records, watermark. `ARGV`: the watermark or nothing, then per record its key, the bytes that must be there
/// (none: no record) and the bytes to put there. Changes all or, when one is not as it must be, nothing; gives the
/// numbers of those that are not.
static SWAP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local changed = {}
        for i = 2, #ARGV, 3 do
            if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then
                changed[#changed + 1] = (i - 2) / 3
            end
        end
        if #changed > 0 then
            return changed
        end
        for i = 2, #ARGV, 3 do
            redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
        end
        if ARGV[1] ~= '' and ARGV[1] > (redis.call('GET', KEYS[2]) or '') then
            redis.call('SET', KEYS[2], ARGV[1])
        end
        return changed
        ",
    )
});

/// How Redis is used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct RedisOnlineSettings {
    /// What every key begins with, so that stores can share a server.
    pub prefix: String,
    /// Hashes that a view is spread over. In a cluster each lies on one server, so a view that is larger or busier
    /// than a server needs several. Never change it for views that have records: they would not be found.
    pub shards: NonZeroU16,
    /// Most records that one script changes; Redis does nothing else meanwhile.
    pub updates_per_script_max: usize,
    /// Times that a write is done again because another writer was faster.
    pub attempts_max: u32,
    /// Longest wait for a connection, and for an answer.
    pub timeout: Duration,
}

impl Default for RedisOnlineSettings {
    fn default() -> Self {
        Self {
            prefix: "mlops".to_owned(),
            shards: NonZeroU16::MIN,
            updates_per_script_max: 10_000,
            attempts_max: 100,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Online features in Redis.
///
/// What [`OnlineStore`] says of one moment and of all or nothing holds for reads on one server, and for writes of up to
/// [`RedisOnlineSettings::updates_per_script_max`] records of one shard; a larger write is applied in pieces, its
/// watermark last. On a cluster every hash that is read is of its own moment. Writes are as durable as the server is
/// set up to be (`appendonly`, `appendfsync`).
#[derive(Debug, Clone)]
pub struct RedisOnlineStore {
    link: RedisLink,
    settings: RedisOnlineSettings,
}

/// Some changes to one hash.
struct Piece<'a> {
    shard: u16,
    updates: Vec<&'a (EntityKey, Update)>,
}

impl RedisOnlineStore {
    /// Connects to the server at `redis://user:password@host:port/database`.
    ///
    /// # Errors
    /// `InvalidArgument` for an address that is none, `Unavailable` when the server cannot be reached,
    /// `PermissionDenied` when it refuses. Messages never repeat the address, which may hold a password.
    pub async fn connect(url: &str, settings: RedisOnlineSettings) -> Result<Self> {
        Ok(Self { link: RedisLink::server(url, settings.timeout).await?, settings })
    }

    /// Connects to the cluster that the servers at `urls` are of; one that answers is enough.
    ///
    /// # Errors
    /// As [`RedisOnlineStore::connect`].
    pub async fn connect_cluster(urls: &[&str], settings: RedisOnlineSettings) -> Result<Self> {
        Ok(Self { link: RedisLink::cluster(urls, settings.timeout).await?, settings })
    }

    /// The key of a shard's `what`. Keys of one shard have their tag in common, so they lie on one server.
    fn key(&self, table: &str, shard: u16, what: &str) -> String {
        format!("{}:{{{table}#{shard}}}:{what}", self.settings.prefix)
    }

    fn shard(&self, key: &EntityKey) -> u16 {
        let shard = crc32fast::hash(key) % u32::from(self.settings.shards.get());
        u16::try_from(shard).unwrap_or(0)
    }

    fn pieces<'a>(&self, updates: &'a [(EntityKey, Update)]) -> Vec<Piece<'a>> {
        let mut shards: BTreeMap<u16, Vec<&(EntityKey, Update)>> = BTreeMap::new();
        for update in updates {
            shards.entry(self.shard(&update.0)).or_default().push(update);
        }
        let most = self.settings.updates_per_script_max.max(1);
        let pieces = shards.into_iter().flat_map(|(shard, updates)| {
            let chunks: Vec<_> = updates.chunks(most).map(<[_]>::to_vec).collect();
            chunks.into_iter().map(move |updates| Piece { shard, updates })
        });
        pieces.collect()
    }

    /// The records of some hashes of views, each with the keys that are asked for; one round trip.
    async fn records(&self, hashes: &[(String, Vec<&EntityKey>)]) -> Result<Vec<Vec<Option<Bytes>>>> {
        let command = |(hash, keys): &(String, Vec<&EntityKey>)| {
            let mut command = redis::cmd("HMGET");
            command.arg(hash);
            for key in keys {
                command.arg(key.as_ref());
            }
            command
        };
        match &self.link {
            RedisLink::Server(_) if hashes.len() > 1 => {
                let mut pipeline = redis::pipe();
                pipeline.atomic();
                for hash in hashes {
                    pipeline.add_command(command(hash));
                }
                self.link.pipeline(&pipeline).await
            }
            // A pipeline goes to one server; commands that are sent at once go to each its own.
            _ => {
                let commands: Vec<_> = hashes.iter().map(command).collect();
                try_join_all(commands.iter().map(|command| self.link.query(command))).await
            }
        }
    }

    /// Applies `piece`, whose records are `before`, and moves the watermark.
    async fn apply(
        &self,
        table: &str,
        piece: &Piece<'_>,
        mut before: Vec<Option<Bytes>>,
        mut after: Vec<Vec<u8>>,
        watermark: Option<Timestamp>,
    ) -> Result<()> {
        let records = self.key(table, piece.shard, "records");
        let watermark = watermark.map(sortable).unwrap_or_default();
        for _ in 0..self.settings.attempts_max.max(1) {
            let mut script = SWAP.prepare_invoke();
            script.key(&records).key(self.key(table, piece.shard, "watermark")).arg(&watermark);
            for (((key, _), before), after) in piece.updates.iter().zip(&before).zip(&after) {
                script.arg(key.as_ref()).arg(before.as_deref().unwrap_or_default()).arg(after);
            }
            let changed: Vec<usize> = self.link.script(&script).await?;
            if changed.is_empty() {
                return Ok(());
            }
            let updates: Vec<_> = changed.iter().filter_map(|at| piece.updates.get(*at).copied()).collect();
            let keys = updates.iter().map(|(key, _)| key).collect();
            let now = self.records(&[(records.clone(), keys)]).await?.into_iter().flatten();
            for ((at, (_, update)), now) in changed.iter().zip(updates).zip(now) {
                let (Some(before), Some(after)) = (before.get_mut(*at), after.get_mut(*at)) else { continue };
                *after = update.apply(now.as_deref())?;
                *before = now;
            }
        }
        Err(Error::conflict(format!(
            "other writers of \"{table}\" were faster {} times in a row; write again, or raise attempts_max",
            self.settings.attempts_max
        )))
    }
}

/// Text whose order is that of the times.
fn sortable(time: Timestamp) -> String {
    format!("{:016x}", time.as_micros().cast_unsigned() ^ (1 << 63))
}

fn from_sortable(text: &str) -> Result<Timestamp> {
    let bits = u64::from_str_radix(text, 16);
    let bits = bits.map_err(|error| Error::data_loss(format!("online watermark {text:?} is damaged: {error}")))?;
    Ok(Timestamp::from_micros((bits ^ (1 << 63)).cast_signed()))
}

#[async_trait]
impl OnlineStore for RedisOnlineStore {
    async fn write(&self, batch: WriteBatch) -> Result<()> {
        let WriteBatch { table, updates, watermark } = &batch;
        let pieces = self.pieces(updates);
        let mut hashes = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            hashes.push((self.key(table, piece.shard, "records"), piece.updates.iter().map(|(key, _)| key).collect()));
        }
        let before = self.records(&hashes).await?;
        // All is computed before anything is written, so an update that fails changes nothing.
        let mut after = Vec::with_capacity(before.len());
        for (piece, before) in pieces.iter().zip(&before) {
            let apply =
                |((_, update), before): (&&(EntityKey, Update), &Option<Bytes>)| update.apply(before.as_deref());
            after.push(piece.updates.iter().zip(before).map(apply).collect::<Result<Vec<_>>>()?);
        }
        // The watermark lies with the first shard. Unless that is all there is, it moves when everything else has.
        let alone = matches!(pieces.as_slice(), [Piece { shard: 0, .. }]);
        let parts = pieces.iter().zip(before).zip(after);
        let parts =
            parts.map(|((piece, before), after)| self.apply(table, piece, before, after, watermark.filter(|_| alone)));
        try_join_all(parts).await?;
        if watermark.is_some() && !alone {
            let piece = Piece { shard: 0, updates: Vec::new() };
            self.apply(table, &piece, Vec::new(), Vec::new(), *watermark).await?;
        }
        Ok(())
    }

    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<Bytes>>>> {
        let mut hashes: BTreeMap<(usize, u16), (String, Vec<&EntityKey>)> = BTreeMap::new();
        for (view, read) in reads.iter().enumerate() {
            for key in &read.keys {
                let shard = self.shard(key);
                let hash = || (self.key(&read.table, shard, "records"), Vec::new());
                hashes.entry((view, shard)).or_insert_with(hash).1.push(key);
            }
        }
        let asked: Vec<_> = hashes.values().cloned().collect();
        let found = self.records(&asked).await?;
        let mut found: BTreeMap<_, _> = hashes.keys().copied().zip(found.into_iter().map(Vec::into_iter)).collect();
        let mut one = |view: usize, key| found.get_mut(&(view, self.shard(key))).and_then(Iterator::next).flatten();
        Ok(reads.iter().enumerate().map(|(view, read)| read.keys.iter().map(|key| one(view, key)).collect()).collect())
    }

    /// A page begins at `shard cursor`, where `HSCAN` stood.
    async fn scan(&self, table: &str, from: Option<Bytes>, records_max: usize) -> Result<ScanPage> {
        let from = from.unwrap_or_else(|| Bytes::from_static(b"0 0"));
        let wrong = || Error::invalid_argument("a scan goes on where an earlier page says");
        let parts = std::str::from_utf8(&from).ok().and_then(|text| text.split_once(' ')).ok_or_else(wrong)?;
        let (shard, cursor): (u16, u64) =
            (parts.0.parse().map_err(|_| wrong())?, parts.1.parse().map_err(|_| wrong())?);
        let mut command = redis::cmd("HSCAN");
        command.arg(self.key(table, shard, "records")).arg(cursor).arg("COUNT").arg(records_max.max(1));
        let (cursor, found): (u64, Vec<Bytes>) = self.link.query(&command).await?;
        let mut found = found.into_iter();
        let records = std::iter::from_fn(|| Some((found.next()?, found.next()?))).collect();
        let next = match cursor {
            0 => shard.checked_add(1).filter(|shard| *shard < self.settings.shards.get()).map(|shard| (shard, 0)),
            cursor => Some((shard, cursor)),
        };
        Ok(ScanPage { records, next: next.map(|(shard, cursor)| Bytes::from(format!("{shard} {cursor}"))) })
    }

    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        let mut command = redis::cmd("GET");
        command.arg(self.key(table, 0, "watermark"));
        let found: Option<String> = self.link.query(&command).await?;
        found.as_deref().map(from_sortable).transpose()
    }

    /// Nothing to do: what is written is where it will be.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_sort_as_text_and_come_back() {
        let times = [i64::MIN, -1, 0, 1, 1 << 60, i64::MAX].map(Timestamp::from_micros);
        let texts = times.map(sortable);
        assert!(texts.is_sorted());
        assert_eq!(texts.map(|text| from_sortable(&text).unwrap()), times);
    }
}

//! Hashes that need not be computed again: a file of the same device, inode, modification time and size has not
//! changed. Derived data: a missing, torn or foreign cache file is an empty cache.
//!
//! File: `mlops-dvc-stat-1\n`, then 48 bytes for each entry (device, inode, modification time in nanoseconds, size,
//! each eight bytes little endian, and the MD5), then the MD5 of all before. A file modified so shortly before it was
//! hashed that another write could leave its time unchanged is not remembered.

use std::{
    collections::{HashMap, HashSet},
    fs::Metadata,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use mlops_core::{Result, ResultExt};

use super::{
    atomic::Temporary,
    hashing::{file_md5, md5_of},
    oid::Layout,
};

const MAGIC: &[u8] = b"mlops-dvc-stat-1\n";
const ENTRY: usize = 48;
/// Most entries kept; beyond it only those used last.
const ENTRIES_MAX: usize = 4 << 20;
/// Times with fractions are exact to a tick of the kernel; times without may be rounded to two seconds.
const FINE_TICK_NS: i64 = 100_000_000;
const COARSE_TICK_NS: i64 = 2_000_000_000;

type Key = [u64; 4];

/// Hashes by what `stat` says of a file.
#[derive(Debug)]
pub(super) struct StatCache {
    path: PathBuf,
    /// The file system's own time when this cache was loaded.
    now_ns: i64,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    known: HashMap<Key, [u8; 16]>,
    used: HashSet<Key>,
    changed: bool,
}

impl StatCache {
    /// Loads the cache at `path`.
    pub(super) fn load(path: PathBuf) -> Result<Self> {
        let probe = Temporary::create(path.parent().unwrap_or(Path::new(".")))?;
        let now_ns = probe.metadata()?.as_ref().map_or(i64::MIN, modified_ns);
        let known = std::fs::read(&path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Ok(Self { path, now_ns, entries: Mutex::new(Entries { known, ..Entries::default() }) })
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash of the file that `metadata` describes, if it is known.
    pub(super) fn get(&self, metadata: &Metadata) -> Option<[u8; 16]> {
        let key = key(metadata)?;
        let mut entries = self.entries();
        let known = entries.known.get(&key).copied();
        if known.is_some() {
            entries.used.insert(key);
        }
        known
    }

    /// Remembers that the file that `metadata` describes had this hash.
    pub(super) fn record(&self, metadata: &Metadata, md5: [u8; 16]) {
        let Some(key) = key(metadata) else { return };
        let modified = modified_ns(metadata);
        let tick = if modified % 1_000_000_000 == 0 { COARSE_TICK_NS } else { FINE_TICK_NS };
        if modified.saturating_add(tick) > self.now_ns {
            return;
        }
        let mut entries = self.entries();
        entries.used.insert(key);
        entries.changed |= entries.known.insert(key, md5) != Some(md5);
    }

    /// The hash of the file at `path`, from here or from its bytes.
    pub(super) fn md5(&self, path: &Path, metadata: &Metadata, layout: Layout) -> Result<[u8; 16]> {
        if layout == Layout::Legacy {
            return file_md5(path, layout);
        }
        if let Some(known) = self.get(metadata) {
            return Ok(known);
        }
        let md5 = file_md5(path, layout)?;
        self.record(metadata, md5);
        Ok(md5)
    }

    /// Writes what is new.
    pub(super) fn save(&self) -> Result<()> {
        let mut entries = self.entries();
        if !entries.changed {
            return Ok(());
        }
        entries.changed = false;
        let Entries { known, used, .. } = &mut *entries;
        if known.len() > ENTRIES_MAX {
            known.retain(|key, _| used.contains(key));
        }
        let bytes = encode(known);
        drop(entries);
        let mut file = Temporary::create(self.path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(&bytes).map_err(|error| super::fault::io_error("cannot write", &self.path, error))?;
        file.replace(&self.path).context("remembering hashes")
    }
}

fn encode(known: &HashMap<Key, [u8; 16]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + known.len() * ENTRY + 16);
    bytes.extend_from_slice(MAGIC);
    for (key, md5) in known {
        key.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes.extend_from_slice(md5);
    }
    let sum = md5_of(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<Key, [u8; 16]>> {
    let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(16)?)?;
    if md5_of(content) != sum {
        return None;
    }
    let (entries, rest) = content.strip_prefix(MAGIC)?.as_chunks::<ENTRY>();
    let word = |entry: &[u8; ENTRY], at: usize| Some(u64::from_le_bytes(entry.get(at..at + 8)?.try_into().ok()?));
    let entry = |entry: &[u8; ENTRY]| {
        let key = [word(entry, 0)?, word(entry, 8)?, word(entry, 16)?, word(entry, 24)?];
        Some((key, entry.get(32..)?.try_into().ok()?))
    };
    if rest.is_empty() { entries.iter().map(entry).collect() } else { None }
}

#[cfg(unix)]
fn key(metadata: &Metadata) -> Option<Key> {
    use std::os::unix::fs::MetadataExt;
    let modified = modified_ns(metadata).cast_unsigned();
    Some([metadata.dev(), metadata.ino(), modified, metadata.size()])
}

#[cfg(not(unix))]
fn key(_: &Metadata) -> Option<Key> {
    None
}

#[cfg(unix)]
fn modified_ns(metadata: &Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

#[cfg(not(unix))]
fn modified_ns(_: &Metadata) -> i64 {
    i64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn only_a_file_that_rested_is_remembered_and_only_unchanged() {
        let home = tempfile::tempdir().unwrap();
        let (path, store) = (home.path().join("data"), home.path().join("hashes"));
        std::fs::write(&path, "one").unwrap();
        let cache = StatCache::load(store.clone()).unwrap();
        let fresh = std::fs::metadata(&path).unwrap();
        cache.md5(&path, &fresh, Layout::Files).unwrap();
        assert_eq!(cache.get(&fresh), None, "written a moment ago");

        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500)).unwrap();
        let rested = std::fs::metadata(&path).unwrap();
        let md5 = cache.md5(&path, &rested, Layout::Files).unwrap();
        assert_eq!(md5, md5_of(b"one"));
        cache.save().unwrap();
        let again = StatCache::load(store.clone()).unwrap();
        assert_eq!(again.get(&rested), Some(md5));
        std::fs::write(&path, "two").unwrap();
        assert_eq!(again.get(&std::fs::metadata(&path).unwrap()), None);

        let mut bytes = std::fs::read(&store).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&store, bytes).unwrap();
        assert_eq!(StatCache::load(store).unwrap().get(&rested), None, "a torn cache is empty");
    }
}

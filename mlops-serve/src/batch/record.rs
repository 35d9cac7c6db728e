//! What an output part says of itself in its footer: what it was made of, and how much of it there is.
//!
//! The entry `mlops.batch` of the file's key-value metadata is a [`Record`] as JSON. It comes and goes with the file, so
//! there is no list beside the files that could disagree with them.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    time::UNIX_EPOCH,
};

use mlops_core::{Digest, DigestBuilder, Result};
use parquet::file::{
    metadata::{KeyValue, ParquetMetaDataReader},
    reader::ChunkReader,
};
use serde::{Deserialize, Serialize};

use super::{
    fault::of_disk,
    settings::{BadRows, BatchSettings, Fingerprint},
};

/// The name of the entry.
const KEY: &str = "mlops.batch";
/// The layout that this version writes; another one is made anew.
const FORMAT: u32 = 1;
/// Bytes that are digested at a time.
const DIGEST_BYTES: usize = 1 << 18;

/// What tells an input file from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    bytes: u64,
    /// Time of the last change, nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
}

impl Mark {
    /// The mark of the file as it is now.
    ///
    /// # Errors
    /// What the disk refuses.
    pub(super) fn of(path: &Path, fingerprint: Fingerprint) -> Result<Self> {
        let refused = |error| of_disk(path, error);
        let metadata = fs::metadata(path).map_err(refused)?;
        if fingerprint == Fingerprint::SizeAndTime {
            let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let modified_ns = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
            return Ok(Self { bytes: metadata.len(), modified_ns, digest: None });
        }
        let (mut file, mut digest) = (File::open(path).map_err(refused)?, DigestBuilder::default());
        let (mut buffer, mut bytes) = (vec![0; DIGEST_BYTES], 0);
        loop {
            let read = file.read(&mut buffer).map_err(refused)?;
            let Some(some) = buffer.get(..read).filter(|some| !some.is_empty()) else { break };
            digest.update(some);
            bytes += read as u64;
        }
        Ok(Self { bytes, modified_ns: None, digest: Some(digest.finish()) })
    }
}

/// Everything that the rows of an output part depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The part's name.
    pub(super) part: String,
    pub(super) input: Mark,
    /// Digest of the model's package; a part of a model without one is never taken for made.
    pub(super) model: Option<Digest>,
    pub(super) keys: Vec<String>,
    pub(super) bad_rows: BadRows,
    pub(super) narrow_floats: bool,
    pub(super) row_group_rows: usize,
    pub(super) row_group_bytes: usize,
}

impl Origin {
    pub(super) fn new(
        part: &str,
        input: Mark,
        model: Option<Digest>,
        keys: &[String],
        settings: &BatchSettings,
    ) -> Self {
        Self {
            part: part.to_owned(),
            input,
            model,
            keys: keys.to_vec(),
            bad_rows: settings.bad_rows,
            narrow_floats: settings.narrow_floats,
            row_group_rows: settings.row_group_rows,
            row_group_bytes: settings.row_group_bytes,
        }
    }
}

/// The entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    pub(super) origin: Origin,
    pub(super) rows: u64,
    pub(super) bad_rows: u64,
}

impl Record {
    pub(super) fn new(origin: Origin, rows: u64, bad_rows: u64) -> Self {
        Self { format: FORMAT, origin, rows, bad_rows }
    }

    pub(super) fn to_entry(&self) -> KeyValue {
        KeyValue::new(KEY.to_owned(), serde_json::to_string(self).ok())
    }

    /// The record of the output part at `path`, when there is a whole one of the present format.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        Self::read(&file)
    }

    fn read<R: ChunkReader>(file: &R) -> Option<Self> {
        let metadata = ParquetMetaDataReader::new().parse_and_finish(file).ok()?;
        let metadata = metadata.file_metadata();
        let entry = metadata.key_value_metadata()?.iter().find(|entry| entry.key == KEY)?;
        let record: Self = serde_json::from_str(entry.value.as_deref()?).ok()?;
        (record.format == FORMAT && u64::try_from(metadata.num_rows()) == Ok(record.rows)).then_some(record)
    }
}

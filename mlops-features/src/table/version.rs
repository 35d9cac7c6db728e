//! Naming data: which version of a table is meant, when it was committed, what it contains.

use std::{fmt, str::FromStr};

use deltalake::{DeltaTable, logstore::commit_uri_from_version};
use mlops_core::{Digest, Error, Result, Timestamp};
use object_store::ObjectStoreExt as _;
use serde::{Deserialize, Serialize};

use super::{Table, delta_error};
use crate::definition::check_name;

/// Which data something was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataVersion {
    /// Version of the table.
    pub version: u64,
    /// Digest of what that version contains.
    pub digest: Digest,
}

/// A moment in a table's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableAt {
    /// The newest version.
    #[default]
    Latest,
    /// This version.
    Version(u64),
    /// The newest version that was committed at or before this time.
    AsOf(Timestamp),
}

/// A table and a moment in its life: `events`, `events@12`, `events@2026-01-01T00:00:00Z`.
///
/// ```
/// use mlops_features::{DataRef, TableAt};
///
/// let reference: DataRef = "events@12".parse()?;
/// assert_eq!((reference.table(), reference.at()), ("events", TableAt::Version(12)));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DataRef {
    table: String,
    at: TableAt,
}

impl DataRef {
    /// `table` at `at`.
    ///
    /// # Errors
    /// `InvalidArgument` when `table` is not a valid name.
    pub fn new(table: impl Into<String>, at: TableAt) -> Result<Self> {
        let table = table.into();
        check_name("table name", &table)?;
        Ok(Self { table, at })
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Which moment of it.
    #[must_use]
    pub fn at(&self) -> TableAt {
        self.at
    }
}

impl fmt::Display for DataRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            TableAt::Latest => f.write_str(&self.table),
            TableAt::Version(version) => write!(f, "{}@{version}", self.table),
            TableAt::AsOf(time) => write!(f, "{}@{time}", self.table),
        }
    }
}

impl FromStr for DataRef {
    type Err = Error;

    /// Reads `table`, `table@latest`, `table@<version>` or `table@<time>`, a time as [`Timestamp`] reads it.
    fn from_str(text: &str) -> Result<Self> {
        let (table, at) = match text.split_once('@') {
            None | Some((_, "latest")) => (text.split('@').next().unwrap_or(text), TableAt::Latest),
            Some((table, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                let invalid =
                    |_| Error::invalid_argument(format!("data reference {text:?} has no version after its @"));
                (table, TableAt::Version(number.parse().map_err(invalid)?))
            }
            Some((table, time)) => (table, TableAt::AsOf(time.parse()?)),
        };
        Self::new(table, at)
    }
}

impl TryFrom<String> for DataRef {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DataRef> for String {
    fn from(reference: DataRef) -> Self {
        reference.to_string()
    }
}

impl Table {
    /// The version that `at` means now, with the digest of what it contains.
    ///
    /// # Errors
    /// `NotFound` for a version that does not exist or a time before the first; `Unavailable` or `DataLoss` when the
    /// log cannot be read.
    pub async fn resolve(&self, at: TableAt) -> Result<DataVersion> {
        let version = self.version_at(at).await?;
        Ok(DataVersion { version, digest: self.digest(Some(version)).await? })
    }

    /// Checks that `data` is still what it was when it was resolved.
    ///
    /// # Errors
    /// `DataLoss` when that version contains something else now; otherwise as [`Table::resolve`].
    pub async fn verify(&self, data: &DataVersion) -> Result<()> {
        let found = self.digest(Some(data.version)).await?;
        if found == data.digest {
            return Ok(());
        }
        Err(Error::data_loss(format!(
            "table \"{}\" version {} contains {}; it was {}",
            self.name(),
            data.version,
            found.short(),
            data.digest.short()
        )))
    }

    /// The newest version that was committed at or before `time`, by the clock of those who committed, to the
    /// millisecond. Commits are taken to be in order of time.
    ///
    /// # Errors
    /// `NotFound` when the table has no version that old; otherwise as [`Table::resolve`].
    pub async fn version_as_of(&self, time: Timestamp) -> Result<u64> {
        let table = self.latest().await?;
        // The first commit may carry the time of another clock than ours, so it is asked last.
        let (mut low, mut high, mut found) = (1, table.version().unwrap_or(0), None);
        while low <= high {
            let middle = low + (high - low) / 2;
            match self.commit_time(&table, middle).await? {
                Some(committed) if committed > time => high = middle - 1,
                Some(_) => (found, low) = (Some(middle), middle + 1),
                None => low = middle + 1,
            }
        }
        if let Some(version) = found {
            return Ok(version);
        }
        match self.commit_time(&table, 0).await? {
            Some(committed) if committed <= time => Ok(0),
            _ => Err(Error::not_found(format!("table \"{}\" has no version as old as {time}", self.name()))),
        }
    }

    pub(super) async fn version_at(&self, at: TableAt) -> Result<u64> {
        match at {
            TableAt::Latest => self.version().await,
            TableAt::Version(version) => Ok(version),
            TableAt::AsOf(time) => self.version_as_of(time).await,
        }
    }

    /// When `version` was committed, by the clock of whoever did; none when its entry in the log has been cleaned up.
    ///
    /// # Errors
    /// As [`Table::resolve`].
    pub async fn committed_at(&self, version: u64) -> Result<Option<Timestamp>> {
        self.commit_time(&self.latest().await?, version).await
    }

    /// When the version after `version` was committed, before which `version` was all that there was; none while there is
    /// no later one.
    ///
    /// # Errors
    /// `FailedPrecondition` when there is one and its entry in the log has been cleaned up; otherwise as [`Table::resolve`].
    pub(crate) async fn succeeded_at(&self, version: u64) -> Result<Option<Timestamp>> {
        let table = self.latest().await?;
        let Some(next) = version.checked_add(1).filter(|next| table.version().is_some_and(|newest| *next <= newest))
        else {
            return Ok(None);
        };
        let gone = || {
            Error::failed_precondition(format!(
                "when version {next} of table \"{}\" was committed is gone from its log, so until when version {version} was \
                 the newest is not known; ask for a newer version",
                self.name()
            ))
        };
        self.commit_time(&table, next).await?.ok_or_else(gone).map(Some)
    }

    /// When `version` was committed: as its author says, or else as the storage does. None when its entry in the log
    /// has been cleaned up.
    async fn commit_time(&self, table: &DeltaTable, version: u64) -> Result<Option<Timestamp>> {
        let fail = |error| delta_error(self.name(), error);
        let log = table.log_store();
        let Some(entry) = log.read_commit_entry(version).await.map_err(fail)? else { return Ok(None) };
        if let Some(millis) = author_time(&entry) {
            return Ok(Some(Timestamp::from_millis(millis)));
        }
        let path = commit_uri_from_version(Some(version));
        let meta = log.object_store(None).head(&path).await.map_err(|error| fail(error.into()))?;
        Ok(Some(Timestamp::from_millis(meta.last_modified.timestamp_millis())))
    }
}

/// The time that a commit says it was made, in milliseconds.
fn author_time(entry: &[u8]) -> Option<i64> {
    let lines = entry.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok()).find_map(|action| {
        let info = action.get("commitInfo")?;
        info.get("inCommitTimestamp").or_else(|| info.get("timestamp"))?.as_i64()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        for text in ["events", "events@12", "events@2026-01-01T00:00:00Z"] {
            assert_eq!(text.parse::<DataRef>().unwrap().to_string(), text);
        }
        assert_eq!("events@latest".parse::<DataRef>().unwrap().at(), TableAt::Latest);
        for text in ["", "@1", "events@", "events@soon", "events@99999999999999999999", "a/b@1"] {
            assert!(text.parse::<DataRef>().is_err(), "{text}");
        }
    }
}

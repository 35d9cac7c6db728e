//! An append-only table in the Delta Lake format: versions, atomic commits, an enforced schema, readable by Spark,
//! Trino and DuckDB.
//!
//! Invariants: an acknowledged batch is in the table exactly once, whatever was killed or raced; a scan sees one
//! version; rows come back in the order in which they were committed, because ties of a point-in-time join depend on
//! it. Not here: updates, deletes, compaction.
//!
//! Data files are named `part-<commit>-<n>-<content digest>.parquet`, so the names alone give the order of commits
//! and identify the content. A writer that loses a race leaves its file behind unreferenced; Delta's `VACUUM`
//! removes such files.

mod append;
mod evolve;
mod export;
mod files;
mod rows;
mod scan;
mod schema;
mod version;

pub use append::{AppendReceipt, BATCH_ID_BYTES_MAX};
pub(crate) use append::{Appended, Commit};
pub use evolve::Compatibility;
pub(crate) use evolve::Step;
pub use export::Export;
pub(crate) use files::FileSpan;
pub use scan::Scan;
pub use version::{DataRef, DataVersion, TableAt};

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use arrow_schema::{Schema, SchemaRef};
use deltalake::{
    DeltaTable, DeltaTableBuilder, DeltaTableError, ensure_table_uri,
    kernel::{engine::arrow_conversion::TryIntoArrow, transaction::CommitProperties},
};
use mlops_core::{Clock, Digest, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::fault::is_full;

/// How a table writes and reads. Sizes bound memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct TableSettings {
    /// Most rows in one Parquet row group.
    pub row_group_rows_max: usize,
    /// Most rows in one data file; a larger batch becomes several files of one commit.
    pub file_rows_max: usize,
    /// Most bytes of a data file that a scan loads.
    pub file_bytes_max: u64,
    /// Rows of the batches that a scan yields.
    pub scan_batch_rows: usize,
    /// Data files that one scan reads ahead.
    pub scan_files_ahead: usize,
    /// Commits that an append retries after other writers were faster.
    pub commit_retries_max: usize,
    /// Commits between checkpoints of the transaction log, for tables created from now on.
    pub checkpoint_commits: u32,
    /// How far a table follows when it is opened with other columns than it has.
    pub compatibility: Compatibility,
}

impl Default for TableSettings {
    fn default() -> Self {
        Self {
            row_group_rows_max: 131_072,
            file_rows_max: 1 << 20,
            file_bytes_max: 1 << 30,
            scan_batch_rows: 65_536,
            scan_files_ahead: 2,
            commit_retries_max: 64,
            checkpoint_commits: 20,
            compatibility: Compatibility::Full,
        }
    }
}

/// A handle on one table; clones share it. Several handles and processes may append at once.
#[derive(Clone)]
pub struct Table {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    location: String,
    schema: SchemaRef,
    /// The columns that the owner of this handle knows of.
    declared: SchemaRef,
    clock: Arc<dyn Clock>,
    settings: TableSettings,
    /// The newest version this handle has seen.
    seen: RwLock<DeltaTable>,
    /// One append at a time within a handle, so that they do not race each other.
    appending: Mutex<()>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.inner.name).field("location", &self.inner.location).finish()
    }
}

impl Table {
    /// Opens the table called `name` at `location` (a directory or a URL), creating it with `schema` when there is
    /// none. A table that is there gets the columns that it lacks, as far as [`TableSettings::compatibility`] allows;
    /// batches may leave out columns that it has beyond `schema`.
    ///
    /// # Errors
    /// `FailedPrecondition` when the table exists with columns that cannot follow, saying for each why and what to do
    /// instead; `InvalidArgument` for a type that Delta Lake does not keep exactly; `Unavailable` when the location
    /// cannot be reached.
    pub async fn create_or_open(
        name: impl AsRef<str>,
        location: &str,
        schema: SchemaRef,
        clock: Arc<dyn Clock>,
        settings: TableSettings,
    ) -> Result<Self> {
        let name = name.as_ref();
        match Self::open(name, location, Arc::clone(&clock), settings.clone()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(table) => return table.evolve(&schema, settings.compatibility).await,
        }
        let url = ensure_table_uri(location).map_err(|error| delta_error(name, error))?;
        let table = DeltaTableBuilder::from_url(url).and_then(DeltaTableBuilder::build);
        let table = table.map_err(|error| delta_error(name, error))?;
        let created = table
            .create()
            .with_columns(schema::to_delta(name, &schema)?)
            .with_table_name(name)
            .with_configuration([
                ("delta.checkpointInterval", Some(settings.checkpoint_commits.max(1).to_string())),
                // Training sets name the versions they were made of: versions stay until someone decides otherwise.
                ("delta.enableExpiredLogCleanup", Some("false".to_owned())),
            ])
            // Zero retries: of two creators one wins, the other opens what the first made.
            .with_commit_properties(CommitProperties::default().with_max_retries(0))
            .await;
        if let Err(error) = created {
            tracing::debug!(table = name, %error, "table was not created here; opening it");
        }
        let compatibility = settings.compatibility;
        Self::open(name, location, clock, settings).await?.evolve(&schema, compatibility).await
    }

    /// Opens an existing table.
    ///
    /// # Errors
    /// `NotFound` when there is none, `DataLoss` when its log cannot be read, `Unavailable` when the location cannot
    /// be reached.
    pub async fn open(
        name: impl AsRef<str>,
        location: &str,
        clock: Arc<dyn Clock>,
        settings: TableSettings,
    ) -> Result<Self> {
        let name = name.as_ref();
        let local = !location.contains("://");
        if local && !std::path::Path::new(location).join("_delta_log").is_dir() {
            return Err(Error::not_found(format!("table \"{name}\" does not exist at {location}")));
        }
        let url = ensure_table_uri(location).map_err(|error| delta_error(name, error))?;
        let builder = DeltaTableBuilder::from_url(url).map_err(|error| delta_error(name, error))?;
        let table = builder.load().await.map_err(|error| delta_error(name, error))?;
        let schema = Arc::new(arrow_schema_of(name, &table)?);
        let inner = Inner {
            name: name.into(),
            location: location.to_owned(),
            declared: Arc::clone(&schema),
            schema,
            clock,
            settings,
            seen: RwLock::new(table),
            appending: Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A handle on `table`, which is this one with the columns `schema`, for an owner who knows of those of `declared`
    /// alone.
    fn declaring(&self, table: DeltaTable, schema: Schema, declared: &SchemaRef) -> Self {
        let Inner { name, location, clock, settings, .. } = self.inner.as_ref();
        let inner = Inner {
            name: Arc::clone(name),
            location: location.clone(),
            declared: Arc::clone(declared),
            schema: Arc::new(schema),
            clock: Arc::clone(clock),
            settings: settings.clone(),
            seen: RwLock::new(table),
            appending: Mutex::new(()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The directory or URL.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.inner.location
    }

    /// The columns, as scans yield them.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.inner.schema
    }

    /// The newest version.
    ///
    /// # Errors
    /// `Unavailable` or `DataLoss` when the log cannot be read.
    pub async fn version(&self) -> Result<u64> {
        Ok(self.latest().await?.version().unwrap_or(0))
    }

    /// How many rows `version` (none: the newest) has.
    ///
    /// # Errors
    /// `NotFound` for a version that does not exist, `Unavailable` or `DataLoss` when the log cannot be read.
    pub async fn num_rows(&self, version: Option<u64>) -> Result<u64> {
        let files = self.files(&self.at(version).await?)?;
        Ok(files.iter().map(|file| file.rows).sum())
    }

    /// A digest of what `version` (none: the newest) contains: its schema and the content of its files in order.
    ///
    /// # Errors
    /// As [`Table::num_rows`].
    pub async fn digest(&self, version: Option<u64>) -> Result<Digest> {
        let table = self.at(version).await?;
        let files = self.files(&table)?;
        let field = |field: &Arc<arrow_schema::Field>| format!("{}: {}\n", field.name(), field.data_type());
        let schema: String = arrow_schema_of(self.name(), &table)?.fields().iter().map(field).collect();
        let names = files.iter().map(|file| file.path.as_ref().as_bytes());
        Ok(Digest::of_parts([schema.as_bytes()].into_iter().chain(names)))
    }

    /// The newest state, remembered.
    async fn latest(&self) -> Result<DeltaTable> {
        let mut table = self.inner.seen.read().unwrap_or_else(PoisonError::into_inner).clone();
        table.update_state().await.map_err(|error| delta_error(self.name(), error))?;
        self.remember(&table);
        Ok(table)
    }

    fn remember(&self, table: &DeltaTable) {
        let mut seen = self.inner.seen.write().unwrap_or_else(PoisonError::into_inner);
        if table.version() > seen.version() {
            *seen = table.clone();
        }
    }

    /// The state at `version`.
    async fn at(&self, version: Option<u64>) -> Result<DeltaTable> {
        let latest = self.latest().await?;
        match version {
            None => Ok(latest),
            Some(version) if latest.version() == Some(version) => Ok(latest),
            Some(version) if latest.version() < Some(version) => Err(Error::not_found(format!(
                "table \"{}\" has no version {version}; the newest is {}",
                self.name(),
                latest.version().unwrap_or(0)
            ))),
            Some(version) => {
                let mut table = latest;
                table.load_version(version).await.map_err(|error| delta_error(self.name(), error))?;
                Ok(table)
            }
        }
    }
}

/// The columns of `table`'s version.
fn arrow_schema_of(name: &str, table: &DeltaTable) -> Result<Schema> {
    let state = table.snapshot().map_err(|error| delta_error(name, error))?;
    Ok(state.schema().as_ref().try_into_arrow()?)
}

/// The public error for what the Delta crate reports.
fn delta_error(table: &str, error: DeltaTableError) -> Error {
    let kind = match &error {
        error if is_full(error) => ErrorKind::ResourceExhausted,
        DeltaTableError::NotATable(_) | DeltaTableError::InvalidVersion(_) => ErrorKind::NotFound,
        DeltaTableError::InvalidTableLocation(_) => ErrorKind::InvalidArgument,
        DeltaTableError::ObjectStore { .. } => ErrorKind::Unavailable,
        DeltaTableError::VersionAlreadyExists(_) | DeltaTableError::Transaction { .. } => ErrorKind::Conflict,
        _ => ErrorKind::DataLoss,
    };
    Error::new(kind, format!("table \"{table}\": {error}")).with("table", table).with_source(error)
}

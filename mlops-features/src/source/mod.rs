//! From a [`Source`] into its table: files, database tables, streams and other tables by one call, each row once.
//!
//! Invariants: a file is one commit, whole or absent, and is known by its store and path from that commit on; the
//! position in a database table, a stream or another table is kept in the commit of the rows before it. So a run that is killed or repeated changes
//! nothing twice, and the next one goes on where it stopped. Everything passes the table's gate, so a batch that breaks
//! a rule is in quarantine and not read again. Not here: files that change; a source of files only grows.

mod files;
mod format;
mod reach;
mod refresh;
mod shape;
pub mod sql;
mod table;

pub(crate) use reach::{Reach, TableCode};
pub use refresh::RefreshReceipt;
pub use table::BatchTransformation;

use std::{fmt, sync::Arc};

use mlops_core::Result;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::shape::Wanted;
use crate::{
    definition::{Source, SourceKind},
    ingest::Ingestor,
    stream::{StreamIngestor, StreamSettings, StreamSource},
};

/// Bounds of taking a source in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceSettings {
    /// Most bytes of a file, which is held in memory and becomes one commit.
    pub file_bytes_max: u64,
    /// Most files that a source may have.
    pub files_max: usize,
    /// How database tables and streams are taken in; the event time column is the source's.
    pub stream: StreamSettings,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self { file_bytes_max: 1 << 30, files_max: 1_000_000, stream: StreamSettings::default() }
    }
}

/// What one run took in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceReceipt {
    /// Files taken in now.
    pub files: u64,
    /// Files that had been taken in before.
    pub files_known: u64,
    /// Rows that came into the table now.
    pub rows: u64,
    /// Rows that went into quarantine now.
    pub quarantined: u64,
}

/// How far a run over files is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceProgress {
    /// The source.
    pub source: Arc<str>,
    /// Files that are durable, of those that were new when the run began.
    pub files_done: usize,
    /// Files that were new when the run began.
    pub files: usize,
    /// Rows taken in so far.
    pub rows: u64,
}

type OnProgress = Arc<dyn Fn(&SourceProgress) + Send + Sync>;

/// Takes one source into its table. Made by [`crate::FeatureStore::source`].
#[derive(Clone)]
pub struct SourceIngestor {
    source: Source,
    ingestor: Ingestor,
    reach: Arc<Reach>,
    settings: SourceSettings,
    cancellation: CancellationToken,
    on_progress: Option<OnProgress>,
}

impl fmt::Debug for SourceIngestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceIngestor").field("source", &self.source).finish_non_exhaustive()
    }
}

impl SourceIngestor {
    pub(crate) fn new(source: Source, ingestor: Ingestor, reach: Arc<Reach>, settings: SourceSettings) -> Self {
        Self { source, ingestor, reach, settings, cancellation: CancellationToken::new(), on_progress: None }
    }

    /// Calls `on_progress` after every file that is durable.
    #[must_use]
    pub fn with_progress(mut self, on_progress: impl Fn(&SourceProgress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(on_progress));
        self
    }

    /// Runs over files end with `Cancelled` between two files once `cancellation` is cancelled; runs over streams end
    /// as such. What is done stays done.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: CancellationToken) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// The definition.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Takes in everything that is new: files in order of their paths, rows of a database table in order of its cursor,
    /// a stream until it ends or the run is cancelled, another table commit by commit.
    ///
    /// # Errors
    /// `InvalidArgument` naming file and column for data that does not fit the table, `DataLoss` naming a file that is
    /// cut short or not of its format, `FailedPrecondition` for a file that has another size than when it was taken in and for a
    /// connection, stream or code that the store's builder was not given, `ResourceExhausted` for a file above the bound,
    /// `Unavailable` when the place cannot be reached. Files before the one that failed are in the table, of that one
    /// nothing is.
    #[tracing::instrument(skip_all, fields(source = self.source.name()))]
    pub async fn run(&self) -> Result<SourceReceipt> {
        match self.source.kind() {
            SourceKind::Files { url, format } => self.files(url, *format).await,
            SourceKind::Sql { connection, relation, cursor } => {
                let reader = self.reach.connection(connection)?;
                let wanted = Wanted::of(&self.source, self.ingestor.table().schema());
                let place = sql::SqlPlace::new(connection, relation, cursor);
                let table = sql::SqlStream::new(self.source.name(), reader, place, wanted);
                self.stream(Arc::new(table)).await
            }
            SourceKind::Stream { stream } => self.stream(self.reach.stream(stream)?).await,
            SourceKind::Table { table, derivation } => {
                let input = self.reach.table(table)?;
                let wanted = Wanted::of(&self.source, self.ingestor.table().schema());
                let rows = table::Derived::new(self.source.name(), derivation, &input, wanted, &self.reach)?;
                self.stream(Arc::new(table::TableStream::new(self.source.name(), input, rows))).await
            }
        }
    }

    async fn stream(&self, source: Arc<dyn StreamSource>) -> Result<SourceReceipt> {
        let settings = StreamSettings { timestamp: self.source.timestamp().to_owned(), ..self.settings.stream.clone() };
        let progress = StreamIngestor::new(self.ingestor.clone(), source, settings)?.run(&self.cancellation).await?;
        Ok(SourceReceipt { rows: progress.rows, quarantined: progress.quarantined, ..SourceReceipt::default() })
    }

    fn tell(&self, files_done: usize, files: usize, rows: u64) {
        if let Some(on_progress) = &self.on_progress {
            on_progress(&SourceProgress { source: self.source.name().into(), files_done, files, rows });
        }
    }
}

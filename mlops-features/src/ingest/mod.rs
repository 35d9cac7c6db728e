//! The gate at the door: a batch enters its table whole and checked, or goes to quarantine with the reasons.
//!
//! Invariant: an acknowledged batch is durable in exactly one of the two, once. Not here: repairing rows.

mod quarantine;

pub use quarantine::{QUARANTINE_SUFFIX, RejectedBatch};
pub(crate) use quarantine::{Quarantine, payloads};

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use mlops_core::{BatchCheck, CheckFailure, CheckOutcome, Digest, Error, Fact, Result, Timestamp};

use crate::{
    metrics::{COMMITS_TOTAL, EVENT_LAG_SECONDS, Told},
    table::{BATCH_ID_BYTES_MAX, Table, TableSettings},
    time::{column, micros},
};

/// Most warnings of one batch that are logged one by one.
const WARNINGS_LOGGED_MAX: usize = 16;

/// What became of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct IngestReceipt {
    /// Newest known version of the table that holds the batch: its own, or the quarantine.
    pub version: u64,
    /// Rows that this call added to that table.
    pub rows: u64,
    /// A batch of this id was there already.
    pub duplicate: bool,
    /// The rules that the batch broke; not empty means that it is in quarantine.
    pub failures: Vec<CheckFailure>,
}

impl IngestReceipt {
    /// Whether the batch is in its table.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Appends checked batches to one table.
#[derive(Debug, Clone)]
pub struct Ingestor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    timestamps: Vec<Arc<str>>,
    checks: Vec<Arc<dyn BatchCheck>>,
    quarantine: Quarantine,
    told: Told,
}

impl Ingestor {
    pub(crate) fn new(
        table: Table,
        timestamps: Vec<Arc<str>>,
        checks: Vec<Arc<dyn BatchCheck>>,
        told: Told,
        settings: TableSettings,
    ) -> Self {
        let quarantine = Quarantine::new(table.clone(), told.clone(), settings);
        Self { inner: Arc::new(Inner { table, timestamps, checks, quarantine, told }) }
    }

    /// The table that batches go to.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.inner.table
    }

    /// Checks `batch` and appends it to the table or, when it breaks a rule, to the quarantine. Either way exactly
    /// once per id; repeating the call is safe. Rows may be in any order of time. Rules that a batch breaks and passes
    /// all the same are logged, once per id.
    ///
    /// # Errors
    /// `InvalidArgument` for null event times (with their number) or a batch that breaks the schema, and the errors
    /// of [`Table::append`] and of a check that cannot run.
    pub async fn append(&self, batch_id: &str, batch: &RecordBatch) -> Result<IngestReceipt> {
        self.append_numbered(batch_id, 1, batch).await
    }

    /// [`Ingestor::append`] of a batch that is remembered with `number` (see [`Ingestor::batch_numbers`]).
    pub(crate) async fn append_numbered(
        &self,
        batch_id: &str,
        number: i64,
        batch: &RecordBatch,
    ) -> Result<IngestReceipt> {
        self.check_times(batch)?;
        let CheckOutcome { failures, warnings } = self.outcome(batch).await?;
        if !failures.is_empty() {
            return self.reject(batch_id, number, batch, failures).await;
        }
        self.accept((batch_id, number), batch, &warnings, "accepted").await
    }

    /// For every id the number under which a batch of that id is in the table or its quarantine, if it is in either.
    pub(crate) async fn batch_numbers(&self, batch_ids: &[String]) -> Result<Vec<Option<i64>>> {
        let accepted = self.inner.table.batch_numbers(batch_ids).await?;
        let Some(quarantine) = self.inner.quarantine.existing().await? else { return Ok(accepted) };
        let rejected = quarantine.batch_numbers(batch_ids).await?;
        Ok(accepted.into_iter().zip(rejected).map(|(accepted, rejected)| accepted.or(rejected)).collect())
    }

    /// Appends a batch that passed.
    async fn accept(
        &self,
        (batch_id, number): (&str, i64),
        batch: &RecordBatch,
        warnings: &[CheckFailure],
        outcome: &'static str,
    ) -> Result<IngestReceipt> {
        let inner = &self.inner;
        let receipt = inner.table.append_numbered(batch_id, number, batch).await?;
        if receipt.duplicate {
            inner.told.rows(inner.table.name(), "duplicate", batch.num_rows() as u64);
        } else {
            self.log(batch_id, warnings);
            self.accepted(batch_id, batch, receipt.version, outcome).await?;
        }
        let failures = Vec::new();
        Ok(IngestReceipt { version: receipt.version, rows: receipt.rows, duplicate: receipt.duplicate, failures })
    }

    /// Tells of rows that are in the table now.
    pub(crate) async fn accepted(
        &self,
        batch_id: &str,
        batch: &RecordBatch,
        table_version: u64,
        outcome: &'static str,
    ) -> Result<()> {
        let Inner { table, told, timestamps, .. } = self.inner.as_ref();
        let (table, rows) = (table.name().to_owned(), batch.num_rows() as u64);
        told.rows(&table, outcome, rows);
        told.meter.count(COMMITS_TOTAL, &[("table", &table)], 1);
        if let Some(name) = timestamps.first()
            && let Some(newest) = micros(batch, name)?.into_iter().flatten().max()
        {
            told.lag(EVENT_LAG_SECONDS, "table", &table, Timestamp::from_micros(newest));
        }
        told.publish(Fact::BatchIngested { table, batch_id: batch_id.to_owned(), table_version, rows }).await;
        Ok(())
    }

    /// What is in quarantine and was not replayed, in order of rejection.
    ///
    /// # Errors
    /// The errors of reading tables.
    pub async fn rejected(&self) -> Result<Vec<RejectedBatch>> {
        let rejected = self.inner.quarantine.rejected().await?;
        let names: Vec<String> = rejected.iter().map(|batch| replay_id(&batch.batch_id)).collect();
        let replayed = self.inner.table.have_batches(&names).await?;
        let waiting = rejected.into_iter().zip(replayed).filter(|(_, replayed)| !replayed);
        Ok(waiting.map(|(batch, _)| batch).collect())
    }

    /// Takes batch `batch_id` out of quarantine, lets `mend` repair it, and appends what passes the checks, exactly
    /// once however often it is replayed. What `mend` leaves out is not appended; what still breaks a rule stays in
    /// quarantine, and the receipt names the rules. The quarantine itself keeps every row, as the record of what came.
    /// Messages of a stream that were no rows are rows of nulls, with what was sent in the column
    /// `quarantine_payload`, which `mend` takes away.
    ///
    /// # Errors
    /// `NotFound` when the quarantine has no such batch, and the errors of `mend` and of [`Ingestor::append`].
    pub async fn replay(
        &self,
        batch_id: &str,
        mend: impl FnOnce(RecordBatch) -> Result<RecordBatch>,
    ) -> Result<IngestReceipt> {
        let inner = &self.inner;
        let mended = mend(inner.quarantine.batch(batch_id).await?)?;
        self.check_times(&mended)?;
        let CheckOutcome { failures, warnings } = self.outcome(&mended).await?;
        if !failures.is_empty() {
            let version = inner.table.version().await?;
            return Ok(IngestReceipt { version, rows: 0, duplicate: false, failures });
        }
        self.accept((&replay_id(batch_id), 1), &mended, &warnings, "replayed").await
    }

    /// The quarantine table, if this handle has used it.
    #[must_use]
    pub fn quarantine_table(&self) -> Option<&Table> {
        self.inner.quarantine.used()
    }

    pub(crate) fn quarantine(&self) -> &Quarantine {
        &self.inner.quarantine
    }

    pub(crate) fn told(&self) -> &Told {
        &self.inner.told
    }

    /// The columns that must not be null.
    pub(crate) fn timestamps(&self) -> &[Arc<str>] {
        &self.inner.timestamps
    }

    fn check_times(&self, batch: &RecordBatch) -> Result<()> {
        for name in &self.inner.timestamps {
            let nulls = column(batch, name)?.null_count();
            if nulls > 0 {
                return Err(Error::invalid_argument(format!(
                    "batch for table \"{}\": column \"{name}\" is null in {nulls} of {} rows; every event needs its time",
                    self.inner.table.name(),
                    batch.num_rows()
                ))
                .with("nulls", nulls));
            }
        }
        Ok(())
    }

    /// What all checks together say.
    pub(crate) async fn outcome(&self, batch: &RecordBatch) -> Result<CheckOutcome> {
        if self.inner.checks.is_empty() {
            return Ok(CheckOutcome::default());
        }
        let (inner, batch) = (Arc::clone(&self.inner), batch.clone());
        let work = move || {
            let mut all = CheckOutcome::default();
            for check in &inner.checks {
                let CheckOutcome { failures, warnings } = check.check(&batch)?;
                all.failures.extend(failures);
                all.warnings.extend(warnings);
            }
            Ok(all)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("a batch check panicked"))?
    }

    /// Says which rules a batch broke that let it pass: the first [`WARNINGS_LOGGED_MAX`], the others by number.
    pub(crate) fn log(&self, batch_id: &str, warnings: &[CheckFailure]) {
        let table = self.inner.table.name();
        for CheckFailure { rule, column, message, rows } in warnings.iter().take(WARNINGS_LOGGED_MAX) {
            let rows = rows.len();
            tracing::warn!(table, batch_id, rule, column, rows, "a batch passed with a warning: {message}");
        }
        let more = warnings.len().saturating_sub(WARNINGS_LOGGED_MAX);
        if more > 0 {
            tracing::warn!(table, batch_id, more, "a batch passed with more warnings than are logged");
        }
    }

    async fn reject(
        &self,
        batch_id: &str,
        number: i64,
        batch: &RecordBatch,
        failures: Vec<CheckFailure>,
    ) -> Result<IngestReceipt> {
        let inner = &self.inner;
        let reasons: Vec<String> = failures.iter().map(reason).collect();
        let rows = batch.num_rows();
        let of_rows = vec![reasons.join("; "); rows];
        let rejected = inner.quarantine.rows(batch_id, batch, &of_rows, 0..rows as u64)?;
        let receipt = inner.quarantine.table().await?.append_numbered(batch_id, number, &rejected).await?;
        if !receipt.duplicate {
            self.rejected_rows(batch_id, rows as u64, reasons).await;
        }
        Ok(IngestReceipt { version: receipt.version, rows: receipt.rows, duplicate: receipt.duplicate, failures })
    }

    /// Tells of rows that are in quarantine now.
    pub(crate) async fn rejected_rows(&self, batch_id: &str, rows: u64, reasons: Vec<String>) {
        let Inner { table, told, .. } = self.inner.as_ref();
        told.rows(table.name(), "quarantined", rows);
        let (table, batch_id) = (table.name().to_owned(), batch_id.to_owned());
        told.publish(Fact::QualityFailed { table, batch_id, failures: reasons }).await;
    }
}

/// A broken rule in words.
pub(crate) fn reason(failure: &CheckFailure) -> String {
    format!("{}: {}", failure.rule, failure.message)
}

/// The id under which a rejected batch enters its table once it is mended.
fn replay_id(batch_id: &str) -> String {
    let id = format!("replay/{batch_id}");
    if id.len() <= BATCH_ID_BYTES_MAX { id } else { format!("replay/{}", Digest::of(batch_id.as_bytes())) }
}

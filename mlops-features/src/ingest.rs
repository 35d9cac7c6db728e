//! The gate at the door: a batch enters its table whole and checked, or goes to quarantine with the reasons.
//!
//! Invariant: an acknowledged batch is durable in exactly one of the two, once. Not here: repairing rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use mlops_core::{BatchCheck, CheckFailure, CheckOutcome, Clock, Error, Event, EventBus, Fact, Result};
use tokio::sync::OnceCell;

use crate::{
    table::{Table, TableSettings},
    time::column,
};

/// Suffix of a quarantine table's name.
pub const QUARANTINE_SUFFIX: &str = "__quarantine";

/// Most warnings of one batch that are logged one by one.
const WARNINGS_LOGGED_MAX: usize = 16;

const BATCH_ID: &str = "quarantine_batch_id";
const REASONS: &str = "quarantine_reasons";
const AT: &str = "quarantine_at";

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
    quarantine: OnceCell<Table>,
    clock: Arc<dyn Clock>,
    bus: Option<Arc<dyn EventBus>>,
    settings: TableSettings,
}

impl Ingestor {
    pub(crate) fn new(
        table: Table,
        timestamps: Vec<Arc<str>>,
        checks: Vec<Arc<dyn BatchCheck>>,
        clock: Arc<dyn Clock>,
        bus: Option<Arc<dyn EventBus>>,
        settings: TableSettings,
    ) -> Self {
        let quarantine = OnceCell::new();
        Self { inner: Arc::new(Inner { table, timestamps, checks, quarantine, clock, bus, settings }) }
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
        let inner = &self.inner;
        self.check_times(batch)?;
        let CheckOutcome { failures, warnings } = self.outcome(batch).await?;
        if !failures.is_empty() {
            return self.quarantine(batch_id, batch, failures).await;
        }
        let receipt = inner.table.append(batch_id, batch).await?;
        if !receipt.duplicate {
            self.log(batch_id, &warnings);
            self.publish(Fact::BatchIngested {
                table: inner.table.name().to_owned(),
                batch_id: batch_id.to_owned(),
                table_version: receipt.version,
                rows: receipt.rows,
            })
            .await;
        }
        Ok(IngestReceipt { version: receipt.version, rows: receipt.rows, duplicate: receipt.duplicate, failures })
    }

    /// The quarantine table, if this handle has used it.
    #[must_use]
    pub fn quarantine_table(&self) -> Option<&Table> {
        self.inner.quarantine.get()
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
    async fn outcome(&self, batch: &RecordBatch) -> Result<CheckOutcome> {
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
    fn log(&self, batch_id: &str, warnings: &[CheckFailure]) {
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

    async fn quarantine(
        &self,
        batch_id: &str,
        batch: &RecordBatch,
        failures: Vec<CheckFailure>,
    ) -> Result<IngestReceipt> {
        let inner = &self.inner;
        let table = inner.quarantine.get_or_try_init(|| self.open_quarantine()).await?;
        let reasons = failures.iter().map(|failure| format!("{}: {}", failure.rule, failure.message));
        let reasons: Vec<String> = reasons.collect();
        let rows = batch.num_rows();
        let now = TimestampMicrosecondArray::from_value(inner.clock.now().as_micros(), rows).with_timezone("UTC");
        let mut columns: Vec<ArrayRef> = inner
            .table
            .schema()
            .fields()
            .iter()
            .map(|field| column(batch, field.name()).cloned())
            .collect::<Result<_>>()?;
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(batch_id, rows))));
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(reasons.join("; "), rows))));
        columns.push(Arc::new(now));
        let receipt = table.append(batch_id, &RecordBatch::try_new(Arc::clone(table.schema()), columns)?).await?;
        if !receipt.duplicate {
            self.publish(Fact::QualityFailed {
                table: inner.table.name().to_owned(),
                batch_id: batch_id.to_owned(),
                failures: reasons,
            })
            .await;
        }
        Ok(IngestReceipt { version: receipt.version, rows: receipt.rows, duplicate: receipt.duplicate, failures })
    }

    async fn open_quarantine(&self) -> Result<Table> {
        let inner = &self.inner;
        let name = format!("{}{QUARANTINE_SUFFIX}", inner.table.name());
        let location = format!("{}{QUARANTINE_SUFFIX}", inner.table.location().trim_end_matches('/'));
        let schema = quarantine_schema(inner.table.schema());
        Table::create_or_open(name, &location, schema, Arc::clone(&inner.clock), inner.settings.clone()).await
    }

    /// Announces what is durable already; a bus that fails is logged and takes nothing back.
    async fn publish(&self, fact: Fact) {
        publish(self.inner.bus.as_ref(), self.inner.clock.as_ref(), fact).await;
    }
}

pub(crate) async fn publish(bus: Option<&Arc<dyn EventBus>>, clock: &dyn Clock, fact: Fact) {
    let Some(bus) = bus else { return };
    let kind = fact.kind();
    if let Err(error) = bus.publish(Event::new(clock.now(), fact)).await {
        tracing::warn!(?kind, %error, "an event was not taken by every subscriber");
    }
}

fn quarantine_schema(schema: &Schema) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields: Vec<Field> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    fields.extend([
        Field::new(BATCH_ID, DataType::Utf8, true),
        Field::new(REASONS, DataType::Utf8, true),
        Field::new(AT, time, true),
    ]);
    Arc::new(Schema::new(fields))
}

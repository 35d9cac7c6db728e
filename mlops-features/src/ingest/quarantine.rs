//! Where rows go that may not enter their table: beside it, with the reasons, until someone mends them.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    cast::AsArray,
    new_null_array,
    types::{Int64Type, TimestampMicrosecondType},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_select::{concat::concat_batches, filter::filter_record_batch};
use mlops_core::{Error, ErrorKind, Result, Timestamp};
use tokio::sync::OnceCell;

use crate::{
    metrics::Told,
    table::{Scan, Table, TableSettings},
    time::column,
};

/// Suffix of a quarantine table's name.
pub const QUARANTINE_SUFFIX: &str = "__quarantine";

const BATCH_ID: &str = "quarantine_batch_id";
const REASONS: &str = "quarantine_reasons";
const AT: &str = "quarantine_at";
/// The row's number in its batch, or its offset in its stream.
const OFFSET: &str = "quarantine_offset";
/// What was sent, of a message that is no row.
const PAYLOAD: &str = "quarantine_payload";

/// Messages that are no rows, for [`Quarantine::rows`].
pub(crate) fn payloads<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Result<RecordBatch> {
    let payloads: ArrayRef = Arc::new(BinaryArray::from_iter_values(payloads));
    Ok(RecordBatch::try_from_iter([(PAYLOAD, payloads)])?)
}

/// A batch, or rows of a stream, that did not enter its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedBatch {
    /// The producer's id of the batch; of a stream its name, partition and first offset.
    pub batch_id: String,
    /// How many rows.
    pub rows: u64,
    /// The rules that were broken, each once, in order of appearance.
    pub reasons: Vec<String>,
    /// When it was rejected.
    pub at: Timestamp,
}

/// The quarantine of one table. Its table is made when the first row is rejected.
#[derive(Debug)]
pub(crate) struct Quarantine {
    of: Table,
    told: Told,
    settings: TableSettings,
    opened: OnceCell<Table>,
}

impl Quarantine {
    pub(crate) fn new(of: Table, told: Told, settings: TableSettings) -> Self {
        Self { of, told, settings, opened: OnceCell::new() }
    }

    /// Its table if this handle has used it.
    pub(crate) fn used(&self) -> Option<&Table> {
        self.opened.get()
    }

    /// Its table, made if there is none.
    pub(crate) async fn table(&self) -> Result<&Table> {
        let open = || {
            let schema = quarantine_schema(self.of.schema());
            let (clock, settings) = (Arc::clone(&self.told.clock), self.settings.clone());
            async move { Table::create_or_open(self.name(), &self.location(), schema, clock, settings).await }
        };
        self.opened.get_or_try_init(open).await
    }

    /// Its table, none when nothing was ever rejected.
    pub(crate) async fn existing(&self) -> Result<Option<&Table>> {
        if self.opened.get().is_none() {
            let (clock, settings) = (Arc::clone(&self.told.clock), self.settings.clone());
            match Table::open(self.name(), &self.location(), clock, settings).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                other => drop(other?),
            }
        }
        self.table().await.map(Some)
    }

    fn name(&self) -> String {
        format!("{}{QUARANTINE_SUFFIX}", self.of.name())
    }

    fn location(&self) -> String {
        format!("{}{QUARANTINE_SUFFIX}", self.of.location().trim_end_matches('/'))
    }

    /// `batch` as rows of the quarantine; `reasons` and `offsets` have one entry per row.
    pub(crate) fn rows(
        &self,
        batch_id: &str,
        batch: &RecordBatch,
        reasons: &[String],
        offsets: impl IntoIterator<Item = u64>,
    ) -> Result<RecordBatch> {
        let schema = quarantine_schema(self.of.schema());
        let rows = batch.num_rows();
        let now = self.told.clock.now().as_micros();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in self.of.schema().fields() {
            columns.push(match batch.column_by_name(field.name()) {
                Some(column) => Arc::clone(column),
                None => new_null_array(field.data_type(), rows),
            });
        }
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(batch_id, rows))) as ArrayRef);
        columns.push(Arc::new(StringArray::from_iter_values(reasons)));
        columns.push(Arc::new(TimestampMicrosecondArray::from_value(now, rows).with_timezone("UTC")));
        let offsets: Int64Array = offsets.into_iter().map(|offset| i64::try_from(offset).ok()).collect();
        columns.push(Arc::new(offsets));
        columns.push(match batch.column_by_name(PAYLOAD) {
            Some(payloads) => Arc::clone(payloads),
            None => new_null_array(&DataType::Binary, rows),
        });
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// Everything that was ever rejected, in order of rejection.
    pub(crate) async fn rejected(&self) -> Result<Vec<RejectedBatch>> {
        let Some(table) = self.existing().await? else { return Ok(Vec::new()) };
        let (mut batches, mut places): (Vec<RejectedBatch>, BTreeMap<String, usize>) = (Vec::new(), BTreeMap::new());
        for rows in table.scan_all(Scan::latest().with_columns([BATCH_ID, REASONS, AT])).await? {
            let (ids, reasons) = (text(&rows, BATCH_ID)?, text(&rows, REASONS)?);
            let at = column(&rows, AT)?.as_primitive::<TimestampMicrosecondType>();
            for row in 0..rows.num_rows() {
                let id = ids.value(row);
                let place = *places.entry(id.to_owned()).or_insert_with(|| {
                    let at = Timestamp::from_micros(at.value(row));
                    batches.push(RejectedBatch { batch_id: id.to_owned(), rows: 0, reasons: Vec::new(), at });
                    batches.len() - 1
                });
                let Some(batch) = batches.get_mut(place) else { continue };
                batch.rows += 1;
                if !batch.reasons.iter().any(|known| known == reasons.value(row)) {
                    batch.reasons.push(reasons.value(row).to_owned());
                }
            }
        }
        Ok(batches)
    }

    /// The rows of batch `batch_id` as they were when they were rejected, with the columns of the table and, when there
    /// are messages that were no rows, `quarantine_payload` with what was sent.
    pub(crate) async fn batch(&self, batch_id: &str) -> Result<RecordBatch> {
        let missing =
            || Error::not_found(format!("quarantine of table \"{}\" has no batch \"{batch_id}\"", self.of.name()));
        let table = self.existing().await?.ok_or_else(missing)?;
        let mut parts = Vec::new();
        for rows in table.scan_all(Scan::latest()).await? {
            let mask: BooleanArray = text(&rows, BATCH_ID)?.iter().map(|id| Some(id == Some(batch_id))).collect();
            let rows = filter_record_batch(&rows, &mask)?;
            if rows.num_rows() > 0 {
                parts.push(rows);
            }
        }
        let first = parts.first().ok_or_else(missing)?;
        let all = concat_batches(&first.schema(), &parts)?;
        let payloads = column(&all, PAYLOAD)?;
        let payload = (payloads.null_count() < payloads.len()).then_some(PAYLOAD);
        let wanted = self.of.schema().fields().iter().map(|field| field.name().as_str()).chain(payload);
        let wanted = wanted.map(|name| all.schema_ref().index_of(name));
        Ok(all.project(&wanted.collect::<Result<Vec<_>, _>>()?)?)
    }

    /// The offsets in `from..until` whose rows are in batches named `<prefix>...`.
    pub(crate) async fn offsets(&self, prefix: &str, from: u64, until: u64) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        let Some(table) = self.existing().await? else { return Ok(found) };
        for rows in table.scan_all(Scan::latest().with_columns([BATCH_ID, OFFSET])).await? {
            let (ids, offsets) = (text(&rows, BATCH_ID)?, column(&rows, OFFSET)?.as_primitive::<Int64Type>());
            let offsets = ids.iter().zip(offsets.iter()).filter(|(id, _)| id.is_some_and(|id| id.starts_with(prefix)));
            let offsets = offsets.filter_map(|(_, offset)| u64::try_from(offset?).ok());
            found.extend(offsets.filter(|offset| (from..until).contains(offset)));
        }
        Ok(found)
    }
}

fn text<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    Ok(column(rows, name)?.as_string::<i32>())
}

fn quarantine_schema(schema: &Schema) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields: Vec<Field> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    fields.extend([
        Field::new(BATCH_ID, DataType::Utf8, true),
        Field::new(REASONS, DataType::Utf8, true),
        Field::new(AT, time, true),
        Field::new(OFFSET, DataType::Int64, true),
        Field::new(PAYLOAD, DataType::Binary, true),
    ]);
    Arc::new(Schema::new(fields))
}

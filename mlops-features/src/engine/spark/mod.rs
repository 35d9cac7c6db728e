//! Feature engineering on a cluster: any server that speaks Spark Connect.
//!
//! Invariant: the answer has the bits of [`LocalEngine`](super::LocalEngine), or there is an error. What a server would
//! change - nanoseconds, unsigned integers, keys that it compares otherwise - is refused by name, every row of an answer
//! is accounted for, and floating-point sums are never left to an order of rows that nobody chose.
//!
//! Only what is compared goes with the question: of the spine its keys, times and row numbers. The server needs the
//! sources as files that it can read under the same paths, or a [staging directory](SparkSettings::staging) that both
//! sides see, or sources small enough to travel along.
//!
//! Spoken by hand-written messages over HTTP/2 without TLS. The client crate of the Spark project is not used: its
//! build runs `protoc` and it stands on another generation of Arrow.

mod address;
mod client;
mod source;
mod sql;
mod types;
mod windows;
mod wire;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arrow_array::{Array as _, ArrayRef, Int64Array, RecordBatch, UInt32Array, cast::AsArray, types::Int64Type};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_select::{concat::concat_batches, take::take};
use async_trait::async_trait;
use mlops_core::{Error, ErrorKind, Result, ResultExt, Retry, Timestamp};
use serde::{Deserialize, Serialize};

use self::{
    address::Address,
    client::{Client, Question},
    source::{Relations, Sender, Wanted, reads_itself},
    sql::ViewSql,
    types::{carried, check_key, check_time, exactly},
    windows::Windows,
};
use super::{ComputeEngine, Latest, WindowJoin, local::blocking};
use crate::{
    join::{JoinView, PointInTimeJoin, rows::FeatureRows},
    lineage::run_id::RunIds,
    time::{Ticks, column, ticks},
};

/// Most directories of which it is kept whether the server numbers the rows of their files.
const DIRECTORIES_MAX: usize = 1_024;

/// How a [`SparkEngine`] works. Sizes bound memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SparkSettings {
    /// Most bytes of one relation that travel with a question; larger ones are staged. All of a question together get
    /// no more than a message holds.
    pub inline_bytes_max: usize,
    /// Where larger relations are written for the server to read, a directory that both sides see under this path. The
    /// files are removed after the question.
    pub staging: Option<PathBuf>,
    /// Most bytes of one message, question or part of an answer.
    pub message_bytes_max: usize,
    /// Most bytes of an answer.
    pub answer_bytes_max: usize,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// Whether a server that can may read the files of a source itself; otherwise they are sent or staged.
    pub server_reads_files: bool,
}

impl Default for SparkSettings {
    fn default() -> Self {
        Self {
            inline_bytes_max: 32 << 20,
            staging: None,
            // Spark itself takes 128 MiB.
            message_bytes_max: 128 << 20,
            answer_bytes_max: 4 << 30,
            connect_timeout: Duration::from_secs(10),
            server_reads_files: true,
        }
    }
}

/// Computes on a Spark Connect server.
///
/// ```no_run
/// # async fn example(join: mlops_features::PointInTimeJoin) -> mlops_core::Result<()> {
/// use mlops_features::{ComputeEngine, engine::spark::{SparkEngine, SparkSettings}};
///
/// let settings = SparkSettings { staging: Some("/mnt/shared/staging".into()), ..SparkSettings::default() };
/// let engine = SparkEngine::new("sc://cluster:15002/;user_id=ann", settings)?;
/// let joined = engine.join(&join).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SparkEngine {
    client: Client,
    settings: SparkSettings,
    /// Names of staged files.
    ids: Arc<RunIds>,
    /// Whether the server reads the Parquet files of a directory and knows the numbers of their rows, as it was found out.
    numbers_rows: Arc<Mutex<HashMap<String, bool>>>,
}

impl SparkEngine {
    /// The server at `address`, written as `sc://host:port/;key=value`. It is not asked before the first question.
    ///
    /// # Errors
    /// `InvalidArgument` for an address that is none.
    pub fn new(address: &str, settings: SparkSettings) -> Result<Self> {
        let client = Client::new(Address::parse(address)?, settings.connect_timeout, settings.message_bytes_max)?;
        Ok(Self { client, settings, ids: Arc::new(RunIds::random()), numbers_rows: Arc::default() })
    }

    /// The rows of `rows` in a form that the server can read, one of `of` relations of a question.
    async fn relations(
        &self,
        alias: String,
        rows: &Arc<dyn FeatureRows>,
        wanted: Wanted,
        of: usize,
    ) -> Result<Relations> {
        wanted.check(rows.schema())?;
        if self.settings.server_reads_files
            && reads_itself(rows.schema(), &wanted)
            && let Some(urls) = rows.urls().filter(|urls| !urls.is_empty())
            && self.numbers_rows(&urls).await?
        {
            return Ok(Relations::read(&alias, &urls, &wanted));
        }
        let (rows, sender) = (Arc::clone(rows), self.sender(of));
        blocking(move || sender.rows(&alias, rows.as_ref(), &wanted)).await
    }

    /// Whether the server reads these files and knows the numbers of their rows.
    async fn numbers_rows(&self, urls: &[String]) -> Result<bool> {
        let Some(url) = urls.first() else { return Ok(false) };
        let directory = url.rsplit_once('/').map_or(url.as_str(), |(directory, _)| directory);
        let known = || self.numbers_rows.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().get(directory).copied();
        if let Some(numbers) = found {
            return Ok(numbers);
        }
        let numbers = match self.client.ask(Question::probe(url), |_| Ok(())).await {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            Err(error) => {
                tracing::debug!(%error, directory, "the server does not number rows of files; sources are sent to it");
                if error.retry() != Retry::Never || error.kind() == ErrorKind::Cancelled {
                    // The next question may be answered otherwise.
                    return Ok(false);
                }
                false
            }
        };
        let mut known = known();
        if known.len() >= DIRECTORIES_MAX {
            known.clear();
        }
        known.insert(directory.to_owned(), numbers);
        Ok(numbers)
    }

    /// `spine` as a relation, one of `of`: its row numbers `r`, its times `t`, and the columns `keys` as `c0`....
    async fn spine(&self, spine: &RecordBatch, timestamp: &Arc<str>, keys: SpineKeys, of: usize) -> Result<Relations> {
        let (spine, timestamp, sender) = (spine.clone(), Arc::clone(timestamp), self.sender(of));
        blocking(move || spine_relation(&sender, &spine, &timestamp, &keys.0)).await
    }

    fn sender(&self, of: usize) -> Sender {
        // The time in the id means nothing to anyone.
        let name = self.ids.next(Timestamp::from_micros(0));
        // One share is for the query itself and for what frames the rows.
        let share = self.settings.message_bytes_max / (of + 1);
        let inline_bytes_max = self.settings.inline_bytes_max.min(share);
        Sender { name, inline_bytes_max, staging: self.settings.staging.clone() }
    }

    /// The whole answer to `sql` over `relations`.
    async fn answer(&self, sql: String, relations: &[Relations]) -> Result<Option<RecordBatch>> {
        let relations = relations.iter().flat_map(|relations| relations.named.iter().cloned()).collect();
        let (mut batches, mut bytes) = (Vec::new(), 0);
        let accept = |batch: RecordBatch| {
            bytes += batch.get_array_memory_size();
            if bytes > self.settings.answer_bytes_max {
                let most = self.settings.answer_bytes_max;
                return Err(Error::resource_exhausted(format!(
                    "an answer has more than answer_bytes_max, {most} bytes"
                )));
            }
            batches.push(batch);
            Ok(())
        };
        self.client.ask(Question { sql, relations }, accept).await?;
        let Some(schema) = batches.first().map(RecordBatch::schema) else { return Ok(None) };
        Ok(Some(concat_batches(&schema, &batches)?))
    }
}

/// Distinct columns of a spine that are compared, by number.
#[derive(Default)]
struct SpineKeys(Vec<Arc<str>>);

impl SpineKeys {
    /// The names, in the spine's relation, of `keys`.
    fn columns(&mut self, keys: &[Arc<str>]) -> Vec<String> {
        let number = |key: &Arc<str>| {
            let place = self.0.iter().position(|known| known == key).unwrap_or_else(|| {
                self.0.push(Arc::clone(key));
                self.0.len() - 1
            });
            format!("c{place}")
        };
        keys.iter().map(number).collect()
    }
}

/// `spine` as a relation of `sender`'s.
fn spine_relation(sender: &Sender, spine: &RecordBatch, timestamp: &str, keys: &[Arc<str>]) -> Result<Relations> {
    let times = column(spine, timestamp)?;
    check_time(timestamp, times.data_type())?;
    let times = ticks(timestamp, times.as_ref(), Ticks::Micros)?;
    if let Some(far) = times.iter().flatten().find(|time| time.unsigned_abs() >= 1 << 62) {
        return Err(Error::invalid_argument(format!("time {far} in column \"{timestamp}\" is too far for a server")));
    }
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let rows = Int64Array::from_iter_values((0..).take(spine.num_rows()));
    let (mut fields, mut columns) = (vec![number("r"), number("t")], Vec::<ArrayRef>::new());
    columns.extend([Arc::new(rows) as ArrayRef, Arc::new(Int64Array::from(times))]);
    for (index, key) in keys.iter().enumerate() {
        let values = column(spine, key)?;
        check_key(key, values.data_type())?;
        let data_type = carried(values.data_type()).unwrap_or_else(|| values.data_type().clone());
        columns.push(exactly(values, &data_type)?);
        fields.push(Field::new(format!("c{index}"), data_type, true));
    }
    sender.batch("asked", RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn wanted_of(view: &JoinView) -> Wanted {
    let numbered =
        |letter: char| move |(number, name): (usize, &Arc<str>)| (Arc::clone(name), format!("{letter}{number}"));
    let features = view.features.iter().map(|(from, _)| from);
    Wanted {
        timestamp: Arc::clone(&view.timestamp),
        created: view.created.clone(),
        keys: view.source_keys.iter().enumerate().map(numbered('k')).collect(),
        values: features.enumerate().map(numbered('f')).collect(),
    }
}

/// Where in an answer, whose first column is `r`, each of `rows` rows is.
///
/// # Errors
/// `DataLoss` when a row is there twice or is none of them.
fn places(answer: &RecordBatch, rows: usize) -> Result<Vec<Option<u32>>> {
    let wrong = || Error::data_loss("a spark server answered a row that was not asked for, or one twice");
    let numbers =
        answer.columns().first().and_then(|column| column.as_primitive_opt::<Int64Type>()).ok_or_else(wrong)?;
    let mut places = vec![None; rows];
    for (place, number) in (0_u32..).zip(numbers) {
        let row = number.and_then(|number| usize::try_from(number).ok()).ok_or_else(wrong)?;
        let slot = places.get_mut(row).ok_or_else(wrong)?;
        if slot.replace(place).is_some() {
            return Err(wrong());
        }
    }
    Ok(places)
}

#[async_trait]
impl ComputeEngine for SparkEngine {
    fn name(&self) -> &str {
        "spark"
    }

    async fn join(&self, join: &PointInTimeJoin) -> Result<RecordBatch> {
        let schema = join.schema()?;
        let rows = join.spine().num_rows();
        if rows == 0 {
            return Ok(RecordBatch::new_empty(schema));
        }
        let of = join.views.len() + 1;
        let (mut keys, mut relations, mut views) = (SpineKeys::default(), Vec::new(), Vec::new());
        for (number, view) in join.views.iter().enumerate() {
            let context = format!("feature view \"{}\"", view.name);
            let source =
                self.relations(format!("s{number}"), &view.rows, wanted_of(view), of).await.context(context)?;
            views.push(ViewSql {
                source: source.sql.clone(),
                spine_keys: keys.columns(&view.spine_keys),
                features: view.features.len(),
                ttl: view.ttl.map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX)),
                bound: view.bound,
            });
            relations.push(source);
        }
        let spine = self.spine(join.spine(), &join.timestamp, keys, of).await?;
        let sql = sql::point_in_time(&spine.sql, &views, join.knowledge);
        relations.push(spine);
        let answer = self.answer(sql, &relations).await?;
        drop(relations);
        blocking({
            let join = join.clone();
            move || joined(&join, &schema, answer.as_ref())
        })
        .await
    }

    async fn latest(&self, latest: &Latest) -> Result<RecordBatch> {
        let view = &latest.view;
        let source = self.relations("s0".to_owned(), &view.rows, wanted_of(view), 1).await?;
        let range = (latest.start.as_micros(), latest.end.as_micros());
        let sql = sql::latest(&source.sql, view.source_keys.len(), view.features.len(), range);
        let schema = latest.schema()?;
        let keys = view.source_keys.len();
        match self.answer(sql, &[source]).await? {
            Some(answer) => blocking(move || by_key(&schema, keys, &answer)).await,
            None => Ok(RecordBatch::new_empty(schema)),
        }
    }

    async fn windows(&self, join: &WindowJoin) -> Result<RecordBatch> {
        join.check()?;
        let windows = Windows::new(join)?;
        let mut keys = SpineKeys::default();
        let spine_keys = keys.columns(join.view.view.entity().join_keys());
        let events = self.relations("s0".to_owned(), &join.rows, windows.wanted()?, 2).await.context(join.name())?;
        let spine = self.spine(&join.spine, &join.timestamp, keys, 2).await?;
        let sql = windows.sql(&spine.sql, &spine_keys, &events.sql);
        let answer = if join.spine.num_rows() == 0 { None } else { self.answer(sql, &[events, spine]).await? };
        blocking({
            let join = join.clone();
            move || windowed(&join, answer.as_ref())
        })
        .await
    }
}

/// The windows of `join` over the lists of `answer`.
fn windowed(join: &WindowJoin, answer: Option<&RecordBatch>) -> Result<RecordBatch> {
    let rows = join.spine.num_rows();
    let (places, lists) = match answer {
        Some(answer) => (places(answer, rows)?, answer.columns().get(1..).unwrap_or_default()),
        None => (vec![None; rows], Default::default()),
    };
    let names = join.view.view.entity().join_keys();
    let compared = names.iter().map(AsRef::as_ref).chain([join.timestamp.as_ref()]);
    let compared = compared.map(|name| column(&join.spine, name)).collect::<Result<Vec<_>>>()?;
    let valid: Vec<bool> = (0..rows).map(|row| compared.iter().all(|column| column.is_valid(row))).collect();
    join.answer(Windows::new(join)?.columns(&places, &valid, lists)?)
}

/// The spine of `join` with the columns of `answer`: the row, then by view event time and features.
fn joined(join: &PointInTimeJoin, schema: &SchemaRef, answer: Option<&RecordBatch>) -> Result<RecordBatch> {
    let rows = join.spine().num_rows();
    let found = answer.map(|answer| places(answer, rows)).transpose()?.unwrap_or_default();
    if found.iter().flatten().count() != rows {
        return Err(Error::data_loss(format!(
            "a spark server answered fewer rows than the {rows} that were asked for"
        )));
    }
    let lost = || Error::data_loss("a spark server answered fewer columns than were asked for");
    let mut rest = answer.ok_or_else(lost)?.columns().iter().skip(1);
    let places = UInt32Array::from(found);
    let mut columns = join.spine().columns().to_vec();
    for view in &join.views {
        let event = rest.next().ok_or_else(lost)?;
        for _ in &view.features {
            columns.push(Arc::clone(rest.next().ok_or_else(lost)?));
        }
        columns.extend(view.event_timestamp.iter().map(|_| Arc::clone(event)));
    }
    for (column, field) in columns.iter_mut().zip(schema.fields()).skip(join.spine().num_columns()) {
        *column = take(&value(column, field)?, &places, None)?;
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The keys, event times and features of `answer`, ordered by key.
fn by_key(schema: &SchemaRef, keys: usize, answer: &RecordBatch) -> Result<RecordBatch> {
    let both = answer.columns().iter().zip(schema.fields());
    let columns = both.map(|(column, field)| value(column, field)).collect::<Result<Vec<_>>>()?;
    let of_keys = columns.get(..keys).unwrap_or_default();
    let fields = of_keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(of_keys)?;
    let mut order: Vec<u32> = (0..answer.num_rows() as u32).collect();
    order.sort_unstable_by_key(|row| rows.row(*row as usize));
    let order = UInt32Array::from(order);
    let columns = columns.iter().map(|column| take(column, &order, None)).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// A column of an answer in the type of `field`. Event times come as microseconds.
fn value(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let is_time = matches!(field.data_type(), DataType::Timestamp(_, _));
    if is_time && column.data_type() == &DataType::Int64 {
        let micros = exactly(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
        return exactly(&micros, field.data_type());
    }
    exactly(column, field.data_type())
}

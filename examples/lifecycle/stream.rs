//! The event stream that the lifecycle runs on: simulated, or any CSV or Parquet file.
//!
//! Invariant of a loaded [`Stream`]: rows are in time order, times and labels are never null, the
//! label is 0 or 1 and both occur.

use std::{path::Path, sync::Arc, time::Duration};

use arrow_array::{
    Array as _, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
    cast::AsArray as _,
    types::{Int64Type, TimestampMicrosecondType},
};
use arrow_cast::{CastOptions, cast, cast_with_options};
use arrow_schema::{DataType, Field, TimeUnit};
use arrow_select::concat::concat_batches;
use mlops::core::{Error, Result, Timestamp};

use crate::table_file;

/// Column with the row's number in the stream.
pub const EVENT_ID: &str = "event_id";
/// Column with the row's time.
pub const EVENT_TIMESTAMP: &str = "event_timestamp";
/// Column with the row's class, 0 or 1.
pub const LABEL: &str = "label";

/// A labelled, time-ordered stream of events and how to replay it.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Names the tables and the model.
    pub name: String,
    /// One sentence about where it comes from.
    pub description: String,
    /// All rows: [`EVENT_ID`], [`EVENT_TIMESTAMP`], entity keys, columns, [`LABEL`].
    pub batch: RecordBatch,
    /// Key columns, each an entity of its own.
    pub entities: Vec<String>,
    /// How long after an event its label is known.
    pub label_delay: Duration,
    /// How much of the stream is history when the first model is trained.
    pub history: Duration,
    /// Length of one period of live traffic.
    pub period: Duration,
    /// Lengths of the aggregation windows.
    pub windows: Vec<Duration>,
    /// Whether the data was made up.
    pub simulated: bool,
}

impl Stream {
    /// The times of all rows.
    pub fn times(&self) -> &TimestampMicrosecondArray {
        self.batch[EVENT_TIMESTAMP].as_primitive::<TimestampMicrosecondType>()
    }

    /// The labels of all rows.
    pub fn labels(&self) -> &Int64Array {
        self.batch[LABEL].as_primitive::<Int64Type>()
    }

    /// The first row at or after `time`.
    pub fn row_at(&self, time: Timestamp) -> usize {
        self.times().values().partition_point(|&at| at < time.as_micros())
    }

    /// Time of the first row.
    pub fn start(&self) -> Timestamp {
        Timestamp::from_micros(self.times().value(0))
    }

    /// Time just after the last row.
    pub fn end(&self) -> Timestamp {
        Timestamp::from_micros(self.times().value(self.batch.num_rows() - 1) + 1)
    }

    /// The columns a model may use: all but ids, time and label.
    pub fn raw_columns(&self) -> Vec<Arc<Field>> {
        let not_input = |name: &str| {
            [EVENT_ID, EVENT_TIMESTAMP, LABEL].contains(&name) || self.entities.iter().any(|entity| entity == name)
        };
        self.batch.schema().fields().iter().filter(|field| !not_input(field.name())).cloned().collect()
    }

    /// The numeric ones of [`Stream::raw_columns`].
    pub fn numeric_columns(&self) -> Vec<String> {
        let columns = self.raw_columns();
        columns.iter().filter(|field| field.data_type().is_numeric()).map(|field| field.name().clone()).collect()
    }
}

/// What the user says about a file.
#[derive(Debug, Clone)]
pub struct FileOptions<'a> {
    pub path: &'a Path,
    pub time: &'a str,
    pub label: &'a str,
    pub entities: &'a [String],
    pub sort: bool,
}

/// Reads a CSV or Parquet file.
pub fn load(options: &FileOptions<'_>) -> Result<Stream> {
    let (schema, batches) = table_file::read(options.path)?;
    let raw = concat_batches(&schema, &batches)?;
    if raw.num_rows() == 0 {
        return Err(Error::invalid_argument(format!(
            "{} has no rows; give a file with events",
            options.path.display()
        )));
    }
    let batch = standardize(&raw, options)?;
    let name = options.path.file_stem().map_or_else(|| "events".into(), |stem| stem.to_string_lossy());
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let rows = batch.num_rows();
    let mut stream = Stream {
        description: format!("{rows} rows of {}", options.path.display()),
        name,
        batch,
        entities: options.entities.to_vec(),
        label_delay: Duration::ZERO,
        history: Duration::ZERO,
        period: Duration::ZERO,
        windows: Vec::new(),
        simulated: false,
    };
    plan_replay(&mut stream)?;
    Ok(stream)
}

/// Fewest rows that leave something to train on and something to replay.
const ROWS_MIN: usize = 400;
/// Share of the stream's rows that is history when the first model is trained.
const HISTORY_SHARE: f64 = 0.3;
/// Rows that a period of live traffic should hold, about.
const PERIOD_ROWS: usize = 336;
/// Most periods; longer streams get longer periods.
const PERIODS_MAX: usize = 120;

/// Chooses history, period and windows from the density of the data.
fn plan_replay(stream: &mut Stream) -> Result<()> {
    let rows = stream.batch.num_rows();
    if rows < ROWS_MIN {
        return Err(Error::invalid_argument(format!(
            "the data has {rows} rows; the lifecycle needs at least {ROWS_MIN} to train and replay"
        )));
    }
    let span = stream.end().duration_since(stream.start());
    let history_row = (rows as f64 * HISTORY_SHARE) as usize;
    let history_end = Timestamp::from_micros(stream.times().value(history_row));
    stream.history = history_end.duration_since(stream.start());
    let gap = usual_gap(stream.times().values()).unwrap_or(span / u32::try_from(rows).unwrap_or(u32::MAX));
    if stream.history.is_zero() || gap.is_zero() {
        return Err(Error::invalid_argument("the times hardly differ; the lifecycle needs events spread over time"));
    }
    let live_rows = rows - history_row;
    let period_rows = PERIOD_ROWS.max(live_rows.div_ceil(PERIODS_MAX)).min(live_rows.div_ceil(4));
    stream.period = gap * u32::try_from(period_rows).unwrap_or(u32::MAX);
    let per_entity = if stream.entities.is_empty() { 1 } else { 16 };
    stream.windows = [8, 48, 336].map(|count| gap * count * per_entity).to_vec();
    Ok(())
}

/// The median time between consecutive rows; none when most rows share their time with the next.
fn usual_gap(micros: &[i64]) -> Option<Duration> {
    let mut gaps: Vec<u64> = micros.windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect();
    let middle = gaps.len() / 2;
    let (_, median, _) = gaps.select_nth_unstable(middle);
    (*median > 0).then(|| Duration::from_micros(*median))
}

fn column<'a>(batch: &'a RecordBatch, name: &str, what: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let schema = batch.schema();
        let names: Vec<_> = schema.fields().iter().take(12).map(|field| field.name().as_str()).collect();
        Error::invalid_argument(format!("the data has no column {name:?} for {what}; it has {}", names.join(", ")))
    })
}

/// Brings a file's columns to the common form, sorted by time.
fn standardize(raw: &RecordBatch, options: &FileOptions<'_>) -> Result<RecordBatch> {
    for entity in options.entities {
        column(raw, entity, "--entity")?;
    }
    let times = read_times(column(raw, options.time, "--time")?, options.time)?;
    let labels = read_labels(column(raw, options.label, "--label")?, options.label)?;
    let order = time_order(&times, options)?;
    let mut columns: Vec<(String, ArrayRef)> = vec![
        (EVENT_ID.to_owned(), Arc::new((0..raw.num_rows() as i64).collect::<Int64Array>())),
        (EVENT_TIMESTAMP.to_owned(), reorder(&times, order.as_ref())?),
    ];
    for (field, values) in raw.schema().fields().iter().zip(raw.columns()) {
        if field.name() == options.time || field.name() == options.label {
            continue;
        }
        if [EVENT_ID, EVENT_TIMESTAMP, LABEL].contains(&field.name().as_str()) {
            return Err(Error::invalid_argument(format!(
                "column {:?} has a name the lifecycle uses itself; rename it in the data",
                field.name()
            )));
        }
        let is_key = options.entities.contains(field.name());
        if let Some(values) = usable(values, is_key)? {
            columns.push((field.name().clone(), reorder(&values, order.as_ref())?));
        }
    }
    columns.push((LABEL.to_owned(), reorder(&labels, order.as_ref())?));
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))?)
}

/// The column in a type that tables, features and models all take; none for nested and exotic
/// types, which are left out.
fn usable(values: &ArrayRef, is_key: bool) -> Result<Option<ArrayRef>> {
    let target = match values.data_type() {
        DataType::Boolean => DataType::Int64,
        data_type if data_type.is_integer() => DataType::Int64,
        data_type if data_type.is_numeric() && !is_key => DataType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(_, _) => DataType::Utf8,
        other if is_key => {
            return Err(Error::invalid_argument(format!(
                "an --entity column is of type {other}; use whole numbers or text"
            )));
        }
        _ => return Ok(None),
    };
    Ok(Some(cast(values, &target)?))
}

fn reorder(values: &ArrayRef, order: Option<&UInt32Array>) -> Result<ArrayRef> {
    match order {
        None => Ok(Arc::clone(values)),
        Some(order) => Ok(arrow_select::take::take(values, order, None)?),
    }
}

fn read_times(values: &ArrayRef, name: &str) -> Result<ArrayRef> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let times = match values.data_type() {
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => cast(values, &micros)?,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => parse_times(values, name)?,
        other => {
            return Err(Error::invalid_argument(format!(
                "time column {name:?} is of type {other}; give timestamps, dates or RFC 3339 text"
            )));
        }
    };
    match times.null_count() {
        0 => Ok(times),
        nulls => Err(Error::invalid_argument(format!(
            "time column {name:?} has {nulls} missing values; fill or drop those rows"
        ))),
    }
}

fn parse_times(values: &ArrayRef, name: &str) -> Result<ArrayRef> {
    let text = cast(values, &DataType::Utf8)?;
    let parse = |(row, text): (usize, Option<&str>)| {
        let parsed = text.unwrap_or_default().parse::<Timestamp>();
        parsed.map(Timestamp::as_micros).map_err(|error| {
            Error::invalid_argument(format!("time column {name:?}, row {}: {}", row + 1, error.message()))
        })
    };
    let micros = text.as_string::<i32>().iter().enumerate().map(parse).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC")))
}

/// The order that sorts by time, when the rows are not in order already.
fn time_order(times: &ArrayRef, options: &FileOptions<'_>) -> Result<Option<UInt32Array>> {
    let micros = times.as_primitive::<TimestampMicrosecondType>().values();
    let Some(row) = micros.windows(2).position(|pair| pair[1] < pair[0]) else { return Ok(None) };
    if !options.sort {
        return Err(Error::invalid_argument(format!(
            "time column {:?} is not in order: row {} is earlier than the row before; sort the file or pass --sort",
            options.time,
            row + 2
        )));
    }
    let mut order: Vec<u32> = (0..micros.len() as u32).collect();
    order.sort_by_key(|&row| micros[row as usize]);
    Ok(Some(order.into()))
}

/// 0 for the smaller of two values, 1 for the larger.
fn read_labels(values: &ArrayRef, name: &str) -> Result<ArrayRef> {
    if values.null_count() > 0 {
        return Err(Error::invalid_argument(format!(
            "label column {name:?} has {} missing values; drop those rows",
            values.null_count()
        )));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let text = cast_with_options(values, &DataType::Utf8, &strict)?;
    let text: &StringArray = text.as_string::<i32>();
    let mut classes: Vec<&str> = Vec::new();
    for value in text.iter().flatten() {
        if !classes.contains(&value) {
            classes.push(value);
            if classes.len() > 2 {
                return Err(Error::invalid_argument(format!(
                    "label column {name:?} has more than two classes; the lifecycle predicts one of two"
                )));
            }
        }
    }
    let [a, b] = classes.as_slice() else {
        return Err(Error::invalid_argument(format!(
            "label column {name:?} has one class only; a classifier needs examples of both"
        )));
    };
    let by_number = a.parse::<f64>().ok().zip(b.parse::<f64>().ok()).map(|(a, b)| a < b);
    let one = if by_number.unwrap_or(a < b) { *b } else { *a };
    Ok(Arc::new(text.iter().flatten().map(|value| i64::from(value == one)).collect::<Int64Array>()))
}

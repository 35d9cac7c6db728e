//! From a body to a batch of labels.
//!
//! Invariant: what comes out is what [`LabelBatch`](mlops_core::LabelBatch) promises: one type of labels, no nulls, each
//! row of a request once. Everything else is refused by its place in the list, before any label is taken.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use mlops_core::{Error, Result, Timestamp};
use serde::Deserialize;
use serde_json::{Number, Value};

/// Longest request id, bytes.
const ID_BYTES_MAX: usize = 1024;
/// How far the clock of a client may be ahead; a label of the far future would never be corrected.
const AHEAD_MAX: Duration = Duration::from_secs(300);
/// Whole numbers up to here have a floating-point number of their own.
const EXACT_MAX: u64 = 1 << 53;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Feedback {
    labels: Vec<Label>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    id: String,
    #[serde(default)]
    row: u32,
    label: Value,
    #[serde(default)]
    time: Option<Time>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Time {
    Micros(i64),
    Text(String),
}

/// The labels of a request, and how many of its entries were repetitions.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) labels: RecordBatch,
    pub(super) repeated: u64,
}

/// Reads and checks a body.
///
/// # Errors
/// `InvalidArgument` naming the entry that is wrong.
pub(super) fn read(body: &[u8], now: Timestamp, labels_max: usize) -> Result<Read> {
    let Feedback { labels } = serde_json::from_slice(body)
        .map_err(|error| Error::invalid_argument(format!("the request is no feedback: {error}")))?;
    if labels.is_empty() || labels.len() > labels_max {
        let found = labels.len();
        return Err(Error::invalid_argument(format!("the request has {found} labels; 1 to {labels_max} are allowed")));
    }
    let count = labels.len();
    let labels = once_each(labels)?;
    let repeated = (count - labels.len()) as u64;
    let times =
        labels.iter().map(|(place, label)| time(*place, label.time.as_ref(), now)).collect::<Result<Vec<_>>>()?;
    let ids = StringArray::from_iter_values(labels.iter().map(|(_, label)| &label.id));
    let rows = Int64Array::from_iter_values(labels.iter().map(|(_, label)| i64::from(label.row)));
    let columns: [(&str, ArrayRef); 4] = [
        ("request_id", Arc::new(ids)),
        ("row", Arc::new(rows)),
        ("label", values(&labels)?),
        ("labeled_at", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
    ];
    Ok(Read { labels: RecordBatch::try_from_iter(columns)?, repeated })
}

fn wrong(place: usize, text: impl std::fmt::Display) -> Error {
    Error::invalid_argument(format!("labels[{place}]: {text}"))
}

/// The labels with their places, those that are there twice once.
fn once_each(labels: Vec<Label>) -> Result<Vec<(usize, Label)>> {
    let mut seen: HashMap<(String, u32), usize> = HashMap::with_capacity(labels.len());
    let mut kept: Vec<(usize, Label)> = Vec::with_capacity(labels.len());
    for (place, label) in labels.into_iter().enumerate() {
        if label.id.is_empty() || label.id.len() > ID_BYTES_MAX {
            return Err(wrong(place, format!("id must have 1 to {ID_BYTES_MAX} bytes")));
        }
        let earlier = seen.get(&(label.id.clone(), label.row)).and_then(|index| kept.get(*index));
        match earlier {
            None => {
                seen.insert((label.id.clone(), label.row), kept.len());
                kept.push((place, label));
            }
            Some((_, same)) if *same == label => {}
            Some((first, _)) => return Err(wrong(place, format!("contradicts labels[{first}] about the same row"))),
        }
    }
    Ok(kept)
}

fn time(place: usize, time: Option<&Time>, now: Timestamp) -> Result<i64> {
    let at = match time {
        None => now,
        Some(Time::Micros(micros)) => Timestamp::from_micros(*micros),
        Some(Time::Text(text)) => {
            text.parse().map_err(|_| wrong(place, "time must be RFC 3339 or microseconds since 1970"))?
        }
    };
    if at > now + AHEAD_MAX {
        return Err(wrong(place, format!("time {at} has not come yet")));
    }
    Ok(at.as_micros())
}

/// The labels as one column: booleans, text, whole numbers, or numbers of any kind.
fn values(labels: &[(usize, Label)]) -> Result<ArrayRef> {
    let each = || labels.iter().map(|(place, label)| (*place, &label.label));
    Ok(match labels.first().map(|(_, label)| &label.label) {
        Some(Value::Bool(_)) => Arc::new(BooleanArray::from(all(each(), "a boolean", Value::as_bool)?)),
        Some(Value::String(_)) => Arc::new(StringArray::from(all(each(), "text", Value::as_str)?)),
        Some(Value::Number(_)) => {
            let numbers = all(each(), "a number", |value| value.as_number().cloned())?;
            match numbers.iter().map(Number::as_i64).collect::<Option<Vec<_>>>() {
                Some(whole) => Arc::new(Int64Array::from(whole)),
                None => Arc::new(Float64Array::from(all(each(), "a number that a double holds exactly", exact)?)),
            }
        }
        _ => {
            let place = labels.first().map_or(0, |(place, _)| *place);
            return Err(wrong(place, "label must be a boolean, a number or text"));
        }
    })
}

fn all<'a, T>(
    labels: impl Iterator<Item = (usize, &'a Value)>,
    kind: &str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Vec<T>> {
    labels
        .map(|(place, value)| read(value).ok_or_else(|| wrong(place, format!("label must be {kind}, as the first is"))))
        .collect()
}

fn exact(value: &Value) -> Option<f64> {
    let whole = value.as_i64().map(i64::unsigned_abs).or_else(|| value.as_u64());
    value.as_f64().filter(|_| whole.is_none_or(|whole| whole <= EXACT_MAX))
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array as _, cast::AsArray as _, types::TimestampMicrosecondType};
    use arrow_schema::DataType;

    use super::*;

    fn now() -> Timestamp {
        "2026-05-05T12:00:00Z".parse().unwrap()
    }

    fn refused(body: &str, text: &str) {
        let error = read(body.as_bytes(), now(), 3).unwrap_err();
        assert!(error.message().contains(text), "{body}: {error}");
    }

    fn column(labels: &str) -> ArrayRef {
        let entries: Vec<String> = labels
            .split(',')
            .enumerate()
            .map(|(row, label)| format!(r#"{{"id":"a","row":{row},"label":{label}}}"#))
            .collect();
        let body = format!(r#"{{"labels":[{}]}}"#, entries.join(","));
        Arc::clone(&read(body.as_bytes(), now(), 9).unwrap().labels["label"])
    }

    #[test]
    fn labels_of_one_kind_make_a_column() {
        assert_eq!(column("true,false").data_type(), &DataType::Boolean);
        assert_eq!(column("1,0,9007199254740993").data_type(), &DataType::Int64);
        assert_eq!(column("1,0.5").as_primitive::<arrow_array::types::Float64Type>().values(), &[1.0, 0.5]);
        assert_eq!(column(r#""fraud","ok""#).as_string::<i32>().value(1), "ok");
    }

    #[test]
    fn times_are_read_and_default_to_now() {
        let body = r#"{"labels":[{"id":"a","label":1,"time":"2026-05-01T00:00:00Z"},{"id":"b","label":1,"time":5},
                       {"id":"c","label":1}]}"#;
        let labels = read(body.as_bytes(), now(), 3).unwrap().labels;
        let times = labels["labeled_at"].as_primitive::<TimestampMicrosecondType>();
        assert_eq!((times.value(0), times.value(1)), (1_777_593_600_000_000, 5));
        assert_eq!((times.value(2), times.null_count()), (now().as_micros(), 0));
    }

    #[test]
    fn repetitions_are_counted_and_contradictions_refused() {
        let twice = r#"{"labels":[{"id":"a","label":1},{"id":"a","row":0,"label":1},{"id":"a","row":1,"label":1}]}"#;
        let Read { labels, repeated } = read(twice.as_bytes(), now(), 3).unwrap();
        assert_eq!((labels.num_rows(), repeated), (2, 1));
        refused(r#"{"labels":[{"id":"a","label":1},{"id":"a","label":0}]}"#, "labels[1]: contradicts labels[0]");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        refused("[]", "no feedback");
        refused(r#"{"labels":[]}"#, "0 labels; 1 to 3");
        refused(r#"{"labels":[{"id":"a","label":1,"when":2}]}"#, "unknown field `when`");
        refused(r#"{"labels":[{"id":"","label":1}]}"#, "labels[0]: id must have");
        refused(r#"{"labels":[{"id":"a","row":-1,"label":1}]}"#, "no feedback");
        refused(r#"{"labels":[{"id":"a","label":null}]}"#, "labels[0]: label must be a boolean");
        refused(r#"{"labels":[{"id":"a","label":1},{"id":"b","label":"x"}]}"#, "labels[1]: label must be a number");
        refused(
            r#"{"labels":[{"id":"a","label":0.5},{"id":"b","label":9007199254740993}]}"#,
            "labels[1]: label must be",
        );
        refused(r#"{"labels":[{"id":"a","label":1,"time":"soon"}]}"#, "labels[0]: time must be RFC 3339");
        refused(r#"{"labels":[{"id":"a","label":1,"time":"2026-05-05T12:06:00Z"}]}"#, "has not come yet");
    }
}

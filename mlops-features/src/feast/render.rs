//! The answer to `POST /get-online-features`, written straight from columns: one element of `results` per name.

use arrow_array::{Array, ArrayRef, RecordBatch};
use mlops_core::{Error, Result, Timestamp};

use super::convert::write_column;
use crate::{FeatureStatus, OnlineFeatures};

/// The event timestamp of what has none, 1970-01-01T00:00:00Z.
const EPOCH: Timestamp = Timestamp::from_micros(0);

/// What features share their timestamps by.
type Source = Option<(usize, bool)>;

/// How often each status occurs in an answer.
pub(super) type StatusCounts = [(FeatureStatus, u64); 4];

/// The name of `status` on the wire.
pub(super) fn status_name(status: FeatureStatus) -> &'static str {
    match status {
        FeatureStatus::Present => "PRESENT",
        FeatureStatus::NullValue => "NULL_VALUE",
        FeatureStatus::NotFound => "NOT_FOUND",
        FeatureStatus::OutsideMaxAge => "OUTSIDE_MAX_AGE",
    }
}

/// The JSON text, join keys first and the columns `behind` last, and the statuses of the features.
pub(super) fn render(
    entities: &RecordBatch,
    names: &[String],
    found: &OnlineFeatures,
    behind: &[(&str, ArrayRef)],
) -> Result<(Vec<u8>, StatusCounts)> {
    let rows = entities.num_rows();
    let mut out = Vec::with_capacity(128 + 48 * rows * (names.len() + entities.num_columns()));
    let mut counts =
        [FeatureStatus::Present, FeatureStatus::NullValue, FeatureStatus::NotFound, FeatureStatus::OutsideMaxAge]
            .map(|status| (status, 0));
    out.extend(b"{\"results\":[");
    let never = times((0..rows).map(|_| EPOCH));
    for key in entities.columns() {
        let status = |row| if key.is_null(row) { FeatureStatus::NullValue } else { FeatureStatus::Present };
        write_result(key.as_ref(), (0..rows).map(status), &never, &mut out)?;
    }
    // Features of one source share their timestamps.
    let mut known: Vec<(Source, Vec<u8>)> = Vec::new();
    for (feature, column) in found.columns().iter().enumerate() {
        let source = found.source(feature);
        let at = known.iter().position(|(known, _)| *known == source).unwrap_or_else(|| {
            let time = |row| found.event_timestamp(feature, row).unwrap_or(EPOCH);
            known.push((source, times((0..rows).map(time))));
            known.len() - 1
        });
        let times = known.get(at).map(|(_, times)| times.as_slice()).unwrap_or_default();
        let statuses = (0..rows).map(|row| found.status(feature, row)).inspect(|status| {
            counts.iter_mut().filter(|(counted, _)| counted == status).for_each(|(_, count)| *count += 1);
        });
        write_result(column.as_ref(), statuses, times, &mut out)?;
    }
    for (_, column) in behind {
        write_result(column.as_ref(), (0..rows).map(|_| FeatureStatus::Present), &never, &mut out)?;
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.extend(b"],\"metadata\":{\"feature_names\":");
    let keys = entities.schema_ref().fields().iter().map(|field| field.name().as_str());
    let names: Vec<&str> =
        keys.chain(names.iter().map(String::as_str)).chain(behind.iter().map(|(name, _)| *name)).collect();
    let fail = |error| Error::internal("names cannot be written as json").with_source(error);
    serde_json::to_writer(&mut out, &names).map_err(fail)?;
    out.extend(b"}}");
    Ok((out, counts))
}

/// One element of `results` and a comma.
fn write_result(
    column: &dyn Array,
    statuses: impl Iterator<Item = FeatureStatus>,
    times: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    out.extend(b"{\"values\":");
    write_column(column, out)?;
    out.extend(b",\"statuses\":");
    write_texts(statuses.map(status_name), out);
    out.extend(b",\"event_timestamps\":");
    out.extend(times);
    out.extend(b"},");
    Ok(())
}

fn times(times: impl Iterator<Item = Timestamp>) -> Vec<u8> {
    let mut out = Vec::new();
    write_texts(times.map(|time| time.to_string()), &mut out);
    out
}

/// A JSON array of texts that need no escapes.
fn write_texts(texts: impl Iterator<Item = impl AsRef<str>>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, text) in texts.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend(text.as_ref().as_bytes());
        out.push(b'"');
    }
    out.push(b']');
}

//! From messages to rows. A message that is no row never stops the stream: it is told apart from its neighbours and
//! goes into the quarantine as it came.

use std::{fmt, sync::Arc};

use arrow_array::RecordBatch;
use arrow_json::ReaderBuilder;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use bytes::Bytes;
use mlops_core::{Error, Result};

use super::{StreamBatch, Unreadable};

/// Makes rows of messages, one of each.
pub trait MessageDecoder: fmt::Debug + Send + Sync + 'static {
    /// The columns of the rows.
    fn schema(&self) -> &SchemaRef;

    /// The rows of `messages`, in order.
    ///
    /// # Errors
    /// Any, when one of them is no row; which one is found out by asking again for fewer.
    fn decode(&self, messages: &[Bytes]) -> Result<RecordBatch>;
}

/// Messages that are JSON objects with a member per column. Members that are no columns are ignored, columns that are
/// no members are null. Times are RFC 3339 texts, or numbers in the unit of their column.
#[derive(Debug, Clone)]
pub struct JsonMessages {
    schema: SchemaRef,
}

impl JsonMessages {
    /// Messages of rows with these columns.
    #[must_use]
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl MessageDecoder for JsonMessages {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&self, messages: &[Bytes]) -> Result<RecordBatch> {
        let builder = ReaderBuilder::new(Arc::clone(&self.schema)).with_batch_size(messages.len() + 1);
        let mut decoder = builder.build_decoder()?;
        for (number, message) in messages.iter().enumerate() {
            let read = decoder.decode(message)?;
            if read < message.len() || decoder.has_partial_record() || decoder.len() != number + 1 {
                return Err(Error::invalid_argument("a message must be one JSON object"));
            }
        }
        Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.schema))))
    }
}

/// An offset and its message, or what there is instead of one and why.
pub(super) type Entry = (u64, Result<Bytes, (Bytes, String)>);

/// What came from one partition, as rows where it can be. `messages` ascend by offset; those that are errors are why
/// there is no payload to decode, with what there is.
pub(super) fn batch(partition: &Arc<str>, decoder: &dyn MessageDecoder, messages: Vec<Entry>) -> Result<StreamBatch> {
    let (mut offsets, mut payloads, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for (offset, payload) in messages {
        match payload {
            Ok(payload) => {
                offsets.push(offset);
                payloads.push(payload);
            }
            Err((payload, reason)) => unreadable.push(Unreadable { offset, payload, reason }),
        }
    }
    let mut rows = Rows { decoder, parts: Vec::new(), offsets: Vec::new(), unreadable };
    rows.add(&offsets, &payloads);
    rows.unreadable.sort_by_key(|message| message.offset);
    let records = concat_batches(decoder.schema(), &rows.parts)?;
    Ok(StreamBatch { partition: Arc::clone(partition), offsets: rows.offsets, records, unreadable: rows.unreadable })
}

/// Rows so far.
struct Rows<'a> {
    decoder: &'a dyn MessageDecoder,
    parts: Vec<RecordBatch>,
    offsets: Vec<u64>,
    unreadable: Vec<Unreadable>,
}

impl Rows<'_> {
    /// Adds all at once where it goes, else each half by itself: few bad messages cost few tries.
    fn add(&mut self, offsets: &[u64], payloads: &[Bytes]) {
        if payloads.is_empty() {
            return;
        }
        let decoded = self.decoder.decode(payloads).and_then(|rows| {
            let (found, wanted) = (rows.num_rows(), payloads.len());
            let fits = found == wanted && rows.schema_ref() == self.decoder.schema();
            let wrong = || Error::internal(format!("{wanted} messages became {found} rows, or other columns"));
            if fits { Ok(rows) } else { Err(wrong()) }
        });
        match (decoded, offsets, payloads) {
            (Ok(rows), ..) => {
                self.parts.push(rows);
                self.offsets.extend(offsets);
            }
            (Err(error), [offset], [payload]) => {
                let (payload, reason) = (payload.clone(), format!("no row: {}", error.message()));
                self.unreadable.push(Unreadable { offset: *offset, payload, reason });
            }
            (Err(_), ..) => {
                let half = payloads.len() / 2;
                let ((offsets, more), (payloads, rest)) = (offsets.split_at(half), payloads.split_at(half));
                self.add(offsets, payloads);
                self.add(more, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{cast::AsArray, types::Int64Type};
    use arrow_schema::{DataType, Field, Schema, TimeUnit};

    use super::*;

    fn decoder() -> JsonMessages {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fields = vec![Field::new("number", DataType::Int64, false), Field::new("at", time, true)];
        JsonMessages::new(Arc::new(Schema::new(fields)))
    }

    fn decode(messages: &[&'static str]) -> StreamBatch {
        let messages = messages.iter().zip(10..).map(|(text, offset)| (offset, Ok(Bytes::from(*text)))).collect();
        batch(&"0".into(), &decoder(), messages).unwrap()
    }

    #[test]
    fn bad_messages_are_set_aside_and_their_neighbours_kept() {
        let found = decode(&[
            r#"{"number": 1, "at": "1970-01-01T00:00:01Z", "other": [1]}"#,
            "",
            r#"{"number": 2}{"number": 3}"#,
            r#"{"number": "two"}"#,
            r#"{"at": 5}"#,
            "12",
            r#"{"number": 9007199254740993, "at": 5}"#,
            r#"{"number": 7"#,
            r#"["a"]"#,
        ]);
        assert_eq!(found.offsets, [10, 16]);
        assert_eq!(found.records.column(0).as_primitive::<Int64Type>().values(), &[1, 9_007_199_254_740_993]);
        let bad: Vec<u64> = found.unreadable.iter().map(|message| message.offset).collect();
        assert_eq!(bad, [11, 12, 13, 14, 15, 17, 18]);
        assert!(found.unreadable.iter().all(|message| message.reason.starts_with("no row: ")));
        assert_eq!(found.unreadable[1].payload.as_ref(), br#"{"number": 2}{"number": 3}"#);
    }

    #[test]
    fn no_messages_are_no_rows() {
        let found = decode(&[]);
        assert_eq!((found.records.num_rows(), found.unreadable.len()), (0, 0));
    }
}

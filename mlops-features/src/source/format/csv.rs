//! Comma-separated values with a header line. An empty value is null; columns are found by name. Every line ends, the last one
//! too.

use std::{io::Cursor, sync::Arc};

use arrow_array::RecordBatch;
use arrow_csv::{ReaderBuilder, reader::Format};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use mlops_core::{Error, Result};

use super::{BATCH_ROWS, collect, damaged};
use crate::{definition::FileFormat, source::shape::Wanted};

/// Everything is read as text and made what the table wants by [`Wanted::shape`], which names column and row.
pub(super) fn decode(bytes: &Bytes, wanted: &Wanted) -> Result<RecordBatch> {
    // A file that was cut inside its last value looks like one that has a shorter value there.
    if bytes.last().is_some_and(|last| *last != b'\n') {
        return Err(Error::data_loss(
            "its last line does not end, so it may be cut short; none of its rows was taken: end the file with a newline",
        ));
    }
    let damage = |error| damaged(FileFormat::Csv, error);
    let header = Format::default().with_header(true);
    let (inferred, _) = header.infer_schema(Cursor::new(bytes), Some(0)).map_err(damage)?;
    let texts = inferred.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true));
    let schema = Arc::new(Schema::new(texts.collect::<Vec<_>>()));
    wanted.shape(&RecordBatch::new_empty(Arc::clone(&schema)), true)?;
    let fields = schema.fields().iter().enumerate();
    let columns = fields.filter(|(_, field)| wanted.wants(field.name())).map(|(index, _)| index).collect();
    let reader = ReaderBuilder::new(schema).with_header(true).with_batch_size(BATCH_ROWS).with_projection(columns);
    collect(reader.build_buffered(Cursor::new(bytes)).map_err(damage)?, wanted, FileFormat::Csv, true)
}

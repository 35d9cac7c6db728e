//! Avro object container files.

use std::io::Cursor;

use arrow_array::RecordBatch;
use arrow_avro::reader::ReaderBuilder;
use bytes::Bytes;
use mlops_core::Result;

use super::{BATCH_ROWS, collect, damaged};
use crate::{definition::FileFormat, source::shape::Wanted};

pub(super) fn decode(bytes: &Bytes, wanted: &Wanted) -> Result<RecordBatch> {
    let reader = ReaderBuilder::new().with_batch_size(BATCH_ROWS).build(Cursor::new(bytes));
    let reader = reader.map_err(|error| damaged(FileFormat::Avro, error))?;
    wanted.shape(&RecordBatch::new_empty(reader.schema()), false)?;
    collect(reader, wanted, FileFormat::Avro, false)
}

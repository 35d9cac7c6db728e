//! Bytes of a file as rows of a table, or why they are none. A file is decoded whole before any of it is used.

#[cfg(feature = "avro")]
mod avro;
mod csv;
mod json_lines;
mod parquet;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use bytes::Bytes;
use mlops_core::{Error, Result};

use super::shape::Wanted;
use crate::definition::FileFormat;

/// Rows that a reader decodes at once.
const BATCH_ROWS: usize = 65_536;

pub(super) fn decode(format: FileFormat, bytes: &Bytes, wanted: &Wanted) -> Result<RecordBatch> {
    match format {
        FileFormat::Parquet => parquet::decode(bytes, wanted),
        FileFormat::Csv => csv::decode(bytes, wanted),
        FileFormat::JsonLines => json_lines::decode(bytes, wanted),
        #[cfg(feature = "avro")]
        FileFormat::Avro => avro::decode(bytes, wanted),
        #[cfg(not(feature = "avro"))]
        FileFormat::Avro => Err(Error::unimplemented("this build does not read avro; turn on the feature `avro`")),
    }
}

/// What was decoded by `batches`, shaped as the table wants it.
fn collect(
    batches: impl Iterator<Item = std::result::Result<RecordBatch, ArrowError>>,
    wanted: &Wanted,
    format: FileFormat,
    is_text: bool,
) -> Result<RecordBatch> {
    let mut parts = Vec::new();
    for batch in batches {
        parts.push(wanted.shape(&batch.map_err(|error| damaged(format, error))?, is_text)?);
    }
    super::shape::one(&parts, &wanted.schema)
}

fn damaged(format: FileFormat, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::data_loss(format!("it is cut short or not {format}; none of its rows was taken")).with_source(error)
}

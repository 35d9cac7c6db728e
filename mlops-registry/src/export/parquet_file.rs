//! A table as a Parquet file.
//!
//! Invariant: memory holds one batch and one row group; encoding happens on a thread that may block.

use std::io::Write;

use mlops_core::{Error, Result};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde::{Deserialize, Serialize};

use super::batches::BatchSource;

/// How to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParquetOptions {
    /// Rows of a row group, from 1. Default 131,072.
    pub group_rows: usize,
    /// Level of Zstandard compression, from 1 to 22. Default 3.
    pub compression_level: i32,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self { group_rows: 1 << 17, compression_level: 3 }
    }
}

/// Writes a table and gives the number of its rows. The file is usable only when this succeeds.
///
/// # Errors
/// `InvalidArgument` for options out of range, `Unavailable` when the writer fails, otherwise the errors of the table.
pub async fn write_parquet<W: Write + Send + 'static>(
    table: &mut dyn BatchSource,
    writer: W,
    options: &ParquetOptions,
) -> Result<u64> {
    if options.group_rows == 0 {
        return Err(Error::invalid_argument("group_rows is 0; it must be 1 or more"));
    }
    let level = ZstdLevel::try_new(options.compression_level).map_err(|error| {
        let level = options.compression_level;
        Error::invalid_argument(format!("compression_level is {level}; it must be from 1 to 22")).with_source(error)
    })?;
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(options.group_rows))
        .set_compression(Compression::ZSTD(level))
        .build();
    let mut file = ArrowWriter::try_new(writer, table.schema(), Some(properties)).map_err(failed)?;
    let mut rows = 0;
    while let Some(batch) = table.next().await? {
        rows += batch.num_rows() as u64;
        file = apart(move || {
            file.write(&batch).map_err(failed)?;
            Ok(file)
        })
        .await?;
    }
    apart(move || file.close().map_err(failed)).await?;
    Ok(rows)
}

fn failed(error: parquet::errors::ParquetError) -> Error {
    Error::unavailable(format!("the Parquet file cannot be written: {error}")).with_source(error)
}

async fn apart<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(job).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::internal("writing a Parquet file ended early").with_source(error)),
    }
}

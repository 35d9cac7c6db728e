//! Apache Parquet.

use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;
use mlops_core::Result;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::{BATCH_ROWS, collect, damaged};
use crate::{definition::FileFormat, source::shape::Wanted};

pub(super) fn decode(bytes: &Bytes, wanted: &Wanted) -> Result<RecordBatch> {
    let format = FileFormat::Parquet;
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(|error| damaged(format, error))?;
    let fields = builder.schema().fields().iter().enumerate();
    let roots: Vec<usize> = fields.filter(|(_, field)| wanted.wants(field.name())).map(|(index, _)| index).collect();
    if roots.len() < wanted.schema.fields().len() {
        // What is missing is told by all the names that there are.
        wanted.shape(&RecordBatch::new_empty(Arc::clone(builder.schema())), false)?;
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
    collect(reader.map_err(|error| damaged(format, error))?, wanted, format, false)
}

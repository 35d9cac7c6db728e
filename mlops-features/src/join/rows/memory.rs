//! Rows that are in memory; each batch is a part.

use arrow_array::{Array as _, RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::take::take_record_batch;
use mlops_core::{Error, Result};

use super::{Batches, FeatureRows, Request};

/// Batches in order of ingestion.
#[derive(Debug)]
pub(crate) struct BatchRows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    parts: Vec<u32>,
}

impl BatchRows {
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        // A longer batch than 32 bits can count is cut.
        let cut = |batch: RecordBatch| {
            let (rows, step) = (batch.num_rows(), u32::MAX as usize);
            (0..rows).step_by(step).map(move |at| batch.slice(at, step.min(rows - at)))
        };
        let batches: Vec<_> = batches.into_iter().flat_map(cut).collect();
        let parts = batches.iter().map(|batch| batch.num_rows() as u32).collect();
        Self { schema, batches, parts }
    }
}

impl FeatureRows for BatchRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn parts(&self) -> &[u32] {
        &self.parts
    }

    fn time_range(&self, _part: usize, _column: usize) -> Option<(i64, i64)> {
        None
    }

    fn value_bytes(&self, column: usize) -> usize {
        let rows = self.parts.iter().map(|rows| *rows as usize).sum::<usize>().max(1);
        let columns = self.batches.iter().filter_map(|batch| batch.columns().get(column));
        columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum::<usize>() / rows + 1
    }

    fn buffer_bytes(&self, _columns: &[usize]) -> usize {
        0
    }

    fn read<'a>(&'a self, part: usize, request: Request<'a>) -> Result<Batches<'a>> {
        let batch =
            self.batches.get(part).ok_or_else(|| Error::internal("a join asked for a part that is not there"))?;
        let batch = batch.project(request.columns)?;
        if let Some(rows) = request.rows {
            let taken = take_record_batch(&batch, &UInt32Array::from(rows.to_vec()))?;
            return Ok(Box::new(std::iter::once(Ok(taken))));
        }
        let (rows, step) = (batch.num_rows(), request.batch_rows.max(1));
        Ok(Box::new((0..rows).step_by(step).map(move |at| Ok(batch.slice(at, step.min(rows - at))))))
    }
}

//! A spine that arrives in batches of any size and is joined in pieces of a chosen size.

use arrow_array::{Array as _, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use mlops_core::{Error, Result};

/// Batches of a spine that wait to be joined.
pub(super) struct Pieces {
    schema: SchemaRef,
    waiting: Vec<RecordBatch>,
    rows: usize,
}

impl Pieces {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, waiting: Vec::new(), rows: 0 }
    }

    /// How many rows wait.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.schema_ref().fields() != self.schema.fields() {
            return Err(Error::invalid_argument(format!(
                "a batch of the spine has the columns {:?} instead of {:?}",
                batch.schema_ref().fields(),
                self.schema.fields()
            )));
        }
        self.rows += batch.num_rows();
        self.waiting.push(batch);
        Ok(())
    }

    /// Takes out the first `rows` rows, at most as many as there are.
    pub(super) fn take(&mut self, rows: usize) -> Result<RecordBatch> {
        let (mut taken, mut kept, mut left) = (Vec::new(), Vec::new(), rows);
        for batch in self.waiting.drain(..) {
            let now = left.min(batch.num_rows());
            let rest = batch.num_rows() - now;
            if rest > 0 {
                kept.push(batch.slice(now, rest));
            }
            taken.push(if rest > 0 { batch.slice(0, now) } else { batch });
            left -= now;
        }
        self.rows -= rows - left;
        self.waiting = kept;
        match taken.as_slice() {
            [whole] => Ok(whole.clone()),
            taken => Ok(concat_batches(&self.schema, taken)?),
        }
    }
}

/// The bytes that the rows of `batch` take, whatever lies around them in shared buffers.
pub(crate) fn bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

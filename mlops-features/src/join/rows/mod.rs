//! Where a view's rows lie: in memory or in Parquet files, cut into parts that are read independently.
//!
//! Invariant: the rows of part 0, then part 1 and so on are the source in order of ingestion, and reading a part again
//! gives the same rows.

mod memory;
mod parquet;

pub(crate) use self::{memory::BatchRows, parquet::ParquetRows};

use std::fmt;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use mlops_core::Result;

/// Batches of one part, in order.
pub(crate) type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + 'a>;

/// What to read of a part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Places in the schema, in the order in which the batches have them.
    pub(crate) columns: &'a [usize],
    /// Only these rows, counted from the part's first; ascending.
    pub(crate) rows: Option<&'a [u32]>,
    /// Most rows of one batch.
    pub(crate) batch_rows: usize,
}

/// A source of feature rows.
pub(crate) trait FeatureRows: fmt::Debug + Send + Sync {
    /// The columns that every part has.
    fn schema(&self) -> &SchemaRef;

    /// The number of rows of each part.
    fn parts(&self) -> &[u32];

    /// The least and the greatest value of timestamp column `column` in part `part`, in the column's own unit; none
    /// when that is not known.
    fn time_range(&self, part: usize, column: usize) -> Option<(i64, i64)>;

    /// About how many bytes a value of column `column` takes in memory.
    fn value_bytes(&self, column: usize) -> usize;

    /// The rows of part `part`.
    fn read<'a>(&'a self, part: usize, request: Request<'a>) -> Result<Batches<'a>>;
}

//! Where a view's rows lie: in memory or in Parquet files, cut into parts that are read independently.
//!
//! Invariant: the rows of part 0, then part 1 and so on are the source in order of ingestion, and reading a part again
//! gives the same rows.

mod memory;
mod parquet;
mod place;

pub(crate) use self::{
    memory::BatchRows,
    parquet::ParquetRows,
    place::{Place, Stored},
};

use std::fmt;
#[cfg(feature = "spark")]
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use mlops_core::Result;

/// Batches of one part, in order.
pub(crate) type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + 'a>;

/// Pages, compressed and not, that a reader holds of one column.
const PAGE_BYTES: usize = 2 << 20;

/// The URL of `path` for servers that read files; none for letters that readers of URLs disagree about.
#[cfg(feature = "spark")]
pub(crate) fn file_url(path: &Path) -> Option<String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/-_.=".contains(letter);
    let path = std::path::absolute(path).ok()?;
    let path = path.to_str().filter(|path| path.chars().all(plain))?;
    Some(format!("file://{path}"))
}

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

    /// About how many bytes reading `columns` of one part holds beside the batches.
    fn buffer_bytes(&self, columns: &[usize]) -> usize;

    /// The Parquet files whose rows, all of them and in this order, the source is, as URLs; none when it is otherwise.
    #[cfg(feature = "spark")]
    fn urls(&self) -> Option<Vec<String>> {
        None
    }

    /// The rows of part `part`.
    fn read<'a>(&'a self, part: usize, request: Request<'a>) -> Result<Batches<'a>>;
}

//! Another table of the store as a stream of one partition: its commits, and what code or a query makes of each.
//!
//! Invariant: what is made of a commit comes into the table whole or not at all. An offset is the number of the commit and, in its lower 32 bits,
//! of the row, so a position never stands within one, and what a commit becomes depends on nothing but its rows.

#[cfg(feature = "sqlite")]
mod query;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use async_trait::async_trait;
use mlops_core::{Digest, Error, Result, ResultExt as _};

use super::{Reach, shape::Wanted};
use crate::{
    definition::Derivation,
    stream::{Positions, StreamBatch, StreamSource},
    table::Table,
};

/// The bits of a row's number below those of its commit.
const ROW_BITS: u32 = 32;

/// Code that makes rows of one table from those of another. Closures over batches are such code; a dataframe library
/// reads the batches as they are.
///
/// ```
/// use mlops_core::arrow_array::*;
/// use mlops_features::BatchTransformation;
///
/// let first_rows = |rows: &RecordBatch| Ok(rows.slice(0, rows.num_rows().min(1)));
/// let rows = RecordBatch::try_from_iter([("n", std::sync::Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef)])?;
/// assert_eq!(first_rows.apply(&rows)?.num_rows(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait BatchTransformation: Send + Sync + 'static {
    /// What `rows`, all rows of one commit in their order, become: any number of rows, with the columns that the source
    /// names, found by name. It must depend on `rows` alone: after a crash a commit may be transformed again.
    ///
    /// # Errors
    /// Whatever stands in the way; the commit is not taken in, nor are those after it. A panic is such an error too.
    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch>;
}

impl<F> BatchTransformation for F
where
    F: Fn(&RecordBatch) -> Result<RecordBatch> + Send + Sync + 'static,
{
    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        self(rows)
    }
}

/// Makes rows of the table that is filled from rows of the one that is read.
#[derive(Clone)]
pub(super) struct Derived {
    how: Option<Arc<dyn BatchTransformation>>,
    wanted: Wanted,
}

impl Derived {
    /// What `derivation` makes of rows of `input` for table `name`.
    ///
    /// # Errors
    /// `FailedPrecondition` for code that the store's builder was not given, `InvalidArgument` for a query that does not
    /// fit the columns of both tables.
    pub(super) fn new(
        name: &str,
        derivation: &Derivation,
        input: &Table,
        wanted: Wanted,
        reach: &Reach,
    ) -> Result<Self> {
        let how: Option<Arc<dyn BatchTransformation>> = match derivation {
            Derivation::Same => None,
            Derivation::Code { .. } => Some(reach.code(name)?),
            Derivation::Sql { query } => Some(by_query(name, query, input, &wanted)?),
        };
        Ok(Self { how, wanted })
    }

    fn rows(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let Some(how) = &self.how else { return self.wanted.shape(rows, false) };
        // The code is handed a shared batch and gives a new one: nothing of ours is half-done when it panics.
        let made = catch_unwind(AssertUnwindSafe(|| how.apply(rows)));
        self.wanted.shape(&made.unwrap_or_else(|_| Err(Error::internal("its code panicked")))?, false)
    }
}

#[cfg(feature = "sqlite")]
fn by_query(name: &str, query: &Arc<str>, input: &Table, wanted: &Wanted) -> Result<Arc<dyn BatchTransformation>> {
    let query = query::Query::new(input.name(), input.schema(), query, wanted);
    Ok(Arc::new(query.context(format!("source \"{name}\""))?))
}

#[cfg(not(feature = "sqlite"))]
fn by_query(name: &str, _: &Arc<str>, _: &Table, _: &Wanted) -> Result<Arc<dyn BatchTransformation>> {
    Err(Error::failed_precondition(format!(
        "source \"{name}\" is derived by SQL, which this build lacks; turn the feature sqlite on or derive it by code"
    )))
}

/// The commits of one table as a stream that ends where the table ends now.
pub(super) struct TableStream {
    name: String,
    partition: Arc<str>,
    input: Table,
    rows: Derived,
}

impl std::fmt::Debug for TableStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableStream").field("name", &self.name).field("input", &self.input).finish_non_exhaustive()
    }
}

impl TableStream {
    /// Source `name`, which makes `rows` of the commits of `input`.
    pub(super) fn new(name: &str, input: Table, rows: Derived) -> Self {
        // A position in one table means nothing in another.
        let digest = Digest::of(input.name().as_bytes()).to_string();
        let partition = format!("commits-{}", digest.get(..12).unwrap_or(&digest)).into();
        Self { name: name.to_owned(), partition, input, rows }
    }

    /// What a commit of `parts` becomes.
    async fn made_of(&self, parts: Vec<RecordBatch>) -> Result<RecordBatch> {
        let (schema, rows) = (Arc::clone(self.input.schema()), self.rows.clone());
        let work = move || rows.rows(&concat_batches(&schema, &parts)?);
        let made = tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("deriving rows panicked"))??;
        if made.num_rows() >= 1 << ROW_BITS {
            let rows = made.num_rows();
            return Err(Error::resource_exhausted(format!("{rows} rows were made of it; 2^{ROW_BITS} are too many")));
        }
        Ok(made)
    }

    async fn batch(&self, commit: u64, parts: Vec<RecordBatch>) -> Result<StreamBatch> {
        let what = || format!("source \"{}\": commit {commit} of table \"{}\"", self.name, self.input.name());
        let records = self.made_of(parts).await.context(what())?;
        let offsets = offsets(commit, records.num_rows()).context(what())?;
        Ok(StreamBatch { partition: Arc::clone(&self.partition), offsets, records, unreadable: Vec::new() })
    }
}

/// The first commit of which no row is before `position`.
fn next_commit(position: u64) -> u64 {
    position.div_ceil(1 << ROW_BITS)
}

fn offsets(commit: u64, rows: usize) -> Result<Vec<u64>> {
    let first = commit.checked_mul(1 << ROW_BITS);
    let first = first.ok_or_else(|| Error::resource_exhausted(format!("2^{ROW_BITS} commits are too many")))?;
    Ok((first..).take(rows).collect())
}

#[async_trait]
impl StreamSource for TableStream {
    fn name(&self) -> &str {
        &self.name
    }

    async fn partitions(&self) -> Result<Vec<Arc<str>>> {
        Ok(vec![Arc::clone(&self.partition)])
    }

    /// What the next commits become, until there are `rows_max` rows or more.
    async fn poll(&self, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>> {
        let mut from = next_commit(positions.get(&self.partition).copied().unwrap_or(0));
        loop {
            let commits = self.input.commits(from, rows_max).await?;
            let Some(last) = commits.last().map(|(commit, _)| *commit) else { return Ok(None) };
            from = last + 1;
            let mut batches = Vec::new();
            for (commit, parts) in commits {
                match self.batch(commit, parts).await {
                    Ok(batch) if batch.offsets.is_empty() => {}
                    Ok(batch) => batches.push(batch),
                    Err(error) if batches.is_empty() => return Err(error),
                    // What is before it is taken in first; the next call meets the error again.
                    Err(_) => break,
                }
            }
            if !batches.is_empty() {
                return Ok(Some(batches));
            }
        }
    }

    async fn commit(&self, _: &Positions) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_after_any_row_of_a_commit_is_after_all_of_it() {
        assert_eq!((next_commit(0), offsets(0, 2).unwrap()), (0, vec![0, 1]));
        let offsets = offsets(7, 3).unwrap();
        assert_eq!(offsets, [7 << 32, (7 << 32) + 1, (7 << 32) + 2]);
        assert_eq!(offsets.iter().map(|offset| next_commit(offset + 1)).collect::<Vec<_>>(), [8, 8, 8]);
        assert_eq!(next_commit(8 << 32), 8);
    }
}

//! Runs and metric histories as Arrow record batches and Parquet files, and several runs side by side.
//!
//! [`runs`] gives a table with one row for each run, [`history`] one with a row for each point. Both are read batch by
//! batch, so memory holds one page of runs or points whatever their number. `write_parquet` (feature `parquet`) makes a
//! file of either. [`compare`] tells in what a few runs differ.
//!
//! Invariant: reading changes nothing, and what is absent is null, never zero or empty.

mod batches;
mod comparison;
mod history;
#[cfg(feature = "parquet")]
mod parquet_file;
mod runs;

pub use batches::BatchSource;
pub use comparison::{COMPARED_MAX, ComparedMetric, ComparedParam, ComparedRun, RunComparison, compare};
pub use history::{HistoryBatches, HistoryScope, history};
#[cfg(feature = "parquet")]
pub use parquet_file::{ParquetOptions, write_parquet};
pub use runs::{COLUMNS_MAX, RunBatches, runs};

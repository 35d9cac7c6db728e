//! The rows that a training set is made for.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use mlops_core::Result;

use crate::table::{Scan, Table};

/// Where the rows of a spine are.
pub(super) enum SpineRows {
    Rows(RecordBatch),
    Table(Table, Scan),
}

impl SpineRows {
    pub(super) fn schema(&self) -> Result<SchemaRef> {
        match self {
            Self::Rows(rows) => Ok(rows.schema()),
            Self::Table(table, scan) => table.scan_schema(scan),
        }
    }

    /// How many rows there are, where that is known without reading.
    pub(super) fn rows(&self) -> Option<usize> {
        match self {
            Self::Rows(rows) => Some(rows.num_rows()),
            Self::Table(..) => None,
        }
    }
}

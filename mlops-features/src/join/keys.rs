//! Keys as small integers: equal keys, equal number, over both sides of a join.
//!
//! Keys are compared exactly, type and bytes. One 64-bit integer column takes a fast path; anything else is encoded
//! by `arrow-row`, whose encoding is injective, so no separator inside a text can make two keys meet.

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray, types::Int64Type};
use arrow_row::{RowConverter, SortField};
use arrow_schema::DataType;
use hashbrown::HashMap;
use mlops_core::{Error, Result};

use crate::time::column;

/// A key, its number and the byte by which a hash table knows it.
type Entry<K> = (K, u32, u8);

/// A hash table that doubles has up to two places and two sevenths for a key, and half as many more while it grows.
const PLACES_PER_KEY: usize = 4;

/// What an encoded key takes beside its values.
const ROW_BYTES: usize = 16;

/// The distinct keys of one side, and how to look up those of the other.
pub(crate) enum KeyIndex {
    /// No key columns: one group for all.
    Global,
    Integer(HashMap<i64, u32>),
    Rows(RowConverter, HashMap<Box<[u8]>, u32>),
}

impl KeyIndex {
    /// Numbers the distinct keys of `batch`; also answers the number of each row, none where any key is null.
    pub(crate) fn build(batch: &RecordBatch, names: &[impl AsRef<str>]) -> Result<(Self, Vec<Option<u32>>)> {
        if batch.num_rows() > u32::MAX as usize {
            return Err(Error::resource_exhausted("a spine has at most 4,294,967,295 rows; split it"));
        }
        let columns = key_columns(batch, names)?;
        match columns.as_slice() {
            [] => Ok((Self::Global, vec![Some(0); batch.num_rows()])),
            [one] if one.data_type() == &DataType::Int64 => {
                let mut index = HashMap::new();
                let groups = one.as_primitive::<Int64Type>().iter().map(|key| Some(number(&mut index, key?))).collect();
                Ok((Self::Integer(index), groups))
            }
            _ => Self::build_rows(&columns),
        }
    }

    fn build_rows(columns: &[ArrayRef]) -> Result<(Self, Vec<Option<u32>>)> {
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let converter = RowConverter::new(fields)?;
        let rows = converter.convert_columns(columns)?;
        let mut index: HashMap<Box<[u8]>, u32> = HashMap::new();
        let mut groups = Vec::with_capacity(rows.num_rows());
        for (position, row) in rows.iter().enumerate() {
            groups.push(if any_null(columns, position) {
                None
            } else if let Some(known) = index.get(row.data()) {
                Some(*known)
            } else {
                let next = index.len() as u32;
                index.insert(row.data().into(), next);
                Some(next)
            });
        }
        Ok((Self::Rows(converter, index), groups))
    }

    /// About how many bytes one distinct key of rows like those of `batch` takes while the keys are numbered.
    pub(crate) fn bytes_per_key(batch: &RecordBatch, names: &[impl AsRef<str>]) -> Result<usize> {
        let columns = key_columns(batch, names)?;
        Ok(match columns.as_slice() {
            [] => 0,
            [one] if one.data_type() == &DataType::Int64 => size_of::<Entry<i64>>() * PLACES_PER_KEY,
            _ => {
                let bytes = |key: &ArrayRef| key.to_data().get_slice_memory_size().unwrap_or(0);
                let key = columns.iter().map(bytes).sum::<usize>() / batch.num_rows().max(1);
                // Once among the rows and once by itself, each with where it begins or a word for the allocator.
                2 * (key + ROW_BYTES) + size_of::<Entry<Box<[u8]>>>() * PLACES_PER_KEY
            }
        })
    }

    /// How many distinct keys there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Global => 1,
            Self::Integer(index) => index.len(),
            Self::Rows(_, index) => index.len(),
        }
    }

    /// The number of each row's key; none where a key is null or was not on the side that built the index.
    pub(crate) fn lookup(&self, batch: &RecordBatch, names: &[impl AsRef<str>]) -> Result<Vec<Option<u32>>> {
        let columns = key_columns(batch, names)?;
        match self {
            Self::Global => Ok(vec![Some(0); batch.num_rows()]),
            Self::Integer(index) => {
                let keys = columns.first().and_then(|keys| keys.as_primitive_opt::<Int64Type>());
                let keys = keys.ok_or_else(|| Error::internal("a key column changed its type within one join"))?;
                Ok(keys.iter().map(|key| index.get(&key?).copied()).collect())
            }
            Self::Rows(converter, index) => {
                let rows = converter.convert_columns(&columns)?;
                let find = |(position, row): (usize, arrow_row::Row<'_>)| {
                    if any_null(&columns, position) { None } else { index.get(row.data()).copied() }
                };
                Ok(rows.iter().enumerate().map(find).collect())
            }
        }
    }
}

fn number(index: &mut HashMap<i64, u32>, key: i64) -> u32 {
    let next = index.len() as u32;
    *index.entry(key).or_insert(next)
}

fn key_columns(batch: &RecordBatch, names: &[impl AsRef<str>]) -> Result<Vec<ArrayRef>> {
    names.iter().map(|name| column(batch, name.as_ref()).cloned()).collect()
}

fn any_null(columns: &[ArrayRef], row: usize) -> bool {
    columns.iter().any(|column| column.is_null(row))
}

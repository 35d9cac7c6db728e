//! Join keys as bytes. Each cell carries its family and length, so keys of different families or different splits of
//! the same text never collide.

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use mlops_core::{Error, Result};

use super::EntityKey;
use crate::{cell::Cell, time::column, value::encode_cell};

/// The key of every row of `batch`, none where any part is null. Integers of any width and texts of either offset
/// size are one family each: they are the same key when they are the same value. Other types must be as declared.
///
/// # Errors
/// `InvalidArgument` for a missing column or one of another family.
pub(super) fn entity_keys(
    batch: &RecordBatch,
    names: &[impl AsRef<str>],
    types: &[DataType],
) -> Result<Vec<Option<EntityKey>>> {
    let mut columns: Vec<&ArrayRef> = Vec::with_capacity(names.len());
    for (name, wanted) in names.iter().zip(types) {
        let found = column(batch, name.as_ref())?;
        if !same_family(found.data_type(), wanted) {
            return Err(Error::invalid_argument(format!(
                "join key \"{}\" must be {wanted}; it is {}",
                name.as_ref(),
                found.data_type()
            )));
        }
        columns.push(found);
    }
    // All keys lie in one buffer.
    let (mut bytes, mut spans) = (Vec::new(), Vec::with_capacity(batch.num_rows()));
    for row in 0..batch.num_rows() {
        let start = bytes.len();
        if columns.iter().any(|column| column.is_null(row)) {
            spans.push(None);
            continue;
        }
        for column in &columns {
            encode_cell(&Cell::of(column.as_ref(), row)?, &mut bytes);
        }
        spans.push(Some(start..bytes.len()));
    }
    let bytes = Bytes::from(bytes);
    Ok(spans.into_iter().map(|span| span.map(|span| bytes.slice(span))).collect())
}

fn same_family(found: &DataType, wanted: &DataType) -> bool {
    use DataType as T;
    let integer = |t: &T| matches!(t, T::Int8 | T::Int16 | T::Int32 | T::Int64);
    let text = |t: &T| matches!(t, T::Utf8 | T::LargeUtf8);
    found == wanted || (integer(found) && integer(wanted)) || (text(found) && text(wanted))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, Int64Array, StringArray};
    use mlops_core::ErrorKind;

    use super::*;

    fn keys(column: ArrayRef, wanted: DataType) -> Result<Vec<Option<EntityKey>>> {
        entity_keys(&RecordBatch::try_from_iter([("k", column)]).unwrap(), &["k"], &[wanted])
    }

    #[test]
    fn the_width_of_an_integer_does_not_matter_and_its_family_does() {
        let wide = keys(Arc::new(Int64Array::from(vec![Some(7), None])), DataType::Int64).unwrap();
        let narrow = keys(Arc::new(Int32Array::from(vec![Some(7), None])), DataType::Int64).unwrap();
        assert_eq!((&wide, narrow[1].is_none()), (&narrow, true));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["7"]));
        assert_ne!(keys(Arc::clone(&text), DataType::LargeUtf8).unwrap()[0], wide[0]);
        let error = keys(text, DataType::Int64).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("\"k\" must be Int64; it is Utf8"), "{error}");
    }
}

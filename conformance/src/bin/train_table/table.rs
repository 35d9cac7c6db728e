//! Parquet files in and out.

use std::{fs::File, path::Path, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use mlops_core::{Error, Result};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};

fn unreadable(path: &Path) -> Error {
    Error::invalid_argument(format!("{} cannot be read as Parquet", path.display()))
}

/// The whole file.
pub(crate) fn read(path: &Path) -> Result<RecordBatch> {
    let file = File::open(path).map_err(|error| unreadable(path).with_source(error))?;
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(path).with_source(error))?;
    let schema = Arc::clone(builder.schema());
    let reader = builder.build().map_err(|error| unreadable(path).with_source(error))?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(path).with_source(error))?;
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        return Err(Error::invalid_argument(format!("{} has no rows", path.display())));
    }
    Ok(arrow_select::concat::concat_batches(&schema, &batches)?)
}

/// The rows of `test` below those of `train`, with the columns of `train`.
pub(crate) fn stack(train: &RecordBatch, test: &RecordBatch, test_path: &Path) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, above) in train.schema().fields().iter().zip(train.columns()) {
        let Some(below) = test.column_by_name(field.name()) else {
            return Err(Error::invalid_argument(format!(
                "column {:?} is missing from {}",
                field.name(),
                test_path.display()
            )));
        };
        let Some(both) = common(above.data_type(), below.data_type()) else {
            return Err(Error::invalid_argument(format!(
                "column {:?} is {} in the training file and {} in {}",
                field.name(),
                above.data_type(),
                below.data_type(),
                test_path.display()
            )));
        };
        let (above, below) = (arrow_cast::cast(above, &both)?, arrow_cast::cast(below, &both)?);
        columns.push(arrow_select::concat::concat(&[above.as_ref(), below.as_ref()])?);
        fields.push(Field::new(field.name(), both, true));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The type that holds the values of both columns: the entries of dictionaries, and doubles for numbers of two types,
/// because writers of tables make doubles of whole numbers where one is missing.
fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    let entries = |data_type: &DataType| match data_type {
        DataType::Dictionary(_, entries) => (**entries).clone(),
        plain => plain.clone(),
    };
    let (a, b) = match (entries(a), entries(b)) {
        // A column without any value is of the type of the other.
        (DataType::Null, other) | (other, DataType::Null) => (other.clone(), other),
        both => both,
    };
    match (a.is_numeric() && b.is_numeric(), a == b) {
        (_, true) => Some(a),
        (true, _) => Some(DataType::Float64),
        _ => None,
    }
}

/// Writes predictions.
pub(crate) fn write(path: &Path, batch: &RecordBatch) -> Result<()> {
    let fail = || Error::invalid_argument(format!("{} cannot be written", path.display()));
    let file = File::create(path).map_err(|error| fail().with_source(error))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).map_err(|error| fail().with_source(error))?;
    writer.write(batch).map_err(|error| fail().with_source(error))?;
    writer.close().map(drop).map_err(|error| fail().with_source(error))
}

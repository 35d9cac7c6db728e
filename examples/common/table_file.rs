//! A CSV or Parquet file as Arrow batches; whatever is wrong with it is one sentence that names it.

use std::{fs::File, io::Seek as _, path::Path, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use mlops::core::{Error, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// All rows of the file at `path`, which is CSV with a header or Parquet by its extension, in batches of one schema.
pub(crate) fn read(path: &Path) -> Result<Batches> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Error::invalid_argument(format!("{shown} is a directory; give a CSV or Parquet file")));
    }
    let file = File::open(path)
        .map_err(|error| Error::invalid_argument(format!("{shown} cannot be opened: {error}")).with_source(error))?;
    let length = file.metadata().map_or(0, |meta| meta.len());
    if length == 0 {
        return Err(Error::invalid_argument(format!("{shown} is empty; give a CSV or Parquet file with events")));
    }
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let batches = match extension.as_deref() {
        Some("parquet" | "pq") => read_parquet(file),
        Some("csv" | "txt") => read_csv(file),
        _ => {
            return Err(Error::invalid_argument(format!(
                "{shown} is neither .csv nor .parquet; convert it to one of them"
            )));
        }
    };
    batches.map_err(|error| Error::invalid_argument(format!("{shown} cannot be read: {error}")))
}

type Batches = (Arc<Schema>, Vec<RecordBatch>);

fn read_parquet(file: File) -> std::result::Result<Batches, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
    let schema = Arc::clone(builder.schema());
    let reader = builder.with_batch_size(64 * 1024).build().map_err(|error| error.to_string())?;
    let batches = reader.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    Ok((schema, batches))
}

fn read_csv(mut file: File) -> std::result::Result<Batches, String> {
    let format = arrow_csv::reader::Format::default().with_header(true);
    let (schema, _) = format.infer_schema(&mut file, None).map_err(|error| error.to_string())?;
    file.rewind().map_err(|error| error.to_string())?;
    let schema = Arc::new(schema);
    let reader = arrow_csv::ReaderBuilder::new(Arc::clone(&schema)).with_format(format).build(file);
    let batches = reader.and_then(|reader| reader.collect::<std::result::Result<Vec<_>, _>>());
    Ok((schema, batches.map_err(|error| error.to_string())?))
}

//! Rows of a Parquet file that is larger than memory.
//!
//! Invariant: an epoch draws an order of the row groups, reads a few of them at a time, and draws an
//! order of the rows within these; all of it from the seed and the epoch. At no time are more rows in
//! memory than those few groups have, and one batch.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::{concat::concat_batches, take::take_record_batch};
use mlops_core::{Digest, DigestBuilder, Error, Result};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder},
};

use super::loader::{Loader, Pass};
use crate::rng::SeededRng;

/// The stream of the seed that the order of epoch 1 is drawn from; later epochs follow.
const ORDER_STREAM: u64 = 2 << 32;

/// Row groups that are shuffled together unless one says otherwise.
const WINDOW: usize = 8;

/// Rows that are decoded at once.
const READ_ROWS: usize = 8_192;

/// Bytes that are read at once for the digest.
const DIGEST_BYTES: usize = 1 << 20;

/// Gives the rows of one Parquet file as record batches.
///
/// ```no_run
/// use mlops_train::{Loader, ParquetLoader, Pass};
///
/// let rows = ParquetLoader::open("clicks.parquet")?.with_columns(["price", "clicked"])?.with_window(4);
/// for batch in rows.pass(&Pass { seed: 7, epoch: Some(1), batch_rows: 1024, skip: 0 })? {
///     println!("{} rows", batch?.num_rows());
/// }
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ParquetLoader {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    schema: SchemaRef,
    /// Rows of each group.
    group_rows: Vec<usize>,
    window: usize,
}

impl ParquetLoader {
    /// Reads the footer of a file.
    ///
    /// # Errors
    /// `NotFound` when there is no such file, `DataLoss` when it is no Parquet file.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::open(&path).map_err(|error| of_disk(&path, error))?;
        let metadata = ArrowReaderMetadata::load(&file, Default::default())
            .map_err(|error| unreadable(&path).with_source(error))?;
        let groups = metadata.metadata().row_groups();
        let group_rows = groups.iter().map(|group| usize::try_from(group.num_rows()).unwrap_or_default()).collect();
        let (mask, schema) = (ProjectionMask::all(), SchemaRef::clone(metadata.schema()));
        Ok(Self { path, metadata, mask, schema, group_rows, window: WINDOW })
    }

    /// Reads these columns only.
    ///
    /// # Errors
    /// `InvalidArgument` naming a column that the file has not.
    pub fn with_columns<N: AsRef<str>>(mut self, columns: impl IntoIterator<Item = N>) -> Result<Self> {
        let schema = self.metadata.schema();
        let index = |name: N| {
            schema.index_of(name.as_ref()).map_err(|_| {
                Error::invalid_argument(format!("column {:?} is missing from {}", name.as_ref(), self.path.display()))
            })
        };
        let mut indices = columns.into_iter().map(index).collect::<Result<Vec<_>>>()?;
        indices.sort_unstable();
        indices.dedup();
        self.schema = SchemaRef::new(schema.project(&indices)?);
        self.mask = ProjectionMask::roots(self.metadata.parquet_schema(), indices);
        Ok(self)
    }

    /// Shuffles the rows of so many row groups together, at least one: more mix better and take more
    /// memory. Eight unless one says otherwise.
    #[must_use]
    pub fn with_window(mut self, groups: usize) -> Self {
        self.window = groups.max(1);
        self
    }

    /// Columns of the batches.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows in all.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.group_rows.iter().sum()
    }

    /// The rows of some groups, in the order of the groups.
    fn read(&self, groups: &[usize]) -> Result<RecordBatch> {
        let file = File::open(&self.path).map_err(|error| of_disk(&self.path, error))?;
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_projection(self.mask.clone())
            .with_row_groups(groups.to_vec())
            .with_batch_size(READ_ROWS)
            .build()
            .map_err(|error| unreadable(&self.path).with_source(error))?;
        let batches =
            reader.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(&self.path).with_source(error))?;
        Ok(concat_batches(&self.schema, &batches)?)
    }
}

fn of_disk(path: &Path, error: io::Error) -> Error {
    let message = format!("{} cannot be read", path.display());
    let made = match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(message),
        io::ErrorKind::PermissionDenied => Error::permission_denied(message),
        _ => Error::unavailable(message),
    };
    made.with("path", path.display()).with_source(error)
}

fn unreadable(path: &Path) -> Error {
    Error::data_loss(format!("{} cannot be read as Parquet", path.display())).with("path", path.display())
}

impl Loader for ParquetLoader {
    type Batch = RecordBatch;

    fn batches(&self, batch_rows: usize) -> usize {
        self.rows().div_ceil(batch_rows.max(1))
    }

    fn pass(&self, pass: &Pass) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + '_>> {
        let mut rng = pass.epoch.map(|epoch| SeededRng::new(pass.seed, ORDER_STREAM + epoch));
        let mut order: Vec<usize> = (0..self.group_rows.len()).collect();
        if let Some(rng) = &mut rng {
            rng.shuffle(&mut order);
        }
        Ok(Box::new(Batches {
            loader: self,
            windows: order.chunks(self.window).map(<[usize]>::to_vec).collect::<Vec<_>>().into_iter(),
            rng,
            rest: RecordBatch::new_empty(SchemaRef::clone(&self.schema)),
            batch_rows: pass.batch_rows.max(1),
            skip_rows: pass.skip.saturating_mul(pass.batch_rows),
        }))
    }

    fn digest(&self) -> Result<Digest> {
        let mut file = File::open(&self.path).map_err(|error| of_disk(&self.path, error))?;
        let mut digest = DigestBuilder::default();
        let names = self.schema.fields().iter().map(|field| field.name().as_bytes());
        digest.update(Digest::of_parts(names).as_bytes());
        digest.update(&(self.window as u64).to_le_bytes());
        let mut buffer = vec![0; DIGEST_BYTES];
        loop {
            match file.read(&mut buffer).map_err(|error| of_disk(&self.path, error))? {
                0 => return Ok(digest.finish()),
                length => digest.update(buffer.get(..length).unwrap_or_default()),
            }
        }
    }
}

/// One pass under way.
struct Batches<'a> {
    loader: &'a ParquetLoader,
    windows: std::vec::IntoIter<Vec<usize>>,
    /// None to keep the rows in their order.
    rng: Option<SeededRng>,
    /// Rows that were read and are not given out yet.
    rest: RecordBatch,
    batch_rows: usize,
    /// Rows that were seen before an interruption and are still to be left out.
    skip_rows: usize,
}

impl Batches<'_> {
    /// The rows of the next few groups in the order of the epoch; none after the last.
    fn window(&mut self) -> Result<Option<RecordBatch>> {
        let Some(groups) = self.windows.next() else { return Ok(None) };
        let rows = groups.iter().filter_map(|&group| self.loader.group_rows.get(group)).sum::<usize>();
        let mut order: Vec<u32> = (0..u32::try_from(rows).unwrap_or(u32::MAX)).collect();
        if let Some(rng) = &mut self.rng {
            rng.shuffle(&mut order);
        }
        let skipped = self.skip_rows.min(rows);
        self.skip_rows -= skipped;
        if skipped == rows {
            return Ok(Some(RecordBatch::new_empty(SchemaRef::clone(&self.loader.schema))));
        }
        let read = self.loader.read(&groups)?;
        if read.num_rows() != rows {
            return Err(unreadable(&self.loader.path));
        }
        let wanted = UInt32Array::from_iter_values(order.into_iter().skip(skipped));
        Ok(Some(take_record_batch(&read, &wanted)?))
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        while self.rest.num_rows() < self.batch_rows {
            let Some(window) = self.window()? else { break };
            self.rest = concat_batches(&self.loader.schema, [&self.rest, &window])?;
        }
        let rows = self.rest.num_rows().min(self.batch_rows);
        let batch = self.rest.slice(0, rows);
        self.rest = self.rest.slice(rows, self.rest.num_rows() - rows);
        Ok((rows > 0).then_some(batch))
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, cast::AsArray, types::Int64Type};
    use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};

    use super::*;

    /// Numbers from 0 to 999 in groups of 64, and a column that nobody asks for.
    fn file() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
        let batch = RecordBatch::try_from_iter([("n", Arc::clone(&numbers)), ("other", numbers)]).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(64)).build();
        let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        file
    }

    fn seen(loader: &ParquetLoader, seed: u64, epoch: Option<u64>, skip: usize) -> Vec<i64> {
        let batches = loader.pass(&Pass { seed, epoch, batch_rows: 30, skip }).unwrap();
        batches.flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[test]
    fn an_epoch_has_one_order_wherever_it_begins() {
        let file = file();
        let loader = ParquetLoader::open(file.path()).unwrap().with_columns(["n"]).unwrap().with_window(3);
        assert_eq!((loader.batches(30), loader.rows(), loader.schema().fields().len()), (34, 1_000, 1));
        let whole = seen(&loader, 1, Some(1), 0);
        for skip in [0, 1, 5, 7, 20, 33, 34] {
            assert_eq!(seen(&loader, 1, Some(1), skip), whole[(skip * 30).min(1_000)..], "{skip}");
        }
        let mut sorted = whole.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1_000).collect::<Vec<_>>());
        assert_eq!(seen(&loader, 1, None, 2), (60..1_000).collect::<Vec<_>>());
        assert_ne!(seen(&loader, 1, Some(2), 0), whole);
        assert_ne!(seen(&loader, 2, Some(1), 0), whole);
        let apart = whole.windows(2).filter(|pair| pair[1] - pair[0] == 1).count();
        assert!(apart < 20, "{apart} neighbors stayed together");
    }

    #[test]
    fn faults_are_typed_and_contents_told_apart() {
        let file = file();
        let loader = ParquetLoader::open(file.path()).unwrap();
        assert!(loader.clone().with_columns(["m"]).unwrap_err().message().contains("\"m\""));
        assert_eq!(loader.digest().unwrap(), ParquetLoader::open(file.path()).unwrap().digest().unwrap());
        assert_ne!(loader.digest().unwrap(), loader.clone().with_window(2).digest().unwrap());
        assert_ne!(loader.digest().unwrap(), loader.with_columns(["n"]).unwrap().digest().unwrap());
        std::fs::write(file.path(), b"no Parquet").unwrap();
        assert_eq!(ParquetLoader::open(file.path()).unwrap_err().kind(), mlops_core::ErrorKind::DataLoss);
        assert_eq!(ParquetLoader::open("absent").unwrap_err().kind(), mlops_core::ErrorKind::NotFound);
    }
}

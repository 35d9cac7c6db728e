//! Where the bytes of a Parquet file lie: on a disk, from which pages are read as they are needed, or in an object
//! store, from which the columns of one row group are fetched together.

use std::{fs::File, io::Cursor, path::PathBuf, sync::Arc};

use arrow_buffer::BooleanBufferBuilder;
use bytes::Bytes;
use mlops_core::{Error, Result};
use object_store::{ObjectStore, path::Path};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
            RowSelection,
        },
    },
    errors::ParquetError,
    file::{
        metadata::{ParquetMetaDataReader, RowGroupMetaData},
        reader::{ChunkReader, Length},
    },
};
use tokio::runtime::Handle;

/// A file.
#[derive(Debug)]
pub(crate) enum Place {
    /// On a disk of this machine.
    Local(PathBuf),
    /// In an object store.
    Stored(Stored),
}

/// An object and the runtime on which its store works. Waits for it, so it is not read on that runtime's threads.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) bytes: u64,
    pub(crate) runtime: Handle,
}

/// What to read of a row group.
pub(super) struct GroupRequest<'a> {
    pub(super) group: usize,
    pub(super) columns: ProjectionMask,
    /// Only these rows; ascending.
    pub(super) rows: Option<&'a [u32]>,
    pub(super) batch_rows: usize,
}

/// Most columns have pages of a megabyte; a footer of some hundred row groups is below this.
const FOOTER_GUESS: u64 = 256 << 10;

impl Place {
    /// How a file is called in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Stored(stored) => stored.path.to_string(),
        }
    }

    pub(super) fn footer(&self) -> Result<ArrowReaderMetadata> {
        let unreadable = |error: ParquetError| self.unreadable().with_source(error);
        match self {
            Self::Local(_) => ArrowReaderMetadata::load(&self.open()?, ArrowReaderOptions::new()).map_err(unreadable),
            Self::Stored(stored) => stored.footer(self),
        }
    }

    /// The rows that `request` asks for.
    pub(super) fn read(
        &self,
        footer: &ArrowReaderMetadata,
        request: GroupRequest<'_>,
    ) -> Result<ParquetRecordBatchReader> {
        match self {
            Self::Local(_) => self.reader(self.open()?, footer, request),
            Self::Stored(stored) => {
                let chunks = stored.fetch(self, footer, &request)?;
                self.reader(chunks, footer, request)
            }
        }
    }

    fn reader<R: ChunkReader + 'static>(
        &self,
        bytes: R,
        footer: &ArrowReaderMetadata,
        request: GroupRequest<'_>,
    ) -> Result<ParquetRecordBatchReader> {
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, footer.clone())
            .with_row_groups(vec![request.group])
            .with_projection(request.columns)
            .with_batch_size(request.batch_rows.max(1));
        if let Some(rows) = request.rows {
            let total = footer.metadata().row_groups().get(request.group).map_or(0, RowGroupMetaData::num_rows);
            builder = builder.with_row_selection(selection(rows, usize::try_from(total).unwrap_or(0)));
        }
        builder.build().map_err(|error| self.unreadable().with_source(error))
    }

    fn open(&self) -> Result<File> {
        let Self::Local(path) = self else { return Err(Error::internal("an object is not opened as a file")) };
        File::open(path).map_err(|error| {
            let message = format!("{} cannot be opened", path.display());
            match error.kind() {
                std::io::ErrorKind::NotFound => Error::not_found(message).with_source(error),
                _ => Error::unavailable(message).with_source(error),
            }
        })
    }

    pub(super) fn unreadable(&self) -> Error {
        Error::data_loss(format!("{} is not readable Parquet", self.name()))
    }
}

impl Stored {
    fn footer(&self, place: &Place) -> Result<ArrowReaderMetadata> {
        let unreadable = |error: ParquetError| place.unreadable().with_source(error);
        if self.bytes == 0 {
            return Err(place.unreadable());
        }
        let mut reader = ParquetMetaDataReader::new();
        let mut wanted = FOOTER_GUESS.min(self.bytes);
        loop {
            let range = self.bytes.saturating_sub(wanted)..self.bytes;
            let tail = self.get(std::slice::from_ref(&range))?.pop().unwrap_or_default();
            match reader.try_parse_sized(&tail, self.bytes) {
                Ok(()) => break,
                // More than the whole file is refused by the parser itself.
                Err(ParquetError::NeedMoreData(needed)) if (needed as u64) > wanted => wanted = needed as u64,
                Err(error) => return Err(unreadable(error)),
            }
        }
        let metadata = reader.finish().map_err(unreadable)?;
        ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new()).map_err(unreadable)
    }

    /// The chunks of the columns that `request` asks for.
    fn fetch(&self, place: &Place, footer: &ArrowReaderMetadata, request: &GroupRequest<'_>) -> Result<Chunks> {
        let group = footer.metadata().row_groups().get(request.group).ok_or_else(|| place.unreadable())?;
        let chunks = group.columns().iter().enumerate().filter(|(leaf, _)| request.columns.leaf_included(*leaf));
        let ranges = chunks.map(|(_, chunk)| {
            let (start, bytes) = chunk.byte_range();
            start..start.saturating_add(bytes)
        });
        let ranges: Vec<_> = ranges.collect();
        if ranges.iter().any(|range| range.end > self.bytes) {
            return Err(place.unreadable());
        }
        let fetched = self.get(&ranges)?;
        let chunks = ranges.iter().map(|range| range.start).zip(fetched).collect();
        Ok(Chunks { bytes: self.bytes, chunks })
    }

    fn get(&self, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        let fetched = self.runtime.block_on(self.store.get_ranges(&self.path, ranges));
        fetched.map_err(|error| {
            let message = format!("{} cannot be read", self.path);
            match error {
                object_store::Error::NotFound { .. } => Error::data_loss(message).with_source(error),
                _ => Error::unavailable(message).with_source(error),
            }
        })
    }
}

/// Some chunks of a file, by where they begin in it.
struct Chunks {
    bytes: u64,
    chunks: Vec<(u64, Bytes)>,
}

impl Chunks {
    /// The fetched bytes from `start` to the end of their chunk.
    fn from(&self, start: u64) -> parquet::errors::Result<Bytes> {
        let inside = |(begin, bytes): &&(u64, Bytes)| (*begin..*begin + bytes.len() as u64).contains(&start);
        let outside = || ParquetError::General(format!("byte {start} is in none of the columns that were fetched"));
        let (begin, bytes) = self.chunks.iter().find(inside).ok_or_else(outside)?;
        Ok(bytes.slice(usize::try_from(start - begin).map_err(|_| outside())?..))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Chunks {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Cursor<Bytes>> {
        self.from(start).map(Cursor::new)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("{length} bytes from byte {start} are more than were fetched")));
        }
        Ok(bytes.slice(..length))
    }
}

fn selection(rows: &[u32], total: usize) -> RowSelection {
    let mut chosen = BooleanBufferBuilder::new(total);
    chosen.append_n(total, false);
    for row in rows {
        chosen.set_bit(*row as usize, true);
    }
    RowSelection::from_boolean_buffer(chosen.finish())
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
    use arrow_schema::{DataType, Field, Schema};
    use object_store::{ObjectStoreExt as _, memory::InMemory};
    use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};

    use super::*;
    use crate::join::rows::{FeatureRows as _, ParquetRows, Request};

    fn file() -> Bytes {
        let columns: [(&str, ArrayRef); 2] = [
            ("a", Arc::new(Int32Array::from_iter_values(0..10))),
            ("b", Arc::new(Int64Array::from_iter_values(100..110))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(4)).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    /// What `look` finds in `bytes`, once on a disk and once in an object store.
    fn everywhere<T>(bytes: &Bytes, look: impl Fn(Place) -> T) -> [T; 2] {
        let directory = tempfile::tempdir().unwrap();
        let local = directory.path().join("f.parquet");
        std::fs::write(&local, bytes).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (store, path) = (Arc::new(InMemory::new()), Path::from("f.parquet"));
        runtime.block_on(store.put(&path, bytes.clone().into())).unwrap();
        let stored = Stored { store, path, bytes: bytes.len() as u64, runtime: runtime.handle().clone() };
        [look(Place::Local(local)), look(Place::Stored(stored))]
    }

    #[test]
    fn a_file_is_the_same_on_a_disk_and_in_a_store_and_older_than_its_table() {
        let wide = Arc::new(Schema::new(vec![
            Field::new("new", DataType::Utf8, true),
            Field::new("b", DataType::Int64, true),
            Field::new("a", DataType::Int64, true),
        ]));
        let [local, stored] = everywhere(&file(), |place| {
            let rows = ParquetRows::of_table(Arc::clone(&wide), [place]).unwrap();
            assert_eq!(rows.parts(), [4, 4, 2]);
            let request = Request { columns: &[2, 0, 1], rows: Some(&[1, 3]), batch_rows: 1 };
            rows.read(1, request).unwrap().collect::<Result<Vec<_>>>().unwrap()
        });
        assert_eq!(local, stored);
        assert_eq!(local.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
        assert_eq!(local[1].column(0).as_ref(), &Int64Array::from(vec![7]) as &dyn arrow_array::Array);
        assert_eq!(local[1].column(1).null_count(), 1);
        assert_eq!(local[1].column(2).as_ref(), &Int64Array::from(vec![107]) as &dyn arrow_array::Array);
    }

    #[test]
    fn damage_is_an_error_wherever_it_is() {
        let whole = file();
        for cut in [0, 3, 11, whole.len() - 1] {
            for error in everywhere(&whole.slice(..cut), |place| place.footer().unwrap_err()) {
                assert_eq!(error.kind(), mlops_core::ErrorKind::DataLoss, "{error}");
            }
        }
        let mut torn = whole.to_vec();
        torn[4..40].fill(0xff);
        for read in everywhere(&torn.into(), |place| {
            let footer = place.footer()?;
            let request = GroupRequest { group: 0, columns: ProjectionMask::all(), rows: None, batch_rows: 9 };
            place
                .read(&footer, request)?
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| place.unreadable().with_source(error))
        }) {
            assert_eq!(read.unwrap_err().kind(), mlops_core::ErrorKind::DataLoss);
        }
    }
}

//! Rows of Parquet files; each row group is a part. Only footers are kept.

use std::{path::PathBuf, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, FieldRef, SchemaRef, TimeUnit};
use mlops_core::{Error, ErrorKind, Result};
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ArrowReaderMetadata},
    basic::{LogicalType, TimeUnit as ParquetUnit},
    file::statistics::Statistics,
};

use super::{
    Batches, FeatureRows, PAGE_BYTES, Request,
    place::{GroupRequest, Place},
};

/// Files in order of ingestion.
#[derive(Debug)]
pub(crate) struct ParquetRows {
    schema: SchemaRef,
    files: Vec<ParquetFile>,
    groups: Vec<RowGroup>,
    parts: Vec<u32>,
}

#[derive(Debug)]
struct ParquetFile {
    place: Place,
    footer: ArrowReaderMetadata,
    /// For each column of the schema its place in the file; none in a file that is older than the column.
    places: Vec<Option<usize>>,
}

/// Places of a file and of a row group in it.
#[derive(Debug)]
struct RowGroup {
    file: usize,
    group: usize,
}

impl ParquetRows {
    /// Opens `paths`, which all have the columns of the first, and at least one.
    ///
    /// # Errors
    /// `InvalidArgument` without a file and for one that lacks a column of the first or has it in another type,
    /// `NotFound` or `DataLoss` for one that cannot be read.
    pub(crate) fn open(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        let mut files: Vec<ParquetFile> = Vec::new();
        let mut schema: Option<SchemaRef> = None;
        for path in paths {
            let place = Place::Local(path);
            let footer = place.footer()?;
            let schema = schema.get_or_insert_with(|| SchemaRef::clone(footer.schema()));
            let places = places(schema, footer.schema(), &place)?;
            files.push(ParquetFile { place, footer, places });
        }
        let schema = schema.ok_or_else(|| Error::invalid_argument("a source needs at least one Parquet file"))?;
        Self::new(schema, files)
    }

    /// Opens the files of a table, whose columns are `schema`. A column that a file is older than is null there, and
    /// one that has been widened since is read in its new type.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable` or `DataLoss` for a file that cannot be read.
    pub(crate) fn of_table(schema: SchemaRef, files: impl IntoIterator<Item = Place>) -> Result<Self> {
        let open = |place: Place| {
            let footer = place.footer().map_err(lost)?;
            let places = schema.fields().iter().map(|field| footer.schema().index_of(field.name()).ok()).collect();
            Ok(ParquetFile { place, footer, places })
        };
        let files = files.into_iter().map(open).collect::<Result<_>>()?;
        Self::new(schema, files)
    }

    fn new(schema: SchemaRef, files: Vec<ParquetFile>) -> Result<Self> {
        let (mut groups, mut parts) = (Vec::new(), Vec::new());
        for (file, ParquetFile { place, footer, .. }) in files.iter().enumerate() {
            for (group, row_group) in footer.metadata().row_groups().iter().enumerate() {
                parts.push(u32::try_from(row_group.num_rows()).map_err(|_| place.unreadable())?);
                groups.push(RowGroup { file, group });
            }
        }
        Ok(Self { schema, files, groups, parts })
    }

    fn part(&self, part: usize) -> Option<(&ParquetFile, usize)> {
        let RowGroup { file, group } = self.groups.get(part)?;
        Some((self.files.get(*file)?, *group))
    }
}

impl ParquetFile {
    /// The only leaf below column `column` of the schema; none for a nested column.
    fn leaf(&self, column: usize) -> Option<usize> {
        let mut leaves = self.leaves(column);
        leaves.next().filter(|_| leaves.next().is_none())
    }

    /// The leaves below column `column` of the schema.
    fn leaves(&self, column: usize) -> impl Iterator<Item = usize> + '_ {
        let root = self.places.get(column).copied().flatten();
        let described = self.footer.parquet_schema();
        (0..described.num_columns()).filter(move |leaf| Some(described.get_column_root_idx(*leaf)) == root)
    }

    /// What a reader holds of `columns` beside the batches.
    fn buffer_bytes(&self, columns: &[usize]) -> usize {
        if matches!(self.place, Place::Local(_)) {
            return columns.len() * PAGE_BYTES;
        }
        let leaves: Vec<usize> = columns.iter().flat_map(|column| self.leaves(*column)).collect();
        let bytes = |group: &parquet::file::metadata::RowGroupMetaData| {
            let chunks = leaves.iter().filter_map(|leaf| group.columns().get(*leaf));
            chunks.map(|chunk| usize::try_from(chunk.compressed_size()).unwrap_or(0)).sum::<usize>()
        };
        let groups = self.footer.metadata().row_groups().iter();
        groups.map(bytes).max().unwrap_or(0) + columns.len() * PAGE_BYTES
    }

    /// `columns` of the schema, of which `batch` has those that the file has, in the order of the file.
    fn shaped(
        &self,
        batch: &RecordBatch,
        schema: &SchemaRef,
        columns: &[usize],
        roots: &[usize],
    ) -> Result<RecordBatch> {
        let shaped = Arc::new(schema.project(columns)?);
        let column = |(column, field): (&usize, &FieldRef)| {
            let root = self.places.get(*column).copied().flatten();
            let found = root.and_then(|root| batch.columns().get(roots.partition_point(|known| *known < root)));
            match found {
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
                Some(found) if found.data_type() == field.data_type() => Ok(Arc::clone(found)),
                Some(found) => Ok(arrow_cast::cast(found, field.data_type())?),
            }
        };
        let columns = columns.iter().zip(shaped.fields()).map(column).collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(shaped, columns, &options)?)
    }
}

impl FeatureRows for ParquetRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn parts(&self) -> &[u32] {
        &self.parts
    }

    fn time_range(&self, part: usize, column: usize) -> Option<(i64, i64)> {
        let (file, group) = self.part(part)?;
        let DataType::Timestamp(unit, _) = self.schema.fields().get(column)?.data_type() else { return None };
        let chunk = file.footer.metadata().row_groups().get(group)?.columns().get(file.leaf(column)?)?;
        let LogicalType::Timestamp(described) = chunk.column_descr().logical_type_ref()? else { return None };
        let same = match described.unit {
            ParquetUnit::MILLIS => *unit == TimeUnit::Millisecond,
            ParquetUnit::MICROS => *unit == TimeUnit::Microsecond,
            ParquetUnit::NANOS => *unit == TimeUnit::Nanosecond,
        };
        let Statistics::Int64(found) = chunk.statistics()? else { return None };
        if same { Some((*found.min_opt()?, *found.max_opt()?)) } else { None }
    }

    fn value_bytes(&self, column: usize) -> usize {
        let declared = self.schema.fields().get(column).and_then(|field| field.data_type().primitive_width());
        let stored = || {
            let groups = self.files.iter().flat_map(|file| {
                let leaves: Vec<_> = file.leaves(column).collect();
                let groups = file.footer.metadata().row_groups().iter();
                groups.flat_map(move |group| leaves.clone().into_iter().filter_map(|leaf| group.columns().get(leaf)))
            });
            let bytes = groups.map(|chunk| usize::try_from(chunk.uncompressed_size()).unwrap_or(0)).sum::<usize>();
            // Dictionaries may hide half of it, and offsets come on top.
            2 * bytes / self.parts.iter().map(|rows| *rows as usize).sum::<usize>().max(1) + 16
        };
        declared.map_or_else(stored, |width| width + 1)
    }

    fn buffer_bytes(&self, columns: &[usize]) -> usize {
        self.files.iter().map(|file| file.buffer_bytes(columns)).max().unwrap_or(0)
    }

    #[cfg(feature = "spark")]
    fn urls(&self) -> Option<Vec<String>> {
        let url = |file: &ParquetFile| {
            let Place::Local(path) = &file.place else { return None };
            // A file that is older than a column has nothing that could be read by its name.
            file.places.iter().all(Option::is_some).then_some(())?;
            super::file_url(path)
        };
        self.files.iter().map(url).collect()
    }

    fn read<'a>(&'a self, part: usize, request: Request<'a>) -> Result<Batches<'a>> {
        let (file, group) =
            self.part(part).ok_or_else(|| Error::internal("a join asked for a part that is not there"))?;
        let places = request.columns.iter().filter_map(|column| file.places.get(*column).copied().flatten());
        let mut roots: Vec<usize> = places.collect();
        roots.sort_unstable();
        roots.dedup();
        let columns = ProjectionMask::roots(file.footer.parquet_schema(), roots.iter().copied());
        let (rows, batch_rows) = (request.rows, request.batch_rows);
        let reader = file.place.read(&file.footer, GroupRequest { group, columns, rows, batch_rows })?;
        Ok(Box::new(reader.map(move |batch| {
            let batch = batch.map_err(|error| file.place.unreadable().with_source(error))?;
            file.shaped(&batch, &self.schema, request.columns, &roots)
        })))
    }
}

/// The error for a file of a table: one that is not there is data that is lost.
fn lost(error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    Error::data_loss(error.message()).with_source(error)
}

/// For each column of `schema` its place in `file`, which has them all.
fn places(schema: &SchemaRef, file: &SchemaRef, path: &Place) -> Result<Vec<Option<usize>>> {
    let place = |wanted: &FieldRef| {
        let place = file.index_of(wanted.name()).map_err(|_| {
            Error::invalid_argument(format!(
                "{} has no column \"{}\" as the files before it",
                path.name(),
                wanted.name()
            ))
        })?;
        let found = file.field(place).data_type();
        if found != wanted.data_type() {
            return Err(Error::invalid_argument(format!(
                "column \"{}\" is {found} in {} but {} in the files before it",
                wanted.name(),
                path.name(),
                wanted.data_type()
            )));
        }
        Ok(Some(place))
    };
    schema.fields().iter().map(place).collect()
}

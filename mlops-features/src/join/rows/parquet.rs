//! Rows of Parquet files; each row group is a part. Only footers are kept.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use mlops_core::{Error, Result};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection},
    },
    basic::{LogicalType, TimeUnit as ParquetUnit},
    file::statistics::Statistics,
};

use super::{Batches, FeatureRows, Request};

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
    path: PathBuf,
    footer: ArrowReaderMetadata,
    /// For each column of the schema its place in the file.
    places: Vec<usize>,
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
            let footer = ArrowReaderMetadata::load(&open(&path)?, ArrowReaderOptions::new());
            let footer = footer.map_err(|error| unreadable(&path).with_source(error))?;
            let schema = schema.get_or_insert_with(|| SchemaRef::clone(footer.schema()));
            let places = places(schema, footer.schema(), &path)?;
            files.push(ParquetFile { path, footer, places });
        }
        let schema = schema.ok_or_else(|| Error::invalid_argument("a source needs at least one Parquet file"))?;
        let (mut groups, mut parts) = (Vec::new(), Vec::new());
        for (file, ParquetFile { path, footer, .. }) in files.iter().enumerate() {
            for (group, row_group) in footer.metadata().row_groups().iter().enumerate() {
                parts.push(u32::try_from(row_group.num_rows()).map_err(|_| unreadable(path))?);
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
        let (root, described) = (*self.places.get(column)?, self.footer.parquet_schema());
        let mut leaves = (0..described.num_columns()).filter(|leaf| described.get_column_root_idx(*leaf) == root);
        leaves.next().filter(|_| leaves.next().is_none())
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
                let leaves = (0..file.footer.parquet_schema().num_columns()).filter(|leaf| {
                    Some(&file.footer.parquet_schema().get_column_root_idx(*leaf)) == file.places.get(column)
                });
                let leaves: Vec<_> = leaves.collect();
                let groups = file.footer.metadata().row_groups().iter();
                groups.flat_map(move |group| leaves.clone().into_iter().filter_map(|leaf| group.columns().get(leaf)))
            });
            let bytes = groups.map(|chunk| usize::try_from(chunk.uncompressed_size()).unwrap_or(0)).sum::<usize>();
            // Dictionaries may hide half of it, and offsets come on top.
            2 * bytes / self.parts.iter().map(|rows| *rows as usize).sum::<usize>().max(1) + 16
        };
        declared.map_or_else(stored, |width| width + 1)
    }

    fn read<'a>(&'a self, part: usize, request: Request<'a>) -> Result<Batches<'a>> {
        let (file, group) =
            self.part(part).ok_or_else(|| Error::internal("a join asked for a part that is not there"))?;
        let fail = |error| unreadable(&file.path).with_source(error);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(open(&file.path)?, file.footer.clone());
        let mut roots: Vec<usize> =
            request.columns.iter().filter_map(|column| file.places.get(*column)).copied().collect();
        let wanted = roots.clone();
        roots.sort_unstable();
        roots.dedup();
        // The reader yields columns in the order of the file.
        let order: Vec<usize> = wanted.iter().map(|root| roots.partition_point(|known| known < root)).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let mut builder =
            builder.with_row_groups(vec![group]).with_projection(mask).with_batch_size(request.batch_rows.max(1));
        if let Some(rows) = request.rows {
            let total = self.parts.get(part).copied().unwrap_or(0) as usize;
            builder = builder.with_row_selection(selection(rows, total));
        }
        let reader = builder.build().map_err(fail)?;
        Ok(Box::new(reader.map(move |batch| {
            let batch = batch.map_err(|error| unreadable(&file.path).with_source(error))?;
            Ok(batch.project(&order)?)
        })))
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

/// For each column of `schema` its place in `file`.
fn places(schema: &SchemaRef, file: &SchemaRef, path: &Path) -> Result<Vec<usize>> {
    let place = |wanted: &arrow_schema::FieldRef| {
        let place = file.index_of(wanted.name()).map_err(|_| {
            Error::invalid_argument(format!(
                "{} has no column \"{}\" as the files before it",
                path.display(),
                wanted.name()
            ))
        })?;
        let found = file.field(place).data_type();
        if found != wanted.data_type() {
            return Err(Error::invalid_argument(format!(
                "column \"{}\" is {found} in {} but {} in the files before it",
                wanted.name(),
                path.display(),
                wanted.data_type()
            )));
        }
        Ok(place)
    };
    schema.fields().iter().map(place).collect()
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        let message = format!("{} cannot be opened", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => Error::not_found(message).with_source(error),
            _ => Error::unavailable(message).with_source(error),
        }
    })
}

fn unreadable(path: &Path) -> Error {
    Error::data_loss(format!("{} is not readable Parquet", path.display()))
}

//! What is to be done, before anything is: every part is looked at, and either fits or is told.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

use mlops_core::{Error, ErrorKind, Result, ResultExt as _};
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    basic::Compression,
    file::metadata::ParquetMetaData,
};

use super::{
    fault::{PATH, about, of_disk, of_reading},
    input::{Part, Parts, parquet_files},
    job::Job,
    record::{Mark, Origin, Record},
    shape::Shape,
};

/// A part and what is known of it.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) part: Part,
    pub(super) rows: u64,
    pub(super) origin: Origin,
    /// The output that an earlier run put there, made of the same by the same.
    pub(super) found: Option<Record>,
}

/// The parts of a job, in order. Reads the footer of every file.
///
/// # Errors
/// `InvalidArgument` when a file does not fit the model, naming the file and all columns at fault; `DataLoss` when it is
/// damaged; `Unimplemented` when it is compressed in a way that is not read here; `FailedPrecondition` when the output folder holds parts that this input has not.
pub(super) fn plan(job: &Job, listed: Parts) -> Result<Vec<Planned>> {
    refuse_foreign_parts(&job.output, &listed)?;
    let mut planned = Vec::with_capacity(listed.parts.len());
    for part in listed.parts {
        job.check()?;
        planned.push(look_at(job, part)?);
    }
    Ok(planned)
}

fn look_at(job: &Job, part: Part) -> Result<Planned> {
    let mark = Mark::of(&part.path, job.settings.fingerprint)?;
    let (rows, _) = open(job, &part.path)?.1;
    let origin = Origin::new(&part.name, mark, job.digest, &job.keys, &job.settings);
    let found = Record::of(&job.output.join(&part.name));
    let found = found.filter(|record| job.digest.is_some() && record.origin == origin && record.rows == rows);
    Ok(Planned { part, rows, origin, found })
}

/// Opens a file: itself with its footer, and its rows and shape.
///
/// # Errors
/// As [`plan`].
pub(super) fn open(job: &Job, path: &Path) -> Result<((File, ArrowReaderMetadata), (u64, Shape))> {
    let file = File::open(path).map_err(|error| of_disk(path, error))?;
    let metadata =
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| of_reading(path, error))?;
    let rows = u64::try_from(metadata.metadata().file_metadata().num_rows())
        .map_err(|_| about(ErrorKind::DataLoss, path, "has a negative number of rows"))?;
    check_codecs(path, metadata.metadata())?;
    let shape = Shape::of(job.model.signature(), &job.keys, metadata.schema(), &job.settings);
    let shape = shape.context(format!("file {path:?} does not fit the model"));
    let shape = shape.map_err(|error| error.with(PATH, path.display()))?;
    Ok(((file, metadata), (rows, shape)))
}

/// Compressions that are not built in are told before the first row.
fn check_codecs(path: &Path, metadata: &ParquetMetaData) -> Result<()> {
    let known =
        |codec: Compression| matches!(codec, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_));
    let mut codecs = metadata.row_groups().iter().flat_map(|group| group.columns()).map(|column| column.compression());
    match codecs.find(|codec| !known(*codec)) {
        Some(codec) => {
            Err(about(ErrorKind::Unimplemented, path, format!("is compressed by {codec}; snappy and zstd are read")))
        }
        None => Ok(()),
    }
}

/// Output parts without an input would be rows that nobody asked for.
fn refuse_foreign_parts(output: &Path, listed: &Parts) -> Result<()> {
    let ours: BTreeSet<&str> = listed.parts.iter().map(|part| part.name.as_str()).collect();
    let there = parquet_files(output)?;
    let foreign: Vec<&String> = there.iter().filter(|name| !ours.contains(name.as_str())).collect();
    match foreign.first() {
        None => Ok(()),
        Some(first) => Err(Error::failed_precondition(format!(
            "output folder {output:?} holds {} parts that the input has not, such as {first:?}; remove them or choose \
             another folder",
            foreign.len()
        ))
        .with(PATH, output.join(first).display())),
    }
}

/// Refuses an output that lies where the input is read.
///
/// # Errors
/// `InvalidArgument` naming both.
pub(super) fn refuse_overlap(output: &Path, listed: &Parts) -> Result<()> {
    let output = resolved(output)?;
    let overlaps = match (&listed.folder, listed.parts.first()) {
        (Some(folder), _) => {
            let folder = resolved(folder)?;
            folder.starts_with(&output) || output.starts_with(&folder)
        }
        (None, Some(part)) => resolved(&part.path)?.starts_with(&output),
        (None, None) => false,
    };
    if overlaps {
        return Err(Error::invalid_argument(format!(
            "output folder {output:?} and the input lie within one another; choose another folder"
        )));
    }
    Ok(())
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                Ok(resolved(parent)?.join(name))
            }
            _ => Err(of_disk(path, error)),
        },
        found => found.map_err(|error| of_disk(path, error)),
    }
}

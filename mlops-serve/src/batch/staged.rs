//! An output part on its way to its place.
//!
//! Invariant: under its own name there is the whole file or what was there before. Until [`Staged::commit`] the rows lie
//! in a hidden file beside it, which goes away with the value; one that a killed process left is overwritten.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use mlops_core::{Error, Result};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

use super::{
    fault::{of_disk, of_writing},
    record::Record,
    settings::BatchSettings,
};
use crate::durable;

/// A part that is being written.
pub(super) struct Staged {
    /// None once it is in its place.
    writer: Option<ArrowWriter<File>>,
    hidden: PathBuf,
    place: PathBuf,
}

impl Staged {
    /// Begins the part `name` below `folder`.
    ///
    /// # Errors
    /// What the disk refuses.
    pub(super) fn create(folder: &Path, name: &str, schema: SchemaRef, settings: &BatchSettings) -> Result<Self> {
        let place = folder.join(name);
        let hidden = hidden(&place)?;
        create_parents(folder, &place)?;
        let file = File::create(&hidden).map_err(|error| of_disk(&hidden, error))?;
        let properties = WriterProperties::builder()
            .set_created_by(concat!("mlops-serve ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(settings.row_group_rows))
            .set_max_row_group_bytes(Some(settings.row_group_bytes))
            .build();
        match ArrowWriter::try_new(file, schema, Some(properties)) {
            Ok(writer) => Ok(Self { writer: Some(writer), hidden, place }),
            Err(error) => {
                discard(&hidden);
                Err(of_writing(&place, error))
            }
        }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// `ResourceExhausted` when the disk is full, `Unimplemented` for a type that Parquet has not, what else the disk
    /// refuses.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let writer = self.writer.as_mut().ok_or_else(ended)?;
        writer.write(rows).map_err(|error| of_writing(&self.place, error))
    }

    /// Puts the part into its place, durably.
    ///
    /// # Errors
    /// As [`Staged::write`].
    pub(super) fn commit(mut self, record: &Record) -> Result<()> {
        let mut writer = self.writer.take().ok_or_else(ended)?;
        writer.append_key_value_metadata(record.to_entry());
        let done = writer.into_inner().map_err(|error| of_writing(&self.place, error)).and_then(|file| {
            file.sync_all()
                .and_then(|()| fs::rename(&self.hidden, &self.place))
                .map_err(|error| of_disk(&self.place, error))
        });
        if let Err(error) = done {
            discard(&self.hidden);
            return Err(error);
        }
        self.place.parent().map_or(Ok(()), sync_folder)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer);
            discard(&self.hidden);
        }
    }
}

fn discard(hidden: &Path) {
    if let Err(error) = fs::remove_file(hidden) {
        tracing::warn!(path = %hidden.display(), %error, "an unfinished output part could not be removed");
    }
}

fn ended() -> Error {
    Error::internal("the output part is in its place already")
}

/// The name under which a part is written.
fn hidden(place: &Path) -> Result<PathBuf> {
    let name = place.file_name().ok_or_else(|| Error::internal(format!("part {place:?} has no name")))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".partial");
    Ok(place.with_file_name(hidden))
}

/// Makes the folders between `folder` and `place`, durably.
fn create_parents(folder: &Path, place: &Path) -> Result<()> {
    let Some(parent) = place.parent().filter(|parent| !parent.is_dir()) else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|error| of_disk(parent, error))?;
    parent.ancestors().skip(1).take_while(|above| above.starts_with(folder)).try_for_each(sync_folder)
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    durable::sync_folder(folder).map_err(|error| of_disk(folder, error))
}

//! The rows of one version as a join reads them: row group by row group, when it wants them.

use std::path::PathBuf;

use mlops_core::{Error, Result};
use tokio::runtime::Handle;

use super::{Scan, Table};
use crate::join::rows::{ParquetRows, Place, Stored};

impl Table {
    /// The rows of the files that `scan` wants, of which a file may hold others as well; only the footers are read now.
    /// On a local disk pages are read as they are needed; from elsewhere the columns of a row group are fetched at once.
    ///
    /// # Errors
    /// As [`Table::scan`].
    pub(crate) async fn rows(&self, scan: &Scan) -> Result<ParquetRows> {
        let schema = self.scan_schema(scan)?;
        let (table, files) = self.files_of(scan).await?;
        let (store, root, runtime) = (table.object_store(), self.directory(), Handle::current());
        let place = move |file: super::files::DataFile| match &root {
            Some(root) => Place::Local(root.join(file.path.as_ref())),
            None => {
                let (store, runtime) = (std::sync::Arc::clone(&store), runtime.clone());
                Place::Stored(Stored { store, path: file.path, bytes: file.bytes, runtime })
            }
        };
        let open = move || ParquetRows::of_table(schema, files.into_iter().map(place));
        let opened = tokio::task::spawn_blocking(open).await;
        opened.map_err(|_| Error::internal("opening the files of a table panicked"))?
    }

    /// The table's directory, if it is one of this machine.
    fn directory(&self) -> Option<PathBuf> {
        let location = self.location();
        if !location.contains("://") {
            return Some(PathBuf::from(location));
        }
        // A URL spells blanks and other letters as %20 and the like.
        url::Url::parse(location).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()
    }
}

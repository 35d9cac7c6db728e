//! Files of a source: which there are, which are new, and each of them as one commit.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::TryStreamExt as _;
use glob::{MatchOptions, Pattern};
use mlops_core::{Digest, Error, Result, ResultExt as _};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, path::Path};

use super::{SourceIngestor, SourceReceipt, format, shape::Wanted};
use crate::{definition::FileFormat, table::BATCH_ID_BYTES_MAX};

/// Wildcards stand for names, `**` for any number of folders.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Which objects of a store a URL means.
#[derive(Debug)]
struct Place {
    store: Arc<dyn ObjectStore>,
    /// Scheme and authority without a password, by which a file is known beside its path.
    root: String,
    /// Everything is below it.
    folder: Path,
    which: Which,
}

#[derive(Debug)]
enum Which {
    /// This object alone, which must be there.
    One(Path),
    /// All below the folder but what is, or is in a folder, whose name begins with a dot or an underscore, as readers
    /// of lakes leave it out.
    All,
    Matching(Pattern),
}

impl SourceIngestor {
    pub(super) async fn files(&self, url: &str, format: FileFormat) -> Result<SourceReceipt> {
        let what = format!("source \"{}\"", self.source.name());
        let place = self.place(url).context(&what)?;
        let found = place.list(self.settings.files_max).await.context(&what)?;
        let new = self.new_files(&place, &found).await.context(&what)?;
        let files_known = (found.len() - new.len()) as u64;
        if found.is_empty() {
            tracing::warn!(source = self.source.name(), url, "a source has no file");
        }
        let mut receipt = SourceReceipt { files_known, ..SourceReceipt::default() };
        let wanted = Arc::new(Wanted::of(&self.source, self.ingestor.table().schema()));
        for (done, file) in new.iter().enumerate() {
            if self.cancellation.is_cancelled() {
                return Err(Error::cancelled(format!("{what} was cancelled; what is done stays done")));
            }
            let taken = self.take(&place, file, format, Arc::clone(&wanted)).await;
            let (rows, quarantined) = taken.context(format!("{what}: file {}", file.location))?;
            receipt.files += 1;
            receipt.rows += rows;
            receipt.quarantined += quarantined;
            self.tell(done + 1, new.len(), receipt.rows);
        }
        Ok(receipt)
    }

    fn place(&self, url: &str) -> Result<Place> {
        let (root, path) = match url.split_once("://") {
            None => ("file://".to_owned(), url),
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                (format!("{scheme}://{authority}"), path)
            }
        };
        let (store, path) = (self.reach.objects(&root)?, path.trim_start_matches('/'));
        let root = without_password(&root);
        let parse = |path: &str| {
            let fail = |error| Error::invalid_argument(format!("{url} has no valid path")).with_source(error);
            Path::parse(path.trim_end_matches('/')).map_err(fail)
        };
        let Some(wildcard) = path.find(['*', '?', '[']) else {
            let folder = path.is_empty() || path.ends_with('/');
            let which = if folder { Which::All } else { Which::One(parse(path)?) };
            return Ok(Place { store, root, folder: parse(path)?, which });
        };
        let folder = path.get(..wildcard).and_then(|head| head.rsplit_once('/')).map_or("", |(folder, _)| folder);
        let fail = |error| Error::invalid_argument(format!("{url} is no valid pattern")).with_source(error);
        let pattern = Pattern::new(path).map_err(fail)?;
        Ok(Place { store, root, folder: parse(folder)?, which: Which::Matching(pattern) })
    }

    /// Those that were not taken in yet; a file that was and has another size now is refused.
    async fn new_files(&self, place: &Place, found: &[ObjectMeta]) -> Result<Vec<ObjectMeta>> {
        let ids: Vec<String> = found.iter().map(|file| place.batch_id(&file.location)).collect();
        let known = self.ingestor.batch_numbers(&ids).await?;
        let mut new = Vec::new();
        for (file, known) in found.iter().zip(known) {
            match known {
                None => new.push(file.clone()),
                Some(size) if size == number(file.size) => {}
                Some(size) => {
                    return Err(Error::failed_precondition(format!(
                        "file {} had {size} bytes when it was taken in and has {} now; its rows are in the table \
                         already: put it back and write what is new into another file",
                        file.location, file.size
                    )));
                }
            }
        }
        Ok(new)
    }

    /// Takes `file` in and gives the rows that came into the table and those that went into quarantine.
    async fn take(
        &self,
        place: &Place,
        file: &ObjectMeta,
        format: FileFormat,
        wanted: Arc<Wanted>,
    ) -> Result<(u64, u64)> {
        let bytes_max = self.settings.file_bytes_max;
        let got = place.store.get(&file.location).await.map_err(unreadable)?;
        let size = got.meta.size;
        if size > bytes_max {
            return Err(Error::resource_exhausted(format!("it has {size} bytes; file_bytes_max is {bytes_max}")));
        }
        let bytes = got.bytes().await.map_err(unreadable)?;
        if bytes.len() as u64 != size {
            return Err(Error::unavailable(format!("{} of {size} bytes were read", bytes.len())));
        }
        let work = move || format::decode(format, &bytes, &wanted);
        let batch: RecordBatch =
            tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("decoding it panicked"))??;
        let receipt = self.ingestor.append_numbered(&place.batch_id(&file.location), number(size), &batch).await?;
        Ok(if receipt.accepted() { (receipt.rows, 0) } else { (0, receipt.rows) })
    }
}

impl Place {
    /// The files there are, in order of their paths.
    async fn list(&self, files_max: usize) -> Result<Vec<ObjectMeta>> {
        if let Which::One(path) = &self.which {
            return Ok(vec![self.store.head(path).await.map_err(unreadable)?]);
        }
        let folder = (!self.folder.as_ref().is_empty()).then_some(&self.folder);
        let mut listed = self.store.list(folder);
        let mut files = Vec::new();
        while let Some(file) = listed.try_next().await.map_err(unreadable)? {
            if !self.means(&file.location) {
                continue;
            }
            if files.len() == files_max {
                return Err(Error::resource_exhausted(format!("it has more than {files_max} files; raise files_max")));
            }
            files.push(file);
        }
        files.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(files)
    }

    fn means(&self, path: &Path) -> bool {
        let below = || path.prefix_match(&self.folder);
        match &self.which {
            Which::One(one) => one == path,
            Which::All => below().is_some_and(|mut parts| parts.all(|part| !part.as_ref().starts_with(['.', '_']))),
            Which::Matching(pattern) => pattern.matches_with(path.as_ref(), MATCHING),
        }
    }

    /// The id under which a file's rows are in the table. It says which store the file is in, or a file of the same
    /// path in another one would be taken for known.
    fn batch_id(&self, path: &Path) -> String {
        let file = format!("{}/{path}", self.root);
        let id = format!("file/{file}");
        if id.len() <= BATCH_ID_BYTES_MAX { id } else { format!("file/{}", Digest::of(file.as_bytes())) }
    }
}

fn unreadable(error: object_store::Error) -> Error {
    match error {
        object_store::Error::NotFound { ref path, .. } => Error::not_found(format!("{path} does not exist")),
        _ => Error::unavailable("it cannot be read"),
    }
    .with_source(error)
}

/// `root` as it may be told: a user stays, because `abfss://container@account` names its container there.
fn without_password(root: &str) -> String {
    let parts = root.split_once("://").and_then(|(scheme, authority)| Some((scheme, authority.rsplit_once('@')?)));
    match parts {
        Some((scheme, (user, host))) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{scheme}://{user}@{host}")
        }
        None => root.to_owned(),
    }
}

fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

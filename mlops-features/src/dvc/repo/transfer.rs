//! Push, fetch and pull.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use mlops_core::{Error, ErrorKind, Result};

use super::{DvcRepo, Inner, Session, blocking, checkout::CheckoutReport, targets::owned};
use crate::{
    dvc::{
        objects::missing,
        oid::{Layout, ObjectId},
        output::Output,
        remote::{Moves, Remote},
        tree::{TREE_BYTES_MAX, Tree},
    },
    workers::spread,
};

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransferReport {
    /// Objects moved.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were there already.
    pub present: u64,
}

/// Objects of one remote.
#[derive(Default)]
struct Wanted {
    files: HashMap<ObjectId, Option<u64>>,
    directories: Vec<ObjectId>,
}

impl DvcRepo {
    /// Sends the content of the outputs at `paths` (all when there are none) to their remotes: files first, listings of
    /// directories last, so that a listing on the remote is a promise that its files are there.
    ///
    /// # Errors
    /// `NotFound` for content that is neither in the cache nor on the remote, `DataLoss` for a damaged object (it is not
    /// sent), `FailedPrecondition` without a remote, `Unimplemented` for outputs of DVC 2, `Unavailable` when the remote
    /// cannot be reached; what was sent stays, and pushing again goes on from there.
    #[tracing::instrument(skip_all)]
    pub async fn push(&self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<TransferReport> {
        let paths = owned(paths);
        let _turn = self.inner.writing.lock().await;
        let inner = Arc::clone(&self.inner);
        let begin = move || {
            let session = Session::begin(inner)?;
            let wanted = session.inner.to_push(&paths)?;
            Ok((session, wanted))
        };
        let (session, wanted) = blocking(begin).await?;
        let mut report = TransferReport::default();
        let mut outcome = Ok(());
        for (remote, wanted) in wanted {
            outcome = self.push_to(remote.as_deref(), wanted, &session, &mut report).await;
            if outcome.is_err() {
                break;
            }
        }
        finish(session).await?;
        outcome.map(|()| report)
    }

    async fn push_to(
        &self,
        remote: Option<&str>,
        wanted: Wanted,
        session: &Session,
        report: &mut TransferReport,
    ) -> Result<()> {
        let remote = self.inner.remote(remote)?;
        let files: Vec<_> = wanted.files.into_iter().collect();
        self.push_objects(&remote, &files, session, report).await?;
        let directories: Vec<_> = wanted.directories.into_iter().map(|id| (id, None)).collect();
        self.push_objects(&remote, &directories, session, report).await
    }

    async fn push_objects(
        &self,
        remote: &Remote,
        objects: &[(ObjectId, Option<u64>)],
        session: &Session,
        report: &mut TransferReport,
    ) -> Result<()> {
        let at_once = self.inner.settings.transfers.max(1);
        let present = remote.present(objects, at_once).await?;
        report.present += present.len() as u64;
        let absent = objects.iter().filter(|(id, _)| !present.contains(id));
        if let Some((id, _)) = absent.clone().find(|(id, size)| size.is_none() && !id.is_directory()) {
            return Err(missing(id, self.inner.cache.root()));
        }
        let absent: Vec<ObjectId> = absent.map(|(id, _)| *id).collect();
        let moves = Moves { cache: &self.inner.cache, stats: &session.stats, at_once };
        let sent = stream::iter(absent).map(|id| remote.send(id, &moves)).buffer_unordered(moves.at_once);
        let (objects, bytes) =
            sent.try_fold((0, 0), |(objects, sum), bytes| async move { Ok((objects + 1, sum + bytes)) }).await?;
        report.objects += objects;
        report.bytes += bytes;
        Ok(())
    }

    /// Brings the content of the outputs at `paths` (all when there are none) into the cache. What is there and sound
    /// stays; what is damaged is replaced.
    ///
    /// # Errors
    /// `NotFound` for content that the remote does not have, `DataLoss` for what is damaged there, `InvalidArgument`
    /// for a listing that leads out of its directory, `FailedPrecondition` without a remote, `Unavailable` when it
    /// cannot be reached; what arrived stays, and fetching again goes on from there.
    #[tracing::instrument(skip_all)]
    pub async fn fetch(&self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<TransferReport> {
        let paths = owned(paths);
        let _turn = self.inner.writing.lock().await;
        let inner = Arc::clone(&self.inner);
        let begin = move || {
            let session = Session::begin(inner)?;
            let outputs = session.inner.tracked(&paths)?;
            Ok((session, outputs))
        };
        let (session, outputs) = blocking(begin).await?;
        let mut by_remote: BTreeMap<Option<String>, Vec<Output>> = BTreeMap::new();
        for output in outputs.into_iter().filter(|output| output.cached) {
            by_remote.entry(output.remote.clone()).or_default().push(output);
        }
        let mut report = TransferReport::default();
        let mut outcome = Ok(());
        for (remote, outputs) in by_remote {
            outcome = self.fetch_from(remote.as_deref(), &outputs, &session, &mut report).await;
            if outcome.is_err() {
                break;
            }
        }
        finish(session).await?;
        outcome.map(|()| report)
    }

    /// [`DvcRepo::fetch`], then [`DvcRepo::checkout`].
    ///
    /// # Errors
    /// As there.
    pub async fn pull(
        &self,
        paths: impl IntoIterator<Item = impl AsRef<Path>>,
    ) -> Result<(TransferReport, CheckoutReport)> {
        let paths = owned(paths);
        let fetched = self.fetch(&paths).await?;
        Ok((fetched, self.checkout(&paths).await?))
    }

    async fn fetch_from(
        &self,
        remote: Option<&str>,
        outputs: &[Output],
        session: &Session,
        report: &mut TransferReport,
    ) -> Result<()> {
        let first: Vec<_> = outputs.iter().map(|output| (output.id, output.layout)).collect();
        self.fetch_objects(remote, first, session, report).await?;
        let directories: Vec<_> = outputs.iter().filter(|output| output.id.is_directory()).cloned().collect();
        let cache = self.inner.cache.clone();
        let files = blocking(move || {
            let mut files = Vec::new();
            for output in directories {
                let bytes = cache.read(&output.id, output.layout, TREE_BYTES_MAX)?;
                let tree = Tree::parse(&output.id, &bytes)?;
                files.extend(tree.entries().iter().map(|entry| (ObjectId::file(entry.md5), output.layout)));
            }
            Ok(files)
        });
        self.fetch_objects(remote, files.await?, session, report).await
    }

    async fn fetch_objects(
        &self,
        remote: Option<&str>,
        mut objects: Vec<(ObjectId, Layout)>,
        session: &Session,
        report: &mut TransferReport,
    ) -> Result<()> {
        objects.sort_unstable_by_key(|(id, layout)| (*id, *layout == Layout::Legacy));
        objects.dedup();
        let (inner, stats) = (Arc::clone(&self.inner), Arc::clone(&session.stats));
        let (objects, sound) = blocking(move || {
            let sound = |(id, layout): &(ObjectId, Layout)| inner.cache.is_sound(id, *layout, &stats);
            let sound = spread(inner.threads(), &objects, sound)?;
            Ok((objects, sound))
        })
        .await?;
        let absent: Vec<_> =
            objects.into_iter().zip(&sound).filter(|(_, sound)| !**sound).map(|(object, _)| object).collect();
        report.present += (sound.len() - absent.len()) as u64;
        if absent.is_empty() {
            return Ok(());
        }
        let remote = self.inner.remote(remote)?;
        let at_once = self.inner.settings.transfers.max(1);
        let moves = Moves { cache: &self.inner.cache, stats: &session.stats, at_once };
        let got = stream::iter(absent).map(|(id, layout)| remote.receive(id, layout, &moves)).buffer_unordered(at_once);
        let (objects, bytes) =
            got.try_fold((0, 0), |(objects, sum), bytes| async move { Ok((objects + 1, sum + bytes)) }).await?;
        report.objects += objects;
        report.bytes += bytes;
        Ok(())
    }
}

async fn finish(session: Session) -> Result<()> {
    blocking(move || {
        session.end();
        Ok(())
    })
    .await
}

impl Inner {
    /// What the outputs at `paths` consist of, by remote; sizes where the cache has it.
    fn to_push(&self, paths: &[std::path::PathBuf]) -> Result<BTreeMap<Option<String>, Wanted>> {
        let mut remotes: BTreeMap<Option<String>, Wanted> = BTreeMap::new();
        for output in self.tracked(paths)?.into_iter().filter(|output| output.cached && output.pushed) {
            if output.layout == Layout::Legacy {
                return Err(Error::unimplemented(format!(
                    "\"{}\" was recorded by DVC 2, whose layout is only read; add it again to push it",
                    output.path
                )));
            }
            let wanted = remotes.entry(output.remote.clone()).or_default();
            if !output.id.is_directory() {
                wanted.add_file(self, output.id)?;
                continue;
            }
            let bytes = self.cache.read(&output.id, output.layout, TREE_BYTES_MAX)?;
            for entry in Tree::parse(&output.id, &bytes)?.entries() {
                wanted.add_file(self, ObjectId::file(entry.md5))?;
            }
            wanted.directories.push(output.id);
        }
        Ok(remotes)
    }
}

impl Wanted {
    fn add_file(&mut self, inner: &Inner, id: ObjectId) -> Result<()> {
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.files.entry(id) {
            let found = match inner.cache.find(&id, Layout::Files) {
                Err(error) if error.kind() == ErrorKind::DataLoss => None,
                found => found?,
            };
            vacant.insert(found.map(|(_, metadata)| metadata.len()));
        }
        Ok(())
    }
}

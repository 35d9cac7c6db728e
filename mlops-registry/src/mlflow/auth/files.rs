//! An artifact store that asks first.
//!
//! Invariant: a path is the experiment's whose number begins it, and the run's in whose directory it lies; all of them
//! must allow the action. What is nobody's is for administrators.

use std::{collections::BTreeSet, sync::Arc};

use mlops_core::{Action, Resource, Result, RunId};

use super::guard::{Guard, experiment};
use crate::{ArtifactEntry, ArtifactStore, ExperimentId, RunHome, TrackingStore, artifacts::check_path};

/// Deepest path whose run is looked for; what lies deeper in nobody's directory is nobody's.
const DEPTH_MAX: usize = 16;

/// The files, to be had only for an action on a path.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    store: ArtifactStore,
    /// Directories of this machine in which experiments may keep files by themselves.
    directories: Vec<ArtifactStore>,
    guarded: Option<Guarded>,
}

#[derive(Debug, Clone)]
struct Guarded {
    store: ArtifactStore,
    guard: Arc<Guard>,
    tracking: Arc<dyn TrackingStore>,
}

impl Files {
    /// Files for everybody.
    pub(crate) fn open(store: ArtifactStore) -> Self {
        Self { store, directories: Vec::new(), guarded: None }
    }

    /// Lets experiments keep files in this directory too.
    pub(in crate::mlflow) fn add_directory(&mut self, directory: ArtifactStore) {
        self.directories.push(directory);
    }

    /// The same for whom the guard allows it; `tracking` knows the runs.
    pub(in crate::mlflow) fn guarded(&self, guard: Arc<Guard>, tracking: Arc<dyn TrackingStore>) -> Self {
        Self { guarded: Some(Guarded { store: self.store.clone(), guard, tracking }), ..self.clone() }
    }

    /// What the store can do; no secret.
    pub(crate) fn capabilities(&self) -> crate::ArtifactCapabilities {
        self.store.capabilities()
    }

    /// The store, for this action on this path and what is below it.
    pub(crate) async fn at(&self, path: &str, action: Action) -> Result<&ArtifactStore> {
        check_path("artifact path", path)?;
        if let Some(guarded) = &self.guarded {
            guarded.check(path, action).await?;
        }
        Ok(&self.store)
    }

    /// The store and the path in it of what lies below the root of a run or model that the caller may read, for this
    /// action. What lies in a directory that experiments chose by themselves says not whose it is, so where somebody is
    /// asked, it is for administrators.
    pub(crate) async fn below(&self, root: &str, path: &str, action: Action) -> Result<(&ArtifactStore, String)> {
        let whole = |root: String| match path {
            "" => Ok(root),
            path => check_path("path", path).map(|()| format!("{root}/{path}")),
        };
        let error = match self.store.path_of(root) {
            Ok(root) => {
                let path = whole(root)?;
                return Ok((self.at(&path, action).await?, path));
            }
            Err(error) => error,
        };
        let found = self.directories.iter().find_map(|directory| Some((directory, directory.path_of(root).ok()?)));
        let Some((directory, root)) = found else { return Err(error) };
        if let Some(guarded) = &self.guarded
            && !guarded.guard.administers().await?
        {
            return Err(guarded.guard.refusal(action, format_args!("files at {root:?}")));
        }
        Ok((directory, whole(root)?))
    }

    /// The names at the root whose files may be read.
    pub(crate) async fn roots(&self) -> Result<Vec<ArtifactEntry>> {
        let entries = self.store.entries("").await?;
        let Some(guarded) = &self.guarded else { return Ok(entries) };
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let readable = guarded.allows(&names, Action::Read).await?;
        Ok(entries.into_iter().zip(readable).filter_map(|(entry, readable)| readable.then_some(entry)).collect())
    }
}

impl Guarded {
    async fn check(&self, path: &str, action: Action) -> Result<()> {
        match self.allows(&[path], action).await? == [true] {
            true => Ok(()),
            false => Err(self.guard.refusal(action, format_args!("file {path:?}"))),
        }
    }

    /// Whether the action is allowed on each of the paths, in their order.
    async fn allows(&self, paths: &[&str], action: Action) -> Result<Vec<bool>> {
        let owners = self.owners(paths).await?;
        let resources: Vec<Resource> = owners.iter().flatten().copied().map(experiment).collect();
        let allowed = self.guard.allows_each(action, &resources).await?;
        let (mut rest, mut decided) = (allowed.as_slice(), Vec::with_capacity(paths.len()));
        for owners in owners {
            let (own, others) = rest.split_at_checked(owners.len()).unwrap_or_default();
            rest = others;
            decided.push(match own {
                [] => self.guard.administers().await?,
                own => own.iter().all(|allowed| *allowed),
            });
        }
        Ok(decided)
    }

    /// The experiments that own each of the paths; the runs they name are looked up at once.
    async fn owners(&self, paths: &[&str]) -> Result<Vec<Vec<ExperimentId>>> {
        let named = |path: &&str| segments(path).filter_map(|segment| RunId::new(segment).ok()).collect::<Vec<_>>();
        let runs: Vec<RunId> = paths.iter().flat_map(named).collect::<BTreeSet<_>>().into_iter().collect();
        let homes = self.guard.homes(&self.tracking, &runs).await?;
        let owners = |path: &&str| {
            let number = segments(path).next().and_then(|first| first.parse().ok());
            // The outermost directory governs: a run that was put into another's does not open that one.
            let run = segments(path).filter_map(|segment| homes.get(segment)).find(|home| self.is_inside(path, home));
            number.into_iter().chain(run.map(|home| home.experiment)).collect()
        };
        Ok(paths.iter().map(owners).collect())
    }

    /// Whether the path is in the directory of the run, or that one in the path.
    fn is_inside(&self, path: &str, home: &RunHome) -> bool {
        self.store.path_of(&home.artifact_uri).is_ok_and(|root| {
            path.strip_prefix(&root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                || root.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').take(DEPTH_MAX)
}

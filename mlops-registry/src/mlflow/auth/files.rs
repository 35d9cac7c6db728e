//! An artifact store that asks first.
//!
//! Invariant: a path is the experiment's whose number begins it, and the run's in whose directory it lies; all of them
//! must allow the action. What is nobody's is for administrators.

use std::sync::Arc;

use mlops_core::{Action, Error, ErrorKind, Result, RunId};

use super::guard::{Guard, experiment};
use crate::{ArtifactEntry, ArtifactStore, ExperimentId, TrackingStore, artifacts::check_path};

/// Deepest path whose run is looked for; what lies deeper in nobody's directory is nobody's.
const DEPTH_MAX: usize = 16;

/// The files, to be had only for an action on a path.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    store: ArtifactStore,
    guarded: Option<Guarded>,
}

#[derive(Debug, Clone)]
struct Guarded {
    guard: Arc<Guard>,
    tracking: Arc<dyn TrackingStore>,
}

impl Files {
    /// Files for everybody.
    pub(crate) fn open(store: ArtifactStore) -> Self {
        Self { store, guarded: None }
    }

    /// The same for whom the guard allows it; `tracking` knows the runs.
    pub(in crate::mlflow) fn guarded(&self, guard: Arc<Guard>, tracking: Arc<dyn TrackingStore>) -> Self {
        Self { store: self.store.clone(), guarded: Some(Guarded { guard, tracking }) }
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

    /// The names at the root whose files may be read.
    pub(crate) async fn roots(&self) -> Result<Vec<ArtifactEntry>> {
        let entries = self.store.entries("").await?;
        let Some(guarded) = &self.guarded else { return Ok(entries) };
        let mut readable = Vec::with_capacity(entries.len());
        for entry in entries {
            match guarded.check(&entry.name, Action::Read).await {
                Ok(()) => readable.push(entry),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        Ok(readable)
    }
}

impl Guarded {
    async fn check(&self, path: &str, action: Action) -> Result<()> {
        let owners = self.owners(path).await?;
        if owners.is_empty() {
            return self.guard.check_admin().await;
        }
        for owner in owners {
            self.guard.check(action, &experiment(owner)).await?;
        }
        Ok(())
    }

    async fn owners(&self, path: &str) -> Result<Vec<ExperimentId>> {
        let segments: Vec<&str> = path.split('/').take(DEPTH_MAX).collect();
        let mut owners: Vec<ExperimentId> = segments.first().and_then(|first| first.parse().ok()).into_iter().collect();
        for segment in segments {
            let Ok(id) = RunId::new(segment) else { continue };
            let home = match self.guard.home(&self.tracking, &id).await {
                Ok(home) => home,
                Err(error) if is_no_run(&error) => continue,
                Err(error) => return Err(error),
            };
            let inside = ArtifactStore::path_of(&home.artifact_uri).is_ok_and(|root| {
                path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    || root.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
            });
            if inside {
                // The outermost directory governs: a run that was put into another's does not open that one.
                owners.push(home.experiment);
                break;
            }
        }
        Ok(owners)
    }
}

fn is_no_run(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument)
}

//! Where applied definitions are kept: one object per revision under `definitions/` in the store's root.
//!
//! Invariant: a revision is written once, whole, and only if nobody wrote it before, so of two who apply at once one
//! is told to plan again. As durable as a commit to a table in the same place. Old revisions stay, as history.

use std::sync::Arc;

use deltalake::{
    ensure_table_uri,
    logstore::{StorageConfig, logstore_for},
};
use futures::TryStreamExt as _;
use mlops_core::{Clock, Error, ErrorKind, Result};
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, path::Path};

use super::{
    AppliedDefinitions, Definitions,
    plan::{Permission, Plan},
};

const FOLDER: &str = "definitions";

/// Largest set of definitions that is read.
const BYTES_MAX: u64 = 64 << 20;

/// The durable definitions of one root.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::SystemClock;
/// use mlops_features::{DefinitionStore, Definitions, Entity, FeatureView, Permission};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let home = tempfile::tempdir()?;
/// let store = DefinitionStore::open(home.path().to_str().unwrap(), Arc::new(SystemClock::new()))?;
/// let view = FeatureView::builder("cards", Entity::new("card", ["card"])?, "payments").with_column("amount");
/// let plan = store.plan(&Definitions::new().with_view(view.build()?)).await?;
/// assert_eq!(plan.to_string().lines().next(), Some("feature view \"cards\""));
/// let applied = store.apply(&plan, Permission::Safe).await?;
/// assert_eq!(applied.views()["cards"].current().map(|version| version.version), Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DefinitionStore {
    root: Arc<str>,
    objects: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
}

impl DefinitionStore {
    /// The definitions in `root`, a directory or a URL, which need not have any yet.
    ///
    /// # Errors
    /// `InvalidArgument` when `root` is no place for objects.
    pub fn open(root: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let fail = |error| Error::invalid_argument(format!("{root} is no place for definitions")).with_source(error);
        let url = ensure_table_uri(root).map_err(fail)?;
        let objects = logstore_for(&url, StorageConfig::default()).map_err(fail)?.object_store(None);
        Ok(Self { root: root.into(), objects, clock })
    }

    /// The definitions in force.
    ///
    /// # Errors
    /// `Unavailable` when the root cannot be read, `DataLoss` when what is there is damaged, `FailedPrecondition`
    /// when a newer version of this crate wrote it.
    pub async fn current(&self) -> Result<AppliedDefinitions> {
        match self.revisions().await?.last() {
            None => Ok(AppliedDefinitions::default()),
            Some(newest) => self.read(*newest).await,
        }
    }

    /// Every revision that was applied, oldest first.
    ///
    /// # Errors
    /// `Unavailable` when the root cannot be read.
    pub async fn revisions(&self) -> Result<Vec<u64>> {
        let listed = self.objects.list(Some(&Path::from(FOLDER))).try_collect::<Vec<_>>().await;
        let number = |name: &str| name.strip_suffix(".json")?.parse::<u64>().ok();
        let mut revisions: Vec<u64> = match listed {
            Ok(listed) => listed.iter().filter_map(|object| number(object.location.filename()?)).collect(),
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(self.failed("listed", error)),
        };
        revisions.sort_unstable();
        Ok(revisions)
    }

    /// The definitions as revision `revision` left them.
    ///
    /// # Errors
    /// `NotFound` when there is no such revision; otherwise as [`DefinitionStore::current`].
    pub async fn read(&self, revision: u64) -> Result<AppliedDefinitions> {
        let found = self.objects.get(&path(revision)).await.map_err(|error| self.failed("read", error))?;
        if found.meta.size > BYTES_MAX {
            return Err(Error::resource_exhausted(format!(
                "definitions of {} have {} bytes; at most {BYTES_MAX} are read",
                self.root, found.meta.size
            )));
        }
        let bytes = found.bytes().await.map_err(|error| self.failed("read", error))?;
        AppliedDefinitions::from_json(&bytes)
    }

    /// What applying `wanted` would change. Writes nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for two definitions of one name or a view under a name of the other kind, and those of [`DefinitionStore::current`].
    pub async fn plan(&self, wanted: &Definitions) -> Result<Plan> {
        self.current().await?.plan(wanted)
    }

    /// Puts the definitions of `plan` in force, all of them or none. A plan without changes writes nothing.
    ///
    /// # Errors
    /// `FailedPrecondition` naming every destructive change that `permission` does not cover; `Conflict` when
    /// someone has applied since the plan was made; otherwise as [`DefinitionStore::current`].
    #[tracing::instrument(skip_all, fields(root = %self.root, revision = plan.revision))]
    pub async fn apply(&self, plan: &Plan, permission: Permission) -> Result<AppliedDefinitions> {
        permitted(plan, permission)?;
        let current = self.current().await?;
        if current.revision() != plan.revision {
            return Err(self.overtaken(plan));
        }
        let next = current.after(plan, self.clock.now())?;
        if next.same_as(&current) {
            return Ok(current);
        }
        let bytes = serde_json::to_vec_pretty(&next)
            .map_err(|error| Error::internal("definitions cannot be written as json").with_source(error))?;
        let options = PutOptions::from(PutMode::Create);
        match self.objects.put_opts(&path(next.revision()), bytes.into(), options).await {
            Ok(_) => Ok(next),
            Err(object_store::Error::AlreadyExists { .. }) => Err(self.overtaken(plan)),
            Err(error) => Err(self.failed("written", error)),
        }
    }

    fn overtaken(&self, plan: &Plan) -> Error {
        Error::conflict(format!(
            "definitions of {} were applied by someone else after revision {}; plan again",
            self.root, plan.revision
        ))
    }

    fn failed(&self, what: &str, error: object_store::Error) -> Error {
        let kind = match &error {
            object_store::Error::NotFound { .. } => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("definitions of {} cannot be {what}", self.root)).with_source(error)
    }
}

fn path(revision: u64) -> Path {
    Path::from(format!("{FOLDER}/{revision:020}.json"))
}

/// Refuses what `permission` does not cover.
pub(crate) fn permitted(plan: &Plan, permission: Permission) -> Result<()> {
    let named: Vec<String> = plan.destructive().map(|change| format!("{} {}", change.subject, change.what)).collect();
    if named.is_empty() || permission == Permission::Destructive {
        return Ok(());
    }
    Err(Error::failed_precondition(format!(
        "destructive changes need permission: {}; give the new definition another name, or permit them",
        named.join("; ")
    )))
}

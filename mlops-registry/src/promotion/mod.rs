//! From one environment to the next, such as staging to production, by digest.
//!
//! Invariant: what arrives is, byte for byte, what was approved: the package is copied by its digest and verified on
//! arrival, and the version says where it came from. Not a deployment: what serves is decided by aliases there.

use std::sync::Arc;

use mlops_core::{Alias, Digest, Error, ModelName, Result, ResultExt as _, Version};
use serde::{Deserialize, Serialize};

use crate::{
    approval::{Approval, Approvals},
    limits::check_plain_name,
    registry::{
        Actor, CreateModel, CreateVersion, ModelRegistryExt as _, ModelVersion, MoveAlias, Packages, STAGE_TAG,
    },
};

/// What tags of promotions begin with. Such tags do not travel: they are written anew.
pub const PROMOTION_TAG_PREFIX: &str = "mlops.promotion.";
/// The tag of an arrived version that names the environment it came from.
pub const PROMOTED_FROM_TAG: &str = "mlops.promotion.from";
/// The tag of an arrived version that holds its number where it came from.
pub const PROMOTED_VERSION_TAG: &str = "mlops.promotion.version";
/// The tag of an arrived version that holds the digest of its package.
pub const PROMOTED_DIGEST_TAG: &str = "mlops.promotion.digest";
/// What the tag of a version begins with that was promoted from here; then comes the environment. It holds its number
/// there.
pub const PROMOTED_TO_TAG_PREFIX: &str = "mlops.promotion.to.";

/// A registry and what it is for.
#[derive(Debug, Clone)]
pub struct Environment {
    name: String,
    registry: Arc<dyn Packages>,
}

impl Environment {
    /// The registry of an environment.
    ///
    /// # Errors
    /// `InvalidArgument` when the name is empty, too long, or has other characters than letters, digits, `_` and `-`.
    pub fn new(name: impl Into<String>, registry: Arc<dyn Packages>) -> Result<Self> {
        let name = name.into();
        check_plain_name("environment", &name)?;
        Ok(Self { name, registry })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Promotes versions from one environment to another.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{DataType, ModelName, ModelPackage, Signature, TensorSpec};
/// use mlops_registry::{
///     CreateModel, CreateVersion, Environment, ModelRegistry, PromoteVersion, Promoter, SqlModelRegistry,
/// };
/// use mlops_store::{BlobStore, SqliteMetaStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # async fn open() -> mlops_core::Result<Arc<SqlModelRegistry>> {
/// #     let meta = Arc::new(SqliteMetaStore::in_memory().await?);
/// #     Ok(Arc::new(SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await?))
/// # }
/// let (staging, production) = (open().await?, open().await?);
/// let fraud = ModelName::new("fraud")?;
/// staging.create_model(&fraud, CreateModel::default()).await?;
/// let signature = Signature::new([], [TensorSpec::column("score", DataType::Float64)])?;
/// let package = ModelPackage::new("constant", signature).with_file("model.json", "{\"value\":0.5}");
/// let tried = staging.create_version(&fraud, &package, CreateVersion::default()).await?;
///
/// let promoter = Promoter::between(
///     Environment::new("staging", staging)?,
///     Environment::new("production", Arc::clone(&production) as _)?,
/// )?;
/// let promoted = promoter.promote(&fraud, tried.version, PromoteVersion::default()).await?;
/// assert_eq!(promoted.version.source, tried.source);
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Promoter {
    from: Environment,
    to: Environment,
    approvals: Option<Arc<dyn Approvals>>,
}

/// How to promote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromoteVersion {
    /// Move this alias there to the version when it has arrived; policies there hold.
    pub alias: Option<Alias>,
    /// Why, for the history of the alias.
    pub reason: String,
    /// Who does it, in both registries.
    pub actor: Actor,
}

/// What a promotion did.
#[derive(Debug, Clone, PartialEq)]
pub struct Promoted {
    /// The version in the target.
    pub version: ModelVersion,
    /// Blobs that were copied; the others were there already.
    pub blobs_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
    /// The approval that was used.
    pub approval: Option<Approval>,
}

impl Promoter {
    /// Promotes without asking for approval.
    ///
    /// # Errors
    /// `InvalidArgument` when both have one name.
    pub fn between(from: Environment, to: Environment) -> Result<Self> {
        if from.name == to.name {
            return Err(Error::invalid_argument(format!("both environments are called {:?}", from.name)));
        }
        Ok(Self { from, to, approvals: None })
    }

    /// Asks for an approval of each package for the target environment, kept beside the registry that versions come
    /// from.
    #[must_use]
    pub fn with_approvals(mut self, approvals: Arc<dyn Approvals>) -> Self {
        self.approvals = Some(approvals);
        self
    }

    /// Brings a version to the target under its model name and the next number there, with description, run, and tags.
    /// Repeating it, after a crash or later, gives the version that arrived and copies nothing.
    ///
    /// # Errors
    /// `NotFound` for a version that does not exist; `FailedPrecondition` when it is only a link, when approval is
    /// asked for and there is none, when the version that arrived earlier was deleted there, or when a policy protects
    /// the alias; `DataLoss` when its package is damaged; `PermissionDenied`, `Unavailable` of either registry.
    pub async fn promote(&self, model: &ModelName, version: Version, options: PromoteVersion) -> Result<Promoted> {
        let found = self.from.registry.version(model, version).await?;
        let Some(digest) = found.source.digest() else {
            return Err(Error::failed_precondition(format!(
                "version {version} of model \"{model}\" is only a link; register its package to promote it"
            )));
        };
        let approval = match &self.approvals {
            Some(approvals) => Some(approvals.use_approval(model, version, &self.to.name, &options.actor).await?),
            None => None,
        };
        let arrived = self.deliver(&found, &digest, &options).await;
        let arrived = arrived.context(format!("promoting model \"{model}\" to {}", self.to.name))?;
        let there = arrived.version.version;
        if let Some(alias) = &options.alias {
            let options = MoveAlias { expected: None, reason: options.reason, actor: options.actor.clone() };
            self.to.registry.set_alias(model, alias, there, options).await?;
        }
        let mark = (format!("{PROMOTED_TO_TAG_PREFIX}{}", self.to.name), there.to_string());
        if found.tags.get(&mark.0) != Some(&mark.1) {
            self.from.registry.set_version_tags(model, version, &[mark], &options.actor).await?;
        }
        let version = self.to.registry.version(model, there).await?;
        Ok(Promoted { version, blobs_copied: arrived.blobs_copied, bytes_copied: arrived.bytes_copied, approval })
    }

    async fn deliver(
        &self,
        found: &ModelVersion,
        digest: &Digest,
        options: &PromoteVersion,
    ) -> Result<crate::registry::Received> {
        let here = self.from.registry.model(&found.model).await?;
        let create = CreateModel { description: here.description, tags: here.tags, actor: options.actor.clone() };
        self.to.registry.ensure_model(&found.model, create).await?;
        let travels = |key: &String| key != STAGE_TAG && !key.starts_with(PROMOTION_TAG_PREFIX);
        let mut tags = found.tags.clone();
        tags.retain(|key, _| travels(key));
        tags.extend([
            (PROMOTED_FROM_TAG.to_owned(), self.from.name.clone()),
            (PROMOTED_VERSION_TAG.to_owned(), found.version.to_string()),
            (PROMOTED_DIGEST_TAG.to_owned(), digest.to_string()),
        ]);
        let create = CreateVersion {
            run_id: found.run_id.clone(),
            run_link: found.run_link.clone(),
            description: found.description.clone(),
            tags,
            idempotency_key: Some(format!("promotion:{digest}")),
            actor: options.actor.clone(),
        };
        self.to.registry.receive_version(&found.model, digest, self.from.registry.as_blobs(), create).await
    }
}

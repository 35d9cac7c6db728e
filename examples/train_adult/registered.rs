//! Where models and runs are kept: a registry and a tracking store in the output directory.

use std::{path::Path, sync::Arc};

use mlops::{
    core::{
        Alias, Clock as _, Metric as Logged, ModelName, ModelPackage, ModelRef, Result, RunLogger as _, RunStatus,
        Selector, SystemClock, Version,
    },
    registry::{
        ArtifactStore, CreateModel, CreateVersion, ModelRegistry as _, ModelRegistryExt as _, ModelSource as _,
        MoveAlias, Run, SqlModelRegistry, SqlTrackingStore, Tracker,
        documents::{CardText, VersionFacts, model_card},
    },
    store::{BlobStore, Home, SqliteMetaStore, SqliteSettings},
};

const MODEL: &str = "adult-income";
const CHAMPION: &str = "champion";

/// The registry in a directory, which stays locked for this process.
pub struct Registry {
    registry: SqlModelRegistry,
    tracking: Arc<SqlTrackingStore>,
    tracker: Tracker,
    model: ModelName,
    champion: Alias,
    _home: Home,
}

impl Registry {
    pub async fn open(directory: &Path) -> Result<Self> {
        let home = Home::open(directory)?;
        let meta = Arc::new(SqliteMetaStore::open(&home.join("meta.db"), SqliteSettings::default()).await?);
        let tracking = Arc::new(SqlTrackingStore::builder(Arc::<SqliteMetaStore>::clone(&meta)).build().await?);
        let artifacts = ArtifactStore::local(&home.join("artifacts"))?;
        let tracker = Tracker::new(Arc::<SqlTrackingStore>::clone(&tracking), artifacts);
        let registry = SqlModelRegistry::builder(meta, BlobStore::local(&home.join("blobs"))?).build().await?;
        let model = ModelName::new(MODEL)?;
        let description = "Whether a person's income exceeds 50,000 dollars a year.".to_owned();
        registry.ensure_model(&model, CreateModel { description, ..CreateModel::default() }).await?;
        Ok(Self { registry, tracking, tracker, model, champion: Alias::new(CHAMPION)?, _home: home })
    }

    /// A run that things are logged to.
    pub async fn start(&self, name: &str) -> Result<Run> {
        self.tracker.start(MODEL, name).await
    }

    /// The package of the model in service; none before the first.
    pub async fn champion(&self) -> Result<Option<(Version, ModelPackage)>> {
        let version = match self.registry.alias(&self.model, &self.champion).await {
            Ok(version) => version,
            Err(error) if error.kind() == mlops::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let reference = ModelRef { name: self.model.clone(), selector: Selector::Version(version) };
        Ok(Some((version, self.registry.fetch(&self.registry.resolve(&reference).await?).await?)))
    }

    /// Registers a package as the next version of `run`.
    pub async fn register(&self, package: &ModelPackage, run: &Run) -> Result<Version> {
        let options = CreateVersion { run_id: Some(run.run_id().clone()), ..CreateVersion::default() };
        Ok(self.registry.create_version(&self.model, package, options).await?.version)
    }

    /// Puts a version into service, unless another process did so in between.
    pub async fn promote(&self, version: Version, before: Option<Version>, reason: &str) -> Result<()> {
        let options = MoveAlias { expected: Some(before), reason: reason.to_owned(), ..MoveAlias::default() };
        self.registry.set_alias(&self.model, &self.champion, version, options).await.map(drop)
    }

    /// The model card of a version.
    pub async fn card(&self, version: Version) -> Result<String> {
        let facts = VersionFacts::gather(&self.registry, &*self.tracking, &self.model, version).await?;
        let text = CardText {
            task: Some("tabular-classification".to_owned()),
            intended_uses: vec!["Show what this library does.".to_owned()],
            out_of_scope_uses: vec!["Decisions about people.".to_owned()],
            limitations: vec!["Incomes of one country in 1994.".to_owned()],
            ..CardText::default()
        };
        Ok(model_card(&facts, &text))
    }
}

/// Numbers of a run, logged now.
pub async fn log_numbers(run: &Run, numbers: &[(&str, f64)]) -> Result<()> {
    let timestamp = SystemClock::default().now();
    let metric = |&(key, value): &(&str, f64)| Logged { key: key.to_owned(), value, timestamp, step: 0 };
    run.log_metrics(&numbers.iter().map(metric).collect::<Vec<_>>()).await
}

/// Ends a run.
pub async fn finish(run: &Run) -> Result<()> {
    run.finish(RunStatus::Finished).await
}

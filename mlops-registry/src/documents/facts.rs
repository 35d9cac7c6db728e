//! What documents are made from: the facts on record, and the words that only people can write.

use std::collections::{BTreeMap, BTreeSet};

use mlops_core::{Error, ModelName, PackageManifest, Result, Version};
use serde::{Deserialize, Serialize};

use crate::{
    linked::linked,
    registry::{ModelVersion, Packages, RegisteredModel},
    tracking::{RunRecord, TrackingStore},
};

/// Everything on record about one version.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionFacts {
    /// The model it is a version of.
    pub model: RegisteredModel,
    /// The version.
    pub version: ModelVersion,
    /// What its package consists of; none when only a URI was registered.
    pub manifest: Option<PackageManifest>,
    /// The run that made it; none when it is unknown, gone or not for whoever asks.
    pub run: Option<RunRecord>,
}

impl VersionFacts {
    /// Gathers the facts. Of a package only the manifest is read.
    ///
    /// # Errors
    /// `NotFound` when model or version do not exist, `DataLoss` when the manifest does not match the package's digest,
    /// `Unavailable`. A run that no longer exists, or that the store refuses, is left out.
    pub async fn gather(
        registry: &dyn Packages,
        tracking: &dyn TrackingStore,
        name: &ModelName,
        version: Version,
    ) -> Result<Self> {
        let model = registry.model(name).await?;
        let version = registry.version(name, version).await?;
        let manifest = match version.source.digest() {
            None => None,
            Some(digest) => Some(registry.manifest(&digest).await?),
        };
        Self::with_run(tracking, model, version, manifest).await
    }

    /// Adds the run to what is known.
    pub(crate) async fn with_run(
        tracking: &dyn TrackingStore,
        model: RegisteredModel,
        version: ModelVersion,
        manifest: Option<PackageManifest>,
    ) -> Result<Self> {
        let made_by = version.run_id.as_ref().or(manifest.as_ref().and_then(|manifest| manifest.run_id.as_ref()));
        let run = match made_by {
            None => None,
            Some(id) => linked(tracking.run(id).await)?,
        };
        Ok(Self { model, version, manifest, run })
    }

    /// Metrics by name: those of the run, and over them those that were registered with the package.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<&str, f64> {
        let of_run = self.run.iter().flat_map(|run| &run.metrics).map(|(key, metric)| (key.as_str(), metric.value));
        let of_package = self.manifest.iter().flat_map(|manifest| &manifest.metrics);
        of_run.chain(of_package.map(|(key, value)| (key.as_str(), *value))).collect()
    }

    /// Params of the run.
    #[must_use]
    pub fn params(&self) -> BTreeMap<&str, &str> {
        let params = self.run.iter().flat_map(|run| &run.params);
        params.map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    /// Data it was trained on, as (name, version or digest).
    #[must_use]
    pub fn data(&self) -> BTreeSet<(&str, &str)> {
        let versions = self.manifest.iter().flat_map(|manifest| &manifest.data_versions);
        let inputs = self.run.iter().flat_map(|run| &run.datasets).map(|input| &input.dataset);
        versions
            .map(|(name, version)| (name.as_str(), version.as_str()))
            .chain(inputs.map(|dataset| (dataset.name.as_str(), dataset.digest.as_str())))
            .collect()
    }
}

/// What nobody can compute: the words of the people who answer for a model. Empty parts are left out of documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CardText {
    /// One paragraph on what the model does; absent: the model's description.
    pub summary: Option<String>,
    /// SPDX license expression such as `Apache-2.0`.
    pub license: Option<String>,
    /// Task in the hub's words, such as `tabular-classification`.
    pub task: Option<String>,
    /// Who answers for it.
    pub authors: Vec<String>,
    /// Who is meant to use it.
    pub users: Vec<String>,
    /// What it is meant for.
    pub intended_uses: Vec<String>,
    /// What it must not be used for.
    pub out_of_scope_uses: Vec<String>,
    /// Where it is known to be weak.
    pub limitations: Vec<String>,
    /// Risks to people, each with what is done about it.
    pub risks: BTreeMap<String, String>,
    /// Words to find it by.
    pub keywords: Vec<String>,
}

impl CardText {
    /// Reads it from JSON, as teams keep it beside their code.
    ///
    /// # Errors
    /// `InvalidArgument` naming the place that cannot be read.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::invalid_argument(format!("card text cannot be read: {error}")).with_source(error))
    }

    pub(super) fn summary<'a>(&'a self, facts: &'a VersionFacts) -> &'a str {
        let described = [&facts.version.description, &facts.model.description];
        self.summary
            .as_deref()
            .or_else(|| described.into_iter().map(String::as_str).find(|text| !text.is_empty()))
            .unwrap_or("")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use mlops_core::{DataType, Metric, ModelPackage, Signature, TensorSpec, Timestamp, testing::ManualClock};
    use mlops_store::{BlobStore, SqliteMetaStore};

    use super::*;
    use crate::{
        Batch, CreateModel, CreateRun, CreateVersion, DatasetInput, ExperimentId, LoggedDataset, ModelRegistry as _,
        SqlModelRegistry, SqlTrackingStore,
    };

    /// Two versions of a model: the second has one more input, another metric and another file.
    pub(in crate::documents) async fn two_versions() -> [VersionFacts; 2] {
        let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
        let tracking = SqlTrackingStore::builder(Arc::<SqliteMetaStore>::clone(&meta))
            .with_clock(Arc::<ManualClock>::clone(&clock))
            .build()
            .await
            .unwrap();
        let blobs = BlobStore::in_memory();
        let registry = SqlModelRegistry::builder(meta, blobs.clone()).with_clock(clock).build().await.unwrap();
        let name = ModelName::new("fraud").unwrap();
        let options = CreateModel { description: "scores | payments".into(), ..CreateModel::default() };
        registry.create_model(&name, options).await.unwrap();
        for (rounds, auc) in [("50", 0.9), ("80", 0.925)] {
            let run = tracking.create_run(CreateRun::new(ExperimentId(0))).await.unwrap();
            let point = Metric { key: "auc".into(), value: auc, timestamp: Timestamp::from_millis(5), step: 0 };
            let params = vec![("rounds".to_owned(), rounds.to_owned())];
            tracking.log_batch(&run.id, &Batch { metrics: vec![point], params, ..Batch::default() }).await.unwrap();
            let dataset = LoggedDataset { name: "payments".into(), digest: "d1".into(), ..LoggedDataset::default() };
            tracking.log_inputs(&run.id, &[DatasetInput { dataset, tags: BTreeMap::new() }]).await.unwrap();
            let mut inputs = vec![TensorSpec::column("amount", DataType::Float64)];
            if rounds == "80" {
                inputs.push(TensorSpec::column("hour", DataType::Int64));
            }
            let signature = Signature::new(inputs, [TensorSpec::column("score", DataType::Float64)]).unwrap();
            let mut package = ModelPackage::new("mlops.gbdt", signature).with_file("model.json", rounds.to_owned());
            package.manifest.metrics.insert("accuracy".into(), auc - 0.1);
            let options = CreateVersion { run_id: Some(run.id), ..CreateVersion::default() };
            registry.create_version(&name, &package, options).await.unwrap();
            // Facts are had without the files.
            for digest in package.manifest.files.values() {
                blobs.delete(digest).await.unwrap();
            }
        }
        let first = VersionFacts::gather(&registry, &tracking, &name, Version(1)).await.unwrap();
        [first, VersionFacts::gather(&registry, &tracking, &name, Version(2)).await.unwrap()]
    }

    /// The words that a team would write.
    pub(in crate::documents) fn words() -> CardText {
        CardText {
            license: Some("Apache-2.0".into()),
            task: Some("tabular-classification".into()),
            authors: vec!["Risk team".into()],
            users: vec!["fraud analysts".into()],
            intended_uses: vec!["rank payments for review".into()],
            limitations: vec!["not trained on <foreign> cards".into()],
            risks: [("refuses honest customers".to_owned(), "a person decides".to_owned())].into(),
            ..CardText::default()
        }
    }

    #[tokio::test]
    async fn facts_join_registry_package_and_run() {
        let [facts, _] = two_versions().await;
        assert_eq!(facts.metrics(), [("accuracy", 0.8), ("auc", 0.9)].into());
        assert_eq!(facts.params(), [("rounds", "50")].into());
        assert_eq!(facts.data(), [("payments", "d1")].into());
        assert_eq!(words().summary(&facts), "scores | payments");
    }

    #[test]
    fn unknown_fields_of_the_text_are_named() {
        let error = CardText::from_json(r#"{"licence": "MIT"}"#).unwrap_err();
        assert!(error.message().contains("licence"), "{}", error.message());
    }
}

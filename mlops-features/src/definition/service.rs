//! The features that one model needs, by name, and the labels that it learns from.

use std::sync::Arc;

use mlops_core::{Digest, Error, FeatureRef, Result};
use serde::{Deserialize, Serialize};

use super::{Metadata, all_faults, check_name, first_duplicate};

/// A named, ordered list of features. Feature names are unique within it, because they become column names.
///
/// ```
/// use mlops_features::FeatureService;
///
/// let service = FeatureService::new("fraud", ["cards:amount".parse()?, "cards:spent_1h".parse()?])?;
/// assert_eq!(service.features()[1].feature(), "spent_1h");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureService {
    name: Arc<str>,
    features: Vec<FeatureRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<FeatureRef>,
    #[serde(default)]
    metadata: Metadata,
}

impl FeatureService {
    /// The service `name` with `features` in this order.
    ///
    /// # Errors
    /// `InvalidArgument` for an invalid name, no feature, or two features of the same name.
    pub fn new(name: impl AsRef<str>, features: impl IntoIterator<Item = FeatureRef>) -> Result<Self> {
        let (name, features) = (name.as_ref().into(), features.into_iter().collect());
        let service = Self { name, features, labels: Vec::new(), metadata: Metadata::default() };
        service.checked()?;
        Ok(service)
    }

    /// The same features, and `labels` of label views: training sets have them as columns after the features, in this
    /// order; what is served has the features alone.
    ///
    /// # Errors
    /// `InvalidArgument` when two features or labels have one name.
    pub fn with_labels(self, labels: impl IntoIterator<Item = FeatureRef>) -> Result<Self> {
        let service = Self { labels: labels.into_iter().collect(), ..self };
        service.checked()?;
        Ok(service)
    }

    /// The labels without the features.
    pub(crate) fn labels_alone(&self) -> Self {
        Self { features: Vec::new(), ..self.clone() }
    }

    /// What a training set has beside its spine: features, then labels.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &FeatureRef> {
        self.features.iter().chain(&self.labels)
    }

    /// The same features, with `metadata`.
    #[must_use]
    pub fn with_metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    /// Refuses a definition that [`FeatureService::new`] would not have made.
    pub(super) fn checked(&self) -> Result<()> {
        let mut faults = Vec::new();
        faults.extend(check_name("feature service name", &self.name).err().map(|error| error.to_string()));
        if self.features.is_empty() {
            faults.push("no feature".into());
        }
        if let Some(twice) = first_duplicate(self.columns().map(FeatureRef::feature)) {
            faults.push(format!("two features or labels are called \"{twice}\""));
        }
        all_faults(&format!("feature service \"{}\"", self.name), &faults)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The features, in order.
    #[must_use]
    pub fn features(&self) -> &[FeatureRef] {
        &self.features
    }

    /// The labels, in order.
    #[must_use]
    pub fn labels(&self) -> &[FeatureRef] {
        &self.labels
    }

    /// Owner, description and tags.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// A digest of what is asked for; metadata has no part in it.
    ///
    /// # Errors
    /// `Internal` when the definition cannot be written as JSON, which no valid definition does.
    pub fn digest(&self) -> Result<Digest> {
        // A service without labels has the digest that it had before there were any.
        let bytes = match self.labels.as_slice() {
            [] => serde_json::to_vec(&(&self.name, &self.features)),
            labels => serde_json::to_vec(&(&self.name, &self.features, labels)),
        };
        let bytes =
            bytes.map_err(|error| Error::internal("feature service cannot be written as json").with_source(error))?;
        Ok(Digest::of(&bytes))
    }
}

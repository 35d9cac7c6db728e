//! The features that one model needs, by name.

use std::sync::Arc;

use mlops_core::{FeatureRef, Result};
use serde::{Deserialize, Serialize};

use super::{all_faults, check_name, first_duplicate};

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
}

impl FeatureService {
    /// The service `name` with `features` in this order.
    ///
    /// # Errors
    /// `InvalidArgument` for an invalid name, no feature, or two features of the same name.
    pub fn new(name: impl AsRef<str>, features: impl IntoIterator<Item = FeatureRef>) -> Result<Self> {
        let (name, features): (Arc<str>, Vec<_>) = (name.as_ref().into(), features.into_iter().collect());
        let mut faults = Vec::new();
        faults.extend(check_name("feature service name", &name).err().map(|error| error.to_string()));
        if features.is_empty() {
            faults.push("no feature".into());
        }
        if let Some(twice) = first_duplicate(features.iter().map(FeatureRef::feature)) {
            faults.push(format!("two features are called \"{twice}\""));
        }
        all_faults(&format!("feature service \"{name}\""), &faults)?;
        Ok(Self { name, features })
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
}

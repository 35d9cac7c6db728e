//! Models of providers, as endpoints use them.

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{Change, NAME_MAX, PROVIDER_MAX, check_name, check_optional};

/// Longest name of a model at its provider.
const MODEL_NAME_MAX: usize = 256;

/// A secret that a model names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRef {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A model of a provider, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelDefinition {
    /// Its id.
    pub id: String,
    /// Its name here, one of a kind.
    pub name: String,
    /// By which secret the provider is asked; none once that is deleted.
    #[serde(skip)]
    pub secret: Option<SecretRef>,
    /// The provider.
    pub provider: String,
    /// Its name at the provider.
    pub model_name: String,
    /// Who made and changed it.
    pub change: Change,
}

/// How to define a model.
///
/// ```
/// use mlops_registry::gateway::CreateModelDefinition;
///
/// CreateModelDefinition::new("chat", "s-1", "openai", "gpt-4o").check()?;
/// assert!(CreateModelDefinition::new("chat", "s-1", "openai", "").check().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateModelDefinition {
    /// Its name here, at most 255 characters.
    pub name: String,
    /// Id of the secret by which the provider is asked.
    pub secret: String,
    /// The provider, at most 64 characters.
    pub provider: String,
    /// Its name at the provider, at most 256 characters.
    pub model_name: String,
    /// Who defines it.
    pub created_by: Option<String>,
}

impl CreateModelDefinition {
    /// A model.
    pub fn new(
        name: impl Into<String>,
        secret: impl Into<String>,
        provider: impl Into<String>,
        model_name: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            secret: secret.into(),
            provider: provider.into(),
            model_name: model_name.into(),
            created_by: None,
        }
    }

    /// Checks lengths.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field.
    pub fn check(&self) -> Result<()> {
        check_name("name", &self.name, NAME_MAX)?;
        check_name("secret_id", &self.secret, NAME_MAX)?;
        check_name("provider", &self.provider, PROVIDER_MAX)?;
        check_name("model_name", &self.model_name, MODEL_NAME_MAX)?;
        check_optional("created_by", self.created_by.as_ref(), NAME_MAX)
    }
}

/// What to change of a model; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelDefinitionUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Id of another secret.
    pub secret: Option<String>,
    /// Another provider.
    pub provider: Option<String>,
    /// Another model of the provider.
    pub model_name: Option<String>,
    /// Who changes it.
    pub updated_by: Option<String>,
}

impl ModelDefinitionUpdate {
    pub(super) fn check(&self) -> Result<()> {
        for (field, text, max) in [
            ("name", &self.name, NAME_MAX),
            ("secret_id", &self.secret, NAME_MAX),
            ("provider", &self.provider, PROVIDER_MAX),
            ("model_name", &self.model_name, MODEL_NAME_MAX),
            ("updated_by", &self.updated_by, NAME_MAX),
        ] {
            text.as_ref().map_or(Ok(()), |text| check_name(field, text, max))?;
        }
        Ok(())
    }
}

/// Which models are wanted; what is absent does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelFilter {
    /// Of this provider.
    pub provider: Option<String>,
    /// By this secret.
    pub secret: Option<String>,
}

//! What a fit is of: a checkpoint continues the very same fit and no other.

use mlops_core::{Digest, Error, Result};
use serde::{Deserialize, Serialize};

/// Everything that a fit depends on, as far as one can name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The flavor of the trainer.
    pub(crate) trainer: String,
    /// The version of the code that computes.
    pub(crate) code: String,
    /// SHA-256 of the rows, labels and weights.
    pub(crate) data: Digest,
    /// The settings as JSON.
    pub(crate) settings: serde_json::Value,
    /// Where random draws come from.
    pub(crate) seed: u64,
    /// The checkpoint of another fit that this one began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Digest>,
}

/// What differs, as it is stored and as this fit has it.
pub(crate) type Difference = (&'static str, String, String);

impl Identity {
    pub(crate) fn new<S: Serialize>(trainer: &str, data: Digest, settings: &S, seed: u64) -> Result<Self> {
        let settings = serde_json::to_value(settings)
            .map_err(|error| Error::internal("settings cannot be written as JSON").with_source(error))?;
        let code = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned();
        Ok(Self { trainer: trainer.to_owned(), code, data, settings, seed, origin: None })
    }

    /// The first thing in which a stored identity is another one.
    pub(crate) fn difference(&self, stored: &Self) -> Option<Difference> {
        self.differences(stored).next()
    }

    /// The first thing that keeps this fit from going on, under its own settings and seed, where the fit of a stored
    /// identity ended.
    pub(crate) fn obstacle(&self, stored: &Self) -> Option<Difference> {
        self.differences(stored).find(|(what, ..)| matches!(*what, "trainer" | "code" | "data"))
    }

    fn differences(&self, stored: &Self) -> impl Iterator<Item = Difference> {
        let origin = |of: &Self| of.origin.as_ref().map_or_else(|| "none".to_owned(), Digest::short);
        let pairs = [
            ("trainer", stored.trainer.clone(), self.trainer.clone()),
            ("code", stored.code.clone(), self.code.clone()),
            ("seed", stored.seed.to_string(), self.seed.to_string()),
            ("settings", stored.settings.to_string(), self.settings.to_string()),
            ("origin", origin(stored), origin(self)),
            // Last, for seed and settings may decide which rows are held out.
            ("data", stored.data.short(), self.data.short()),
        ];
        pairs.into_iter().filter(|(_, stored, wanted)| stored != wanted)
    }
}

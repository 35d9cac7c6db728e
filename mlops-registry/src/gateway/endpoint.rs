//! Endpoints: what applications ask, and which models answer it.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Change, ModelDefinition, NAME_MAX, check_name, check_optional, named::named};
use crate::{
    ExperimentId,
    limits::{KEY_MAX, check_length},
};

/// Most models of an endpoint.
const MODELS_MAX: usize = 100;
/// Most tags of an endpoint.
const TAGS_MAX: usize = 100;
/// Longest value of a tag.
const TAG_VALUE_MAX: usize = 5_000;

named! {
    /// How an endpoint chooses among its models.
    RoutingStrategy {
        /// By their weights, each request anew.
        RequestBasedTrafficSplit = "REQUEST_BASED_TRAFFIC_SPLIT",
    }
}

named! {
    /// How an endpoint goes on when a model fails.
    FallbackStrategy {
        /// From one model to the next.
        Sequential = "SEQUENTIAL",
    }
}

named! {
    /// What a model is to an endpoint.
    Linkage {
        /// It answers.
        Primary = "PRIMARY",
        /// It answers when others fail.
        Fallback = "FALLBACK",
    }
}

/// What happens when a model fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fallback {
    /// How it goes on.
    pub strategy: Option<FallbackStrategy>,
    /// How many models are tried; all of them unless said.
    pub max_attempts: Option<u32>,
}

/// A model that an endpoint is to have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelLink {
    /// Id of the model's definition.
    pub model: String,
    /// What it is to the endpoint.
    pub linkage: Linkage,
    /// Its share of the requests against that of the others; 0 or more.
    pub weight: f64,
    /// Its place among those that answer when others fail, from 0.
    pub fallback_order: Option<i64>,
}

impl ModelLink {
    /// A model that answers.
    pub fn primary(model: impl Into<String>) -> Self {
        Self { model: model.into(), linkage: Linkage::Primary, weight: 1.0, fallback_order: None }
    }

    pub(super) fn check(&self) -> Result<()> {
        check_name("model_definition_id", &self.model, NAME_MAX)?;
        if self.weight.is_finite() && self.weight >= 0.0 {
            return Ok(());
        }
        let weight = self.weight;
        Err(Error::invalid_argument(format!("Invalid value {weight} for parameter 'weight' supplied: it is 0 or more")))
    }
}

/// A model of an endpoint, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// Its id.
    pub id: String,
    /// Id of the endpoint.
    pub endpoint: String,
    /// How the model is linked. The id of its definition is empty for whoever may not know it.
    pub link: ModelLink,
    /// The definition; none for whoever may not know it.
    #[serde(skip)]
    pub definition: Option<ModelDefinition>,
    /// When it was linked.
    pub created: Timestamp,
    /// Who linked it.
    pub created_by: Option<String>,
}

/// An endpoint, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// Its name, one of a kind.
    pub name: String,
    /// Its models, in the order in which they were linked.
    #[serde(skip)]
    pub mappings: Vec<Mapping>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// How it chooses among its models.
    pub routing: Option<RoutingStrategy>,
    /// What happens when a model fails.
    pub fallback: Option<Fallback>,
    /// The experiment that gets the traces of its requests.
    pub experiment: Option<ExperimentId>,
    /// Whether its requests leave traces.
    pub usage_tracking: bool,
    /// Who made and changed it.
    pub change: Change,
}

impl Endpoint {
    /// The endpoint with a tag set, or removed.
    pub(super) fn tagged(mut self, key: &str, value: Option<&str>) -> Result<Self> {
        match value {
            None => drop(self.tags.remove(key)),
            Some(value) => {
                check_name("key", key, KEY_MAX)?;
                check_length("tag value", value, TAG_VALUE_MAX)?;
                self.tags.insert(key.to_owned(), value.to_owned());
            }
        }
        if self.tags.len() > TAGS_MAX {
            return Err(Error::invalid_argument(format!("an endpoint has at most {TAGS_MAX} tags")));
        }
        Ok(self)
    }

    /// The endpoint with the change, less its models.
    pub(super) fn updated(mut self, update: &EndpointUpdate, now: Timestamp) -> Self {
        self.name = update.name.clone().unwrap_or(self.name);
        self.routing = update.routing.or(self.routing);
        self.experiment = update.experiment.or(self.experiment);
        self.usage_tracking = update.usage_tracking.unwrap_or(self.usage_tracking);
        self.fallback = match &update.models {
            Some(_) => Some(update.fallback.unwrap_or_default()),
            None => update.fallback.or(self.fallback),
        };
        self.change.touch(now, update.updated_by.clone());
        self
    }
}

fn check_endpoint_name(name: &str) -> Result<()> {
    check_name("name", name, NAME_MAX)?;
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "Invalid endpoint name '{name}'. Name can only contain letters, numbers, underscores, hyphens, and dots."
    )))
}

fn check_links(links: &[ModelLink]) -> Result<()> {
    if links.is_empty() {
        return Err(Error::invalid_argument("Endpoint must have at least one model configuration"));
    }
    if links.len() > MODELS_MAX {
        return Err(Error::invalid_argument(format!("an endpoint has at most {MODELS_MAX} models")));
    }
    links.iter().try_for_each(ModelLink::check)?;
    let twice = |(at, link): (usize, &ModelLink)| {
        links.iter().skip(at + 1).any(|other| (&other.model, other.linkage) == (&link.model, link.linkage))
    };
    match links.iter().enumerate().find(|pair| twice(*pair)) {
        None => Ok(()),
        Some((_, link)) => {
            let message = format!("model '{}' is named twice as {}; name it once", link.model, link.linkage.name());
            Err(Error::invalid_argument(message))
        }
    }
}

/// How to create an endpoint.
///
/// ```
/// use mlops_registry::gateway::{CreateEndpoint, ModelLink};
///
/// CreateEndpoint::new("support", [ModelLink::primary("d-1")]).check()?;
/// assert!(CreateEndpoint::new("not a name", [ModelLink::primary("d-1")]).check().is_err());
/// assert!(CreateEndpoint::new("empty", []).check().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CreateEndpoint {
    /// Its name: at most 255 letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// Its models, 1 to 100.
    pub models: Vec<ModelLink>,
    /// How it chooses among them.
    pub routing: Option<RoutingStrategy>,
    /// What happens when a model fails.
    pub fallback: Option<Fallback>,
    /// The experiment that gets the traces of its requests.
    pub experiment: Option<ExperimentId>,
    /// Whether its requests leave traces.
    pub usage_tracking: bool,
    /// Who creates it.
    pub created_by: Option<String>,
}

impl CreateEndpoint {
    /// An endpoint whose requests leave traces.
    pub fn new(name: impl Into<String>, models: impl IntoIterator<Item = ModelLink>) -> Self {
        Self {
            name: name.into(),
            models: models.into_iter().collect(),
            routing: None,
            fallback: None,
            experiment: None,
            usage_tracking: true,
            created_by: None,
        }
    }

    /// Checks the name and the links.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field.
    pub fn check(&self) -> Result<()> {
        check_endpoint_name(&self.name)?;
        check_optional("created_by", self.created_by.as_ref(), NAME_MAX)?;
        check_links(&self.models)
    }

    /// What happens when a model fails, where a model is there for that.
    pub(super) fn fallback(&self) -> Option<Fallback> {
        let falls_back = self.models.iter().any(|link| link.linkage == Linkage::Fallback);
        self.fallback.or(falls_back.then(Fallback::default))
    }
}

/// What to change of an endpoint; what is absent stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EndpointUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Other models, in place of all that it has.
    pub models: Option<Vec<ModelLink>>,
    /// How it chooses among them.
    pub routing: Option<RoutingStrategy>,
    /// What happens when a model fails.
    pub fallback: Option<Fallback>,
    /// The experiment that gets the traces of its requests.
    pub experiment: Option<ExperimentId>,
    /// Whether its requests leave traces.
    pub usage_tracking: Option<bool>,
    /// Who changes it.
    pub updated_by: Option<String>,
}

impl EndpointUpdate {
    pub(super) fn check(&self) -> Result<()> {
        check_optional("updated_by", self.updated_by.as_ref(), NAME_MAX)?;
        self.name.as_ref().map_or(Ok(()), |name| check_endpoint_name(name))?;
        self.models.as_ref().map_or(Ok(()), |models| check_links(models))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_bounded_and_named_once() {
        let link = |model: &str, linkage| ModelLink { linkage, ..ModelLink::primary(model) };
        check_links(&[link("a", Linkage::Primary), link("a", Linkage::Fallback)]).unwrap();
        let twice = [link("a", Linkage::Primary), link("b", Linkage::Primary), link("a", Linkage::Primary)];
        assert!(check_links(&twice).unwrap_err().message().contains("'a'"));
        let many: Vec<ModelLink> = (0..=MODELS_MAX).map(|n| ModelLink::primary(n.to_string())).collect();
        check_links(&many[1..]).unwrap();
        assert!(check_links(&many).is_err());
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(ModelLink { weight, ..ModelLink::primary("a") }.check().is_err(), "{weight}");
        }
    }

    #[test]
    fn names_are_those_that_mlflow_takes() {
        for good in ["a", "A-b_c.9", &"x".repeat(255)] {
            check_endpoint_name(good).unwrap();
        }
        for bad in ["", "a b", "a/b", "é", &"x".repeat(256)] {
            assert!(check_endpoint_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_what_is_stored() {
        for (name, linkage) in Linkage::NAMES {
            assert_eq!((linkage.name(), serde_json::to_value(linkage).unwrap()), (*name, (*name).into()));
        }
    }
}

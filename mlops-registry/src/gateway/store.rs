//! The ports behind which the configuration of a gateway is kept.
//!
//! Every write is durable when it returns and either happens whole or not at all. Errors common to all calls:
//! `Unavailable` when the store cannot be reached, `NotFound` for what does not exist, `ResourceExhausted` for more than
//! [`LISTED_MAX`](super::LISTED_MAX) of a kind; on writes `InvalidArgument` as the `check` of what is written.

use std::fmt;

use async_trait::async_trait;
use mlops_core::Result;

use super::{
    Binding, BindingFilter, Budget, BudgetSettings, BudgetUpdate, CreateBinding, CreateEndpoint, CreateGuardrail,
    CreateModelDefinition, CreateSecret, Endpoint, EndpointUpdate, Guardrail, Mapping, ModelDefinition,
    ModelDefinitionUpdate, ModelFilter, ModelLink, PlaceGuardrail, PlacedGuardrail, Secret, SecretUpdate, SecretValues,
};
use crate::search::{Page, PageRequest};

/// Keeps the secrets of providers.
#[async_trait]
pub trait SecretStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps a secret.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken.
    async fn create_secret(&self, create: CreateSecret) -> Result<Secret>;

    /// What is known of a secret.
    ///
    /// # Errors
    /// Only the common ones.
    async fn secret(&self, id: &str) -> Result<Secret>;

    /// Changes a secret. The key of its values is new, too.
    ///
    /// # Errors
    /// Only the common ones.
    async fn update_secret(&self, id: &str, update: SecretUpdate) -> Result<Secret>;

    /// Deletes a secret for good. Models that name it stay, without a secret.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_secret(&self, id: &str) -> Result<()>;

    /// What is known of every secret, or of those of a provider, in the order in which they were made.
    ///
    /// # Errors
    /// Only the common ones.
    async fn secrets(&self, provider: Option<&str>) -> Result<Vec<Secret>>;

    /// What is in a secret, for whoever asks the provider by it.
    ///
    /// # Errors
    /// `DataLoss` when it was damaged or moved to another secret, `NotFound` when it is under a key that is not there.
    async fn values(&self, id: &str) -> Result<SecretValues>;
}

/// Keeps models, endpoints and what is bound to endpoints. That an experiment exists is for the caller to check.
#[async_trait]
pub trait EndpointStore: fmt::Debug + Send + Sync + 'static {
    /// Defines a model.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, `NotFound` for its secret.
    async fn create_model(&self, create: CreateModelDefinition) -> Result<ModelDefinition>;

    /// One model.
    ///
    /// # Errors
    /// Only the common ones.
    async fn model(&self, id: &str) -> Result<ModelDefinition>;

    /// Changes a model.
    ///
    /// # Errors
    /// As [`EndpointStore::create_model`].
    async fn update_model(&self, id: &str, update: ModelDefinitionUpdate) -> Result<ModelDefinition>;

    /// Deletes a model for good.
    ///
    /// # Errors
    /// `FailedPrecondition` while an endpoint has it.
    async fn delete_model(&self, id: &str) -> Result<()>;

    /// The models that match, in the order in which they were made.
    ///
    /// # Errors
    /// Only the common ones.
    async fn models(&self, filter: &ModelFilter) -> Result<Vec<ModelDefinition>>;

    /// Creates an endpoint.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, `NotFound` for its models.
    async fn create_endpoint(&self, create: CreateEndpoint) -> Result<Endpoint>;

    /// One endpoint with its models.
    ///
    /// # Errors
    /// Only the common ones.
    async fn endpoint(&self, id: &str) -> Result<Endpoint>;

    /// The endpoint of that name.
    ///
    /// # Errors
    /// Only the common ones.
    async fn endpoint_named(&self, name: &str) -> Result<Endpoint>;

    /// Changes an endpoint.
    ///
    /// # Errors
    /// As [`EndpointStore::create_endpoint`].
    async fn update_endpoint(&self, id: &str, update: EndpointUpdate) -> Result<Endpoint>;

    /// Deletes an endpoint for good, with its links to models, its bindings and its places of guardrails.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_endpoint(&self, id: &str) -> Result<()>;

    /// Every endpoint, or those with a model of a provider, in the order in which they were made.
    ///
    /// # Errors
    /// Only the common ones.
    async fn endpoints(&self, provider: Option<&str>) -> Result<Vec<Endpoint>>;

    /// Gives an endpoint another model.
    ///
    /// # Errors
    /// `AlreadyExists` when the endpoint has the model as the same already.
    async fn attach_model(&self, endpoint: &str, link: ModelLink, by: Option<String>) -> Result<Mapping>;

    /// Takes a model from an endpoint, whatever it was to it.
    ///
    /// # Errors
    /// Only the common ones.
    async fn detach_model(&self, endpoint: &str, model: &str) -> Result<()>;

    /// Sets a tag of an endpoint; without value it is removed, and removing one that is absent changes nothing.
    ///
    /// # Errors
    /// Only the common ones.
    async fn tag_endpoint(&self, endpoint: &str, key: &str, value: Option<&str>) -> Result<()>;

    /// Binds something to an endpoint.
    ///
    /// # Errors
    /// `AlreadyExists` when it is bound to it already.
    async fn create_binding(&self, create: CreateBinding) -> Result<Binding>;

    /// Unbinds something.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_binding(&self, binding: &CreateBinding) -> Result<()>;

    /// The bindings that match, in the order in which they were made.
    ///
    /// # Errors
    /// Only the common ones.
    async fn bindings(&self, filter: &BindingFilter) -> Result<Vec<Binding>>;
}

/// Keeps budgets.
#[async_trait]
pub trait BudgetStore: fmt::Debug + Send + Sync + 'static {
    /// Creates a budget.
    ///
    /// # Errors
    /// `NotFound` for the endpoint that it is for.
    async fn create_budget(&self, settings: BudgetSettings, by: Option<String>) -> Result<Budget>;

    /// One budget.
    ///
    /// # Errors
    /// Only the common ones.
    async fn budget(&self, id: &str) -> Result<Budget>;

    /// Changes a budget.
    ///
    /// # Errors
    /// As [`BudgetStore::create_budget`].
    async fn update_budget(&self, id: &str, update: BudgetUpdate) -> Result<Budget>;

    /// Deletes a budget for good.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_budget(&self, id: &str) -> Result<()>;

    /// Budgets in the order in which they were made.
    ///
    /// # Errors
    /// `InvalidArgument` for a page token that is not ours.
    async fn budgets(&self, page: &PageRequest) -> Result<Page<Budget>>;
}

/// Keeps guardrails, and which endpoints have them.
#[async_trait]
pub trait GuardrailStore: fmt::Debug + Send + Sync + 'static {
    /// Creates a guardrail.
    ///
    /// # Errors
    /// `NotFound` for the endpoint by which it changes what it judges.
    async fn create_guardrail(&self, create: CreateGuardrail) -> Result<Guardrail>;

    /// One guardrail.
    ///
    /// # Errors
    /// Only the common ones.
    async fn guardrail(&self, id: &str) -> Result<Guardrail>;

    /// Deletes a guardrail for good, and takes it from its endpoints.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_guardrail(&self, id: &str) -> Result<()>;

    /// Guardrails in the order in which they were made.
    ///
    /// # Errors
    /// `InvalidArgument` for a page token that is not ours.
    async fn guardrails(&self, page: &PageRequest) -> Result<Page<Guardrail>>;

    /// Puts a guardrail before an endpoint.
    ///
    /// # Errors
    /// `AlreadyExists` when the endpoint has it.
    async fn place_guardrail(&self, place: PlaceGuardrail) -> Result<PlacedGuardrail>;

    /// Gives a guardrail of an endpoint another place.
    ///
    /// # Errors
    /// Only the common ones.
    async fn move_guardrail(&self, endpoint: &str, guardrail: &str, order: Option<i64>) -> Result<PlacedGuardrail>;

    /// Takes a guardrail from an endpoint.
    ///
    /// # Errors
    /// Only the common ones.
    async fn remove_guardrail(&self, endpoint: &str, guardrail: &str) -> Result<()>;

    /// The guardrails of an endpoint, in the order in which they judge.
    ///
    /// # Errors
    /// Only the common ones.
    async fn guardrails_of(&self, endpoint: &str) -> Result<Vec<PlacedGuardrail>>;
}

/// Keeps all that a gateway is configured by.
pub trait GatewayStore: SecretStore + EndpointStore + BudgetStore + GuardrailStore {}

impl<T: SecretStore + EndpointStore + BudgetStore + GuardrailStore> GatewayStore for T {}

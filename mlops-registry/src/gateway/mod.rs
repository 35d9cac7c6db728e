//! What an AI gateway sends requests by: secrets of providers, models, endpoints and their bindings, budgets, guardrails.
//!
//! [`GatewayStore`] keeps them, [`SqlGatewayStore`] in the metadata database. This is configuration only: nothing here
//! calls a provider.
//!
//! Invariant: what is in a secret is stored sealed, under a key that is not in the database, and leaves a store by
//! [`SecretStore::values`] alone; everything else shows it masked.

mod binding;
mod budget;
mod change;
mod endpoint;
mod guardrail;
mod keys;
mod model;
mod named;
mod seal;
mod secret;
mod span;
mod sql;
mod store;

pub use binding::{Binding, BindingFilter, BindingKind, CreateBinding};
pub use budget::{Budget, BudgetAction, BudgetScope, BudgetSettings, BudgetUnit, BudgetUpdate};
pub use change::Change;
pub use endpoint::{
    CreateEndpoint, Endpoint, EndpointUpdate, Fallback, FallbackStrategy, Linkage, Mapping, ModelLink, RoutingStrategy,
};
pub use guardrail::{
    ActionEndpoint, CreateGuardrail, Guardrail, GuardrailAction, GuardrailStage, PlaceGuardrail, PlacedGuardrail,
};
pub use keys::LocalKeys;
pub use model::{CreateModelDefinition, ModelDefinition, ModelDefinitionUpdate, ModelFilter, SecretRef};
pub use secret::{CreateSecret, Secret, SecretUpdate, SecretValues};
pub use span::{BudgetLength, BudgetSpan};
pub use sql::{SqlGatewayStore, SqlGatewayStoreBuilder};
pub use store::{BudgetStore, EndpointStore, GatewayStore, GuardrailStore, SecretStore};

/// Most secrets, models, endpoints, budgets or guardrails, and most bindings of all endpoints.
pub const LISTED_MAX: usize = 10_000;
/// Longest name.
const NAME_MAX: usize = 255;
/// Longest name of a provider.
const PROVIDER_MAX: usize = 64;

/// Refuses a name that is empty or too long; `field` is what clients call it.
fn check_name(field: &str, name: &str, max: usize) -> mlops_core::Result<()> {
    if name.is_empty() {
        return Err(mlops_core::Error::invalid_argument(format!("Missing value for required parameter '{field}'.")));
    }
    crate::limits::check_length(field, name, max)
}

/// Refuses an optional text that is too long.
fn check_optional(field: &str, text: Option<&String>, max: usize) -> mlops_core::Result<()> {
    text.map_or(Ok(()), |text| crate::limits::check_length(field, text, max))
}

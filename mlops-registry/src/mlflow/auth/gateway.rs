//! The configuration of a gateway that asks first.
//!
//! Invariant: a secret, model or endpoint is managed by whoever made it; to name one in another it must be allowed to
//! use it. What an endpoint or model names and may not be read is left out of it. Budgets and guardrails are for
//! administrators, but everybody sees budgets, and whoever may change an endpoint puts guardrails before it.

use std::sync::Arc;

use async_trait::async_trait;
use mlops_core::{Action, Resource, Result};

use super::guard::{Guard, experiment};
use crate::{
    Page, PageRequest,
    access::{EVERY, ResourceKind},
    gateway::{
        Binding, BindingFilter, Budget, BudgetSettings, BudgetStore, BudgetUpdate, CreateBinding, CreateEndpoint,
        CreateGuardrail, CreateModelDefinition, CreateSecret, Endpoint, EndpointStore, EndpointUpdate, GatewayStore,
        Guardrail, GuardrailStore, Mapping, ModelDefinition, ModelDefinitionUpdate, ModelFilter, ModelLink,
        PlaceGuardrail, PlacedGuardrail, Secret, SecretStore, SecretUpdate, SecretValues,
    },
};

const SECRET: ResourceKind = ResourceKind::GatewaySecret;
const ENDPOINT: ResourceKind = ResourceKind::GatewayEndpoint;
const MODEL: ResourceKind = ResourceKind::GatewayModelDefinition;

fn resource(kind: ResourceKind, id: &str) -> Resource {
    Resource::new(kind.resource_kind(), id)
}

#[derive(Debug)]
pub(in crate::mlflow) struct GuardedGateway {
    pub(in crate::mlflow) inner: Arc<dyn GatewayStore>,
    pub(in crate::mlflow) guard: Arc<Guard>,
}

impl GuardedGateway {
    async fn check(&self, action: Action, kind: ResourceKind, id: &str) -> Result<()> {
        self.guard.check(action, &resource(kind, id)).await
    }

    /// Whoever asks, as the one who makes or changes something, whatever the request says.
    fn by(&self) -> Result<Option<String>> {
        self.guard.principal().map(|principal| Some(principal.name.clone()))
    }

    async fn record(&self, action: Action, kind: &str, id: &str, call: &str) -> Result<()> {
        self.guard.record(action, Resource::new(kind, id), [("call", format!("gateway/{call}"))]).await
    }

    /// Asks for a deletion and keeps the record of it.
    async fn check_deletion(&self, kind: ResourceKind, id: &str, call: &str) -> Result<()> {
        self.check(Action::Delete, kind, id).await?;
        self.record(Action::Delete, kind.resource_kind(), id, call).await
    }

    /// Asks for what only administrators may and keeps the record of it.
    async fn check_settings(&self, action: Action, kind: &str, id: &str, call: &str) -> Result<()> {
        self.guard.check_admin().await?;
        self.record(action, kind, id, call).await
    }

    /// Those that may be read.
    async fn readable<T>(&self, kind: ResourceKind, all: Vec<T>, id: impl Fn(&T) -> &str) -> Result<Vec<T>> {
        let allowed = self.may_read(kind, all.iter().map(id)).await?;
        Ok(all.into_iter().zip(allowed).filter_map(|(one, allowed)| allowed.then_some(one)).collect())
    }

    /// Whether things of a kind may be read, in their order.
    async fn may_read<'a>(&self, kind: ResourceKind, ids: impl Iterator<Item = &'a str>) -> Result<Vec<bool>> {
        let resources: Vec<Resource> = ids.map(|id| resource(kind, id)).collect();
        self.guard.allows_each(Action::Read, &resources).await
    }

    async fn check_usable(&self, links: &[ModelLink]) -> Result<()> {
        let resources: Vec<Resource> = links.iter().map(|link| resource(MODEL, &link.model)).collect();
        let allowed = self.guard.allows_each(Action::Predict, &resources).await?;
        match resources.iter().zip(allowed).find(|(_, allowed)| !allowed) {
            Some((model, _)) => Err(self.guard.refusal(Action::Predict, model)),
            None => Ok(()),
        }
    }

    /// Leaves out secrets that may not be read.
    async fn withhold_secrets(&self, mut models: Vec<&mut ModelDefinition>) -> Result<()> {
        models.retain(|model| model.secret.is_some());
        let secrets = models.iter().filter_map(|model| model.secret.as_ref());
        let allowed = self.may_read(SECRET, secrets.map(|secret| secret.id.as_str())).await?;
        for (model, _) in models.into_iter().zip(allowed).filter(|(_, allowed)| !allowed) {
            model.secret = None;
        }
        Ok(())
    }

    /// Leaves out models and secrets that may not be read.
    async fn withhold(&self, mappings: Vec<&mut Mapping>) -> Result<()> {
        let allowed = self.may_read(MODEL, mappings.iter().map(|mapping| mapping.link.model.as_str())).await?;
        let mut kept = Vec::new();
        for (mapping, allowed) in mappings.into_iter().zip(allowed) {
            if allowed {
                kept.extend(&mut mapping.definition);
            } else {
                mapping.link.model.clear();
                mapping.definition = None;
            }
        }
        self.withhold_secrets(kept).await
    }

    async fn shown_model(&self, mut model: ModelDefinition) -> Result<ModelDefinition> {
        self.withhold_secrets(vec![&mut model]).await?;
        Ok(model)
    }

    async fn shown_endpoint(&self, mut endpoint: Endpoint) -> Result<Endpoint> {
        self.withhold(endpoint.mappings.iter_mut().collect()).await?;
        Ok(endpoint)
    }
}

#[async_trait]
impl SecretStore for GuardedGateway {
    async fn create_secret(&self, create: CreateSecret) -> Result<Secret> {
        self.check(Action::Write, SECRET, EVERY).await?;
        self.record(Action::Write, SECRET.resource_kind(), &create.name, "secrets/create").await?;
        let made = self.inner.create_secret(CreateSecret { created_by: self.by()?, ..create }).await?;
        self.guard.own(SECRET, &made.id).await?;
        Ok(made)
    }

    async fn secret(&self, id: &str) -> Result<Secret> {
        self.check(Action::Read, SECRET, id).await?;
        self.inner.secret(id).await
    }

    async fn update_secret(&self, id: &str, update: SecretUpdate) -> Result<Secret> {
        self.check(Action::Write, SECRET, id).await?;
        self.record(Action::Write, SECRET.resource_kind(), id, "secrets/update").await?;
        self.inner.update_secret(id, SecretUpdate { updated_by: self.by()?, ..update }).await
    }

    async fn delete_secret(&self, id: &str) -> Result<()> {
        self.check_deletion(SECRET, id, "secrets/delete").await?;
        self.inner.delete_secret(id).await?;
        self.guard.moved(SECRET, id, None).await
    }

    async fn secrets(&self, provider: Option<&str>) -> Result<Vec<Secret>> {
        self.readable(SECRET, self.inner.secrets(provider).await?, |secret| &secret.id).await
    }

    async fn values(&self, id: &str) -> Result<SecretValues> {
        self.check(Action::Administer, SECRET, id).await?;
        self.record(Action::Read, SECRET.resource_kind(), id, "secrets/values").await?;
        self.inner.values(id).await
    }
}

#[async_trait]
impl EndpointStore for GuardedGateway {
    async fn create_model(&self, create: CreateModelDefinition) -> Result<ModelDefinition> {
        self.check(Action::Write, MODEL, EVERY).await?;
        self.check(Action::Predict, SECRET, &create.secret).await?;
        let made = self.inner.create_model(CreateModelDefinition { created_by: self.by()?, ..create }).await?;
        self.guard.own(MODEL, &made.id).await?;
        Ok(made)
    }

    async fn model(&self, id: &str) -> Result<ModelDefinition> {
        self.check(Action::Read, MODEL, id).await?;
        self.shown_model(self.inner.model(id).await?).await
    }

    async fn update_model(&self, id: &str, update: ModelDefinitionUpdate) -> Result<ModelDefinition> {
        self.check(Action::Write, MODEL, id).await?;
        if let Some(secret) = &update.secret {
            self.check(Action::Predict, SECRET, secret).await?;
        }
        let update = ModelDefinitionUpdate { updated_by: self.by()?, ..update };
        self.shown_model(self.inner.update_model(id, update).await?).await
    }

    async fn delete_model(&self, id: &str) -> Result<()> {
        self.check_deletion(MODEL, id, "model-definitions/delete").await?;
        self.inner.delete_model(id).await?;
        self.guard.moved(MODEL, id, None).await
    }

    async fn models(&self, filter: &ModelFilter) -> Result<Vec<ModelDefinition>> {
        if let Some(secret) = &filter.secret {
            self.check(Action::Read, SECRET, secret).await?;
        }
        let mut models = self.readable(MODEL, self.inner.models(filter).await?, |model| &model.id).await?;
        self.withhold_secrets(models.iter_mut().collect()).await?;
        Ok(models)
    }

    async fn create_endpoint(&self, create: CreateEndpoint) -> Result<Endpoint> {
        self.check(Action::Write, ENDPOINT, EVERY).await?;
        self.check_usable(&create.models).await?;
        let made = self.inner.create_endpoint(CreateEndpoint { created_by: self.by()?, ..create }).await?;
        self.guard.own(ENDPOINT, &made.id).await?;
        self.shown_endpoint(made).await
    }

    async fn endpoint(&self, id: &str) -> Result<Endpoint> {
        self.check(Action::Read, ENDPOINT, id).await?;
        self.shown_endpoint(self.inner.endpoint(id).await?).await
    }

    async fn endpoint_named(&self, name: &str) -> Result<Endpoint> {
        let found = self.inner.endpoint_named(name).await?;
        self.check(Action::Read, ENDPOINT, &found.id).await?;
        self.shown_endpoint(found).await
    }

    async fn update_endpoint(&self, id: &str, update: EndpointUpdate) -> Result<Endpoint> {
        self.check(Action::Write, ENDPOINT, id).await?;
        self.check_usable(update.models.as_deref().unwrap_or_default()).await?;
        let update = EndpointUpdate { updated_by: self.by()?, ..update };
        self.shown_endpoint(self.inner.update_endpoint(id, update).await?).await
    }

    async fn delete_endpoint(&self, id: &str) -> Result<()> {
        self.check_deletion(ENDPOINT, id, "endpoints/delete").await?;
        self.inner.delete_endpoint(id).await?;
        self.guard.moved(ENDPOINT, id, None).await
    }

    async fn endpoints(&self, provider: Option<&str>) -> Result<Vec<Endpoint>> {
        let found = self.inner.endpoints(provider).await?;
        let mut endpoints = self.readable(ENDPOINT, found, |endpoint| &endpoint.id).await?;
        self.withhold(endpoints.iter_mut().flat_map(|endpoint| &mut endpoint.mappings).collect()).await?;
        Ok(endpoints)
    }

    async fn attach_model(&self, endpoint: &str, link: ModelLink, _: Option<String>) -> Result<Mapping> {
        self.check(Action::Write, ENDPOINT, endpoint).await?;
        self.check_usable(std::slice::from_ref(&link)).await?;
        let mut mapping = self.inner.attach_model(endpoint, link, self.by()?).await?;
        self.withhold(vec![&mut mapping]).await?;
        Ok(mapping)
    }

    async fn detach_model(&self, endpoint: &str, model: &str) -> Result<()> {
        self.check(Action::Write, ENDPOINT, endpoint).await?;
        self.inner.detach_model(endpoint, model).await
    }

    async fn tag_endpoint(&self, endpoint: &str, key: &str, value: Option<&str>) -> Result<()> {
        self.check(Action::Write, ENDPOINT, endpoint).await?;
        self.inner.tag_endpoint(endpoint, key, value).await
    }

    async fn create_binding(&self, create: CreateBinding) -> Result<Binding> {
        self.check(Action::Write, ENDPOINT, &create.endpoint).await?;
        self.inner.create_binding(CreateBinding { created_by: self.by()?, ..create }).await
    }

    async fn delete_binding(&self, binding: &CreateBinding) -> Result<()> {
        self.check(Action::Write, ENDPOINT, &binding.endpoint).await?;
        self.record(Action::Delete, ENDPOINT.resource_kind(), &binding.endpoint, "endpoints/bindings/delete").await?;
        self.inner.delete_binding(binding).await
    }

    async fn bindings(&self, filter: &BindingFilter) -> Result<Vec<Binding>> {
        match &filter.endpoint {
            Some(endpoint) => self.check(Action::Read, ENDPOINT, endpoint).await?,
            None => self.guard.check_admin().await?,
        }
        self.inner.bindings(filter).await
    }
}

#[async_trait]
impl BudgetStore for GuardedGateway {
    async fn create_budget(&self, settings: BudgetSettings, _: Option<String>) -> Result<Budget> {
        self.check_settings(Action::Write, "gateway_budget", "*", "budgets/create").await?;
        self.inner.create_budget(settings, self.by()?).await
    }

    async fn budget(&self, id: &str) -> Result<Budget> {
        self.guard.principal()?;
        self.inner.budget(id).await
    }

    async fn update_budget(&self, id: &str, update: BudgetUpdate) -> Result<Budget> {
        self.check_settings(Action::Write, "gateway_budget", id, "budgets/update").await?;
        self.inner.update_budget(id, BudgetUpdate { updated_by: self.by()?, ..update }).await
    }

    async fn delete_budget(&self, id: &str) -> Result<()> {
        self.check_settings(Action::Delete, "gateway_budget", id, "budgets/delete").await?;
        self.inner.delete_budget(id).await
    }

    async fn budgets(&self, page: &PageRequest) -> Result<Page<Budget>> {
        self.guard.principal()?;
        self.inner.budgets(page).await
    }
}

#[async_trait]
impl GuardrailStore for GuardedGateway {
    async fn create_guardrail(&self, create: CreateGuardrail) -> Result<Guardrail> {
        self.check_settings(Action::Write, "gateway_guardrail", &create.name, "guardrails/create").await?;
        self.inner.create_guardrail(CreateGuardrail { created_by: self.by()?, ..create }).await
    }

    async fn guardrail(&self, id: &str) -> Result<Guardrail> {
        self.guard.check_admin().await?;
        self.inner.guardrail(id).await
    }

    async fn delete_guardrail(&self, id: &str) -> Result<()> {
        self.check_settings(Action::Delete, "gateway_guardrail", id, "guardrails/delete").await?;
        self.inner.delete_guardrail(id).await
    }

    async fn guardrails(&self, page: &PageRequest) -> Result<Page<Guardrail>> {
        self.guard.check_admin().await?;
        self.inner.guardrails(page).await
    }

    /// Whoever puts one before an endpoint is shown its scorer, and must be allowed to read that.
    async fn place_guardrail(&self, place: PlaceGuardrail) -> Result<PlacedGuardrail> {
        self.check(Action::Write, ENDPOINT, &place.endpoint).await?;
        self.check_scorer(&place.guardrail).await?;
        self.inner.place_guardrail(PlaceGuardrail { created_by: self.by()?, ..place }).await
    }

    async fn move_guardrail(&self, endpoint: &str, guardrail: &str, order: Option<i64>) -> Result<PlacedGuardrail> {
        self.check(Action::Write, ENDPOINT, endpoint).await?;
        self.check_scorer(guardrail).await?;
        self.inner.move_guardrail(endpoint, guardrail, order).await
    }

    async fn remove_guardrail(&self, endpoint: &str, guardrail: &str) -> Result<()> {
        self.check(Action::Write, ENDPOINT, endpoint).await?;
        self.record(Action::Delete, ENDPOINT.resource_kind(), endpoint, "guardrails/remove-from-endpoint").await?;
        self.inner.remove_guardrail(endpoint, guardrail).await
    }

    async fn guardrails_of(&self, endpoint: &str) -> Result<Vec<PlacedGuardrail>> {
        self.check(Action::Read, ENDPOINT, endpoint).await?;
        self.inner.guardrails_of(endpoint).await
    }
}

impl GuardedGateway {
    async fn check_scorer(&self, guardrail: &str) -> Result<()> {
        let found = self.inner.guardrail(guardrail).await?;
        self.guard.check(Action::Read, &experiment(found.scorer.experiment)).await
    }
}

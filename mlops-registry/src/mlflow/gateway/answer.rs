//! The gateway's records as MLflow's clients read them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    gateway::{Binding, Budget, Change, Endpoint, Guardrail, Mapping, ModelDefinition, PlacedGuardrail, Secret},
    mlflow::{answer::object, scorers},
};

fn map(entries: &BTreeMap<String, String>) -> Value {
    if entries.is_empty() {
        return Value::Null;
    }
    Value::Object(entries.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect::<Map<_, _>>())
}

fn text(text: Option<&String>) -> Value {
    text.map(String::as_str).into()
}

/// The fields of a record with when and by whom it was changed.
fn with<const N: usize>(fields: [(&str, Value); N], change: &Change, nobody: &Value) -> Value {
    let mut answer = object(fields);
    let by = |who: &Option<String>| who.as_deref().map_or_else(|| nobody.clone(), Value::from);
    let known = object([
        ("created_at", change.created.as_millis().into()),
        ("last_updated_at", change.updated.as_millis().into()),
        ("created_by", by(&change.created_by)),
        ("last_updated_by", by(&change.updated_by)),
    ]);
    if let (Value::Object(fields), Value::Object(known)) = (&mut answer, known) {
        fields.extend(known);
    }
    answer
}

pub(super) fn secret(secret: &Secret) -> Value {
    let fields = [
        ("secret_id", secret.id.as_str().into()),
        ("secret_name", secret.name.as_str().into()),
        ("masked_values", map(&secret.masked)),
        ("provider", text(secret.provider.as_ref())),
        ("auth_config", map(&secret.auth)),
    ];
    with(fields, &secret.change, &Value::Null)
}

pub(super) fn model(model: &ModelDefinition) -> Value {
    let fields = [
        ("model_definition_id", model.id.as_str().into()),
        ("name", model.name.as_str().into()),
        ("secret_id", text(model.secret.as_ref().map(|secret| &secret.id))),
        ("secret_name", text(model.secret.as_ref().map(|secret| &secret.name))),
        ("provider", model.provider.as_str().into()),
        ("model_name", model.model_name.as_str().into()),
    ];
    with(fields, &model.change, &Value::Null)
}

pub(super) fn mapping(mapping: &Mapping) -> Value {
    let link = &mapping.link;
    object([
        ("mapping_id", mapping.id.as_str().into()),
        ("endpoint_id", mapping.endpoint.as_str().into()),
        ("model_definition_id", text(Some(&link.model).filter(|id| !id.is_empty()))),
        ("model_definition", mapping.definition.as_ref().map(model).into()),
        ("weight", link.weight.into()),
        ("linkage_type", link.linkage.name().into()),
        ("fallback_order", link.fallback_order.into()),
        ("created_at", mapping.created.as_millis().into()),
        ("created_by", text(mapping.created_by.as_ref())),
    ])
}

pub(super) fn endpoint(endpoint: &Endpoint) -> Value {
    let tag = |(key, value): (&String, &String)| json!({ "key": key, "value": value });
    let fallback = endpoint.fallback.map(|fallback| {
        object([
            ("strategy", fallback.strategy.map(|strategy| strategy.name()).into()),
            ("max_attempts", fallback.max_attempts.into()),
        ])
    });
    let fields = [
        ("endpoint_id", endpoint.id.as_str().into()),
        ("name", endpoint.name.as_str().into()),
        ("model_mappings", endpoint.mappings.iter().map(mapping).collect()),
        ("tags", endpoint.tags.iter().map(tag).collect()),
        ("routing_strategy", endpoint.routing.map(|routing| routing.name()).into()),
        ("fallback_config", fallback.into()),
        ("experiment_id", endpoint.experiment.map(|id| id.to_string()).into()),
        ("usage_tracking", endpoint.usage_tracking.into()),
    ];
    with(fields, &endpoint.change, &"".into())
}

pub(super) fn binding(binding: &Binding) -> Value {
    let fields = [
        ("endpoint_id", binding.endpoint.as_str().into()),
        ("resource_type", binding.kind.name().into()),
        ("resource_id", binding.resource.as_str().into()),
    ];
    with(fields, &binding.change, &Value::Null)
}

pub(super) fn budget(budget: &Budget) -> Value {
    let settings = &budget.settings;
    let fields = [
        ("budget_policy_id", budget.id.as_str().into()),
        ("budget_unit", settings.unit.name().into()),
        ("budget_amount", settings.amount.into()),
        ("duration", json!({ "unit": settings.span.unit.name(), "value": settings.span.count })),
        ("target_scope", settings.scope.name().into()),
        ("target_value", text(settings.target.as_ref())),
        ("budget_action", settings.action.name().into()),
    ];
    with(fields, &budget.change, &"".into())
}

/// MLflow's field for the id of the endpoint holds its name.
pub(super) fn guardrail(guardrail: &Guardrail) -> Value {
    let fields = [
        ("guardrail_id", guardrail.id.as_str().into()),
        ("name", guardrail.name.as_str().into()),
        ("scorer", scorers::answer(&guardrail.scorer)),
        ("stage", guardrail.stage.name().into()),
        ("action", guardrail.action.name().into()),
        ("action_endpoint_id", text(guardrail.action_endpoint.as_ref().map(|endpoint| &endpoint.name))),
    ];
    with(fields, &guardrail.change, &"".into())
}

pub(super) fn placed(placed: &PlacedGuardrail) -> Value {
    object([
        ("endpoint_id", placed.endpoint.as_str().into()),
        ("guardrail_id", placed.guardrail.id.as_str().into()),
        ("execution_order", placed.order.into()),
        ("guardrail", guardrail(&placed.guardrail)),
        ("created_by", placed.created_by.clone().unwrap_or_default().into()),
        ("created_at", placed.created.as_millis().into()),
    ])
}

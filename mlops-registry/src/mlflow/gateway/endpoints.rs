//! `gateway/endpoints/...`: endpoints, their models, bindings and tags.

use std::collections::BTreeMap;

use axum::Router;
use mlops_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::{answer, chosen, filled, float, needed, required, store};
use crate::{
    CreateExperiment, ExperimentId,
    gateway::{
        BindingFilter, BindingKind, CreateBinding, CreateEndpoint, Endpoint, EndpointUpdate, Fallback,
        FallbackStrategy, Linkage, ModelLink, RoutingStrategy,
    },
    mlflow::{Api, DELETE, GET, POST, answer::object, on, request::Params},
};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/gateway/endpoints/create", on(POST, create))
        .route("/gateway/endpoints/get", on(GET, get))
        .route("/gateway/endpoints/update", on(POST, update))
        .route("/gateway/endpoints/delete", on(DELETE, delete))
        .route("/gateway/endpoints/list", on(GET, list))
        .route("/gateway/endpoints/models/attach", on(POST, attach))
        .route("/gateway/endpoints/models/detach", on(POST, detach))
        .route("/gateway/endpoints/set-tag", on(POST, set_tag))
        .route("/gateway/endpoints/delete-tag", on(DELETE, delete_tag))
        .route("/gateway/endpoints/bindings/create", on(POST, create_binding))
        .route("/gateway/endpoints/bindings/delete", on(DELETE, delete_binding))
        .route("/gateway/endpoints/bindings/list", on(GET, list_bindings))
}

fn whole(endpoint: &Endpoint) -> Value {
    json!({ "endpoint": answer::endpoint(endpoint) })
}

/// The model that an object links; `place` says where the object is.
fn link(params: &Params, place: &str) -> Result<ModelLink> {
    let linkage = chosen(params, "linkage_type", Linkage::NAMES).ok().flatten().ok_or_else(|| {
        let names: Vec<&str> = Linkage::NAMES.iter().map(|(name, _)| *name).collect();
        Error::invalid_argument(format!(
            "Invalid or missing value for required parameter 'linkage_type' in {place}. Must be one of: {}.",
            names.join(", ")
        ))
    })?;
    Ok(ModelLink {
        model: needed(params, "model_definition_id")?,
        linkage,
        weight: float(params, "weight")?.unwrap_or(1.0),
        fallback_order: params.int("fallback_order")?,
    })
}

fn links(params: &Params) -> Result<Vec<ModelLink>> {
    let configs = params.objects("model_configs")?;
    configs.iter().enumerate().map(|(at, config)| link(config, &format!("model_configs[{at}]"))).collect()
}

fn fallback(params: &Params) -> Result<Option<Fallback>> {
    if params.value("fallback_config").is_none() {
        return Ok(None);
    }
    let config = params.object("fallback_config")?;
    let attempts = config.int("max_attempts")?.map(u32::try_from).transpose();
    Ok(Some(Fallback {
        strategy: chosen(&config, "strategy", FallbackStrategy::NAMES)?,
        max_attempts: attempts.map_err(|_| {
            Error::invalid_argument(
                "Invalid value for parameter 'fallback_config.max_attempts' supplied: it is 0 or more",
            )
        })?,
    }))
}

/// The experiment that is named, which must exist.
async fn experiment(api: &Api, params: &Params) -> Result<Option<ExperimentId>> {
    match filled(params, "experiment_id")? {
        Some(_) => Ok(Some(api.tracking.experiment(params.experiment_id()?).await?.id)),
        None => Ok(None),
    }
}

/// The experiment that gets the traces of an endpoint for which none was named.
async fn own_experiment(api: &Api, endpoint: &Endpoint) -> Result<ExperimentId> {
    let name = format!("gateway/{}", endpoint.name);
    let tags = [
        ("mlflow.experiment.sourceType", "GATEWAY"),
        ("mlflow.experiment.sourceId", &endpoint.id),
        ("mlflow.experiment.isGateway", "true"),
    ];
    let tags: BTreeMap<String, String> = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    match api.tracking.create_experiment(&name, CreateExperiment { tags, ..CreateExperiment::default() }).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = api.tracking.experiment_by_name(&name).await?;
            found.map(|found| found.id).ok_or(error)
        }
        made => made,
    }
}

/// The endpoint with an experiment, where its requests leave traces.
async fn traced(api: &Api, endpoint: Endpoint) -> Result<Endpoint> {
    if !endpoint.usage_tracking || endpoint.experiment.is_some() {
        return Ok(endpoint);
    }
    let experiment = Some(own_experiment(api, &endpoint).await?);
    store(api)?.update_endpoint(&endpoint.id, EndpointUpdate { experiment, ..EndpointUpdate::default() }).await
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let name = needed(&params, "name")?;
    params.given_list("model_configs")?;
    let create = CreateEndpoint {
        routing: chosen(&params, "routing_strategy", RoutingStrategy::NAMES)?,
        fallback: fallback(&params)?,
        experiment: experiment(&api, &params).await?,
        usage_tracking: params.flag("usage_tracking")?.unwrap_or(true),
        created_by: filled(&params, "created_by")?,
        ..CreateEndpoint::new(name, links(&params)?)
    };
    create.check()?;
    let made = store(&api)?.create_endpoint(create).await?;
    let id = made.id.clone();
    match traced(&api, made).await {
        Ok(made) => Ok(whole(&made)),
        Err(error) => {
            // It was asked for with traces, and is not there without.
            store(&api)?.delete_endpoint(&id).await?;
            Err(error)
        }
    }
}

async fn get(api: Api, params: Params) -> Result<Value> {
    let found = match (filled(&params, "endpoint_id")?, filled(&params, "name")?) {
        (Some(id), None) => store(&api)?.endpoint(&id).await?,
        (None, Some(name)) => store(&api)?.endpoint_named(&name).await?,
        _ => return Err(Error::invalid_argument("Exactly one of endpoint_id or name must be provided")),
    };
    Ok(whole(&found))
}

async fn update(api: Api, params: Params) -> Result<Value> {
    let id = needed(&params, "endpoint_id")?;
    let update = EndpointUpdate {
        name: filled(&params, "name")?,
        models: Some(links(&params)?).filter(|links| !links.is_empty()),
        routing: chosen(&params, "routing_strategy", RoutingStrategy::NAMES)?,
        fallback: fallback(&params)?,
        experiment: experiment(&api, &params).await?,
        usage_tracking: params.flag("usage_tracking")?,
        updated_by: filled(&params, "updated_by")?,
    };
    let traces = update.usage_tracking == Some(true);
    let changed = store(&api)?.update_endpoint(&id, update).await?;
    Ok(whole(&if traces { traced(&api, changed).await? } else { changed }))
}

async fn delete(api: Api, params: Params) -> Result<Value> {
    store(&api)?.delete_endpoint(params.required("endpoint_id")?).await?;
    Ok(json!({}))
}

async fn list(api: Api, params: Params) -> Result<Value> {
    let endpoints = store(&api)?.endpoints(filled(&params, "provider")?.as_deref()).await?;
    Ok(object([("endpoints", endpoints.iter().map(answer::endpoint).collect())]))
}

async fn attach(api: Api, params: Params) -> Result<Value> {
    let endpoint = params.required("endpoint_id")?;
    let link = link(&params.object("model_config")?, "model_config")?;
    let mapping = store(&api)?.attach_model(endpoint, link, filled(&params, "created_by")?).await?;
    Ok(json!({ "mapping": answer::mapping(&mapping) }))
}

async fn detach(api: Api, params: Params) -> Result<Value> {
    let (endpoint, model) = (params.required("endpoint_id")?, params.required("model_definition_id")?);
    store(&api)?.detach_model(endpoint, model).await?;
    Ok(json!({}))
}

async fn set_tag(api: Api, params: Params) -> Result<Value> {
    let (endpoint, key) = (params.required("endpoint_id")?, params.required("key")?);
    store(&api)?.tag_endpoint(endpoint, key, Some(params.text("value")?.unwrap_or_default())).await?;
    Ok(json!({}))
}

async fn delete_tag(api: Api, params: Params) -> Result<Value> {
    let (endpoint, key) = (params.required("endpoint_id")?, params.required("key")?);
    store(&api)?.tag_endpoint(endpoint, key, None).await?;
    Ok(json!({}))
}

fn binding(params: &Params) -> Result<CreateBinding> {
    Ok(CreateBinding {
        endpoint: needed(params, "endpoint_id")?,
        kind: required(params, "resource_type", BindingKind::NAMES)?,
        resource: needed(params, "resource_id")?,
        created_by: filled(params, "created_by")?,
    })
}

async fn create_binding(api: Api, params: Params) -> Result<Value> {
    let made = store(&api)?.create_binding(binding(&params)?).await?;
    Ok(json!({ "binding": answer::binding(&made) }))
}

async fn delete_binding(api: Api, params: Params) -> Result<Value> {
    store(&api)?.delete_binding(&binding(&params)?).await?;
    Ok(json!({}))
}

async fn list_bindings(api: Api, params: Params) -> Result<Value> {
    let filter = BindingFilter {
        endpoint: filled(&params, "endpoint_id")?,
        kind: chosen(&params, "resource_type", BindingKind::NAMES)?,
        resource: filled(&params, "resource_id")?,
    };
    let bindings = store(&api)?.bindings(&filter).await?;
    Ok(object([("bindings", bindings.iter().map(answer::binding).collect())]))
}

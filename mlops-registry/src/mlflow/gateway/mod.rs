//! `gateway/...` of the third API: what an AI gateway is configured by.
//!
//! Invariant: no answer and no error holds what is in a secret. Requests to models are not forwarded; their routes say so.

mod answer;
mod budgets;
mod endpoints;
mod guardrails;
mod models;
mod providers;
mod secrets;

use std::sync::Arc;

use axum::{Json, Router, routing};
use mlops_core::{Error, Result};
use serde_json::{Value, json};

use super::{Api, GET, POST, failure::Failure, on, place::part, request::Params};
use crate::gateway::GatewayStore;

/// Below `/api/3.0/mlflow`.
pub(super) fn routes() -> Router<Api> {
    secrets::routes()
        .merge(models::routes())
        .merge(endpoints::routes())
        .merge(budgets::routes())
        .merge(guardrails::routes())
}

/// Below `/ajax-api`: what only pages ask for.
pub(super) fn page_routes() -> Router<Api> {
    providers::routes()
        // What MLflow answers where no deployment server is set up.
        .route("/2.0/mlflow/gateway-proxy", on(GET.or(POST), async |_, _| Ok(json!({ "endpoints": [] }))))
}

/// Where applications would send requests for models.
pub(super) fn invocation_routes() -> Router<Api> {
    let refuse = routing::any(async || -> Result<Json<Value>, Failure> {
        let message = "this server keeps the configuration of the gateway and forwards no requests to models; ask the \
                       provider, or a gateway that reads the configuration";
        Err(Error::unimplemented(message).into())
    });
    Router::new().route("/gateway/{*path}", refuse)
}

fn store(api: &Api) -> Result<&Arc<dyn GatewayStore>> {
    part(&api.gateway, "configuration of a gateway", "with_gateway")
}

/// A text that is absent where it is empty.
fn filled(params: &Params, field: &str) -> Result<Option<String>> {
    Ok(params.owned(field)?.filter(|text| !text.is_empty()))
}

/// A text that must be there.
fn needed(params: &Params, field: &str) -> Result<String> {
    params.required(field).map(str::to_owned)
}

/// One of some names, or its number: they count from 1, and 0 or an empty text is none of them.
fn chosen<T: Copy>(params: &Params, field: &str, names: &[(&'static str, T)]) -> Result<Option<T>> {
    let named = names.iter().zip(1..).map(|((name, choice), number)| (*name, number, Some(*choice)));
    let choices: Vec<(&str, i64, Option<T>)> = named.chain([("", 0, None)]).collect();
    Ok(params.choice(field, &choices)?.flatten())
}

/// One of some names that must be given.
fn required<T: Copy>(params: &Params, field: &str, names: &[(&'static str, T)]) -> Result<T> {
    chosen(params, field, names)?.ok_or_else(|| params.missing(field))
}

/// A number that may be absent.
fn float(params: &Params, field: &str) -> Result<Option<f64>> {
    params.value(field).map(|_| params.required_float(field)).transpose()
}

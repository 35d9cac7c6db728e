//! `webhooks/...`. The secret goes in and never comes out.

use std::sync::Arc;

use axum::Router;
use mlops_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::{
    Api, DELETE, GET, PATCH, POST,
    answer::{object, page},
    on,
    place::{Place, on_place, part},
    request::Params,
};
use crate::webhooks::{CreateWebhook, Webhook, WebhookEvent, WebhookUpdate, WebhookWorker};

const STATES: [(&str, i64, bool); 2] = [("ACTIVE", 1, true), ("DISABLED", 2, false)];

/// Below `/api/2.0/mlflow`.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/webhooks", on(POST, create).merge(on(GET, list)))
        .route("/webhooks/{webhook}", on_place(GET, get).merge(on_place(PATCH, update)).merge(on_place(DELETE, delete)))
        .route("/webhooks/{webhook}/test", on_place(POST, test))
}

fn worker(api: &Api) -> Result<&Arc<WebhookWorker>> {
    part(&api.webhooks, "webhooks", "with_webhooks")
}

fn answer(webhook: &Webhook) -> Value {
    let event = |event: &WebhookEvent| json!({ "entity": event.entity().to_uppercase(), "action": event.action().to_uppercase() });
    object([
        ("webhook_id", webhook.id.as_str().into()),
        ("name", webhook.name.as_str().into()),
        ("description", webhook.description.clone().into()),
        ("url", webhook.url.as_str().into()),
        ("events", webhook.events.iter().map(event).collect()),
        ("status", if webhook.active { "ACTIVE" } else { "DISABLED" }.into()),
        ("creation_timestamp", webhook.created.as_millis().into()),
        ("last_updated_timestamp", webhook.updated.as_millis().into()),
    ])
}

fn event(params: &Params) -> Result<WebhookEvent> {
    WebhookEvent::new(params.required("entity")?, params.required("action")?)
}

fn events(params: &Params) -> Result<Vec<WebhookEvent>> {
    params.objects("events")?.iter().map(event).collect()
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let events = events(&params)?;
    if events.is_empty() {
        return Err(params.missing("events"));
    }
    let create = CreateWebhook {
        description: params.owned("description")?.filter(|text| !text.is_empty()),
        secret: params.owned("secret")?.filter(|text| !text.is_empty()),
        active: params.choice("status", &STATES)?.unwrap_or(true),
        ..CreateWebhook::new(params.required("name")?, params.required("url")?, events)
    };
    Ok(json!({ "webhook": answer(&worker(&api)?.store().create(create).await?) }))
}

async fn list(api: Api, params: Params) -> Result<Value> {
    Ok(page("webhooks", &worker(&api)?.store().list(&params.page(100, 1_000)?).await?, answer))
}

async fn get(api: Api, place: Place, _: Params) -> Result<Value> {
    Ok(json!({ "webhook": answer(&worker(&api)?.store().webhook(place.id("webhook")?).await?) }))
}

async fn update(api: Api, place: Place, params: Params) -> Result<Value> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let update = WebhookUpdate {
        name: given(params.owned("name")?),
        description: params.owned("description")?,
        url: given(params.owned("url")?),
        events: Some(events(&params)?).filter(|events| !events.is_empty()),
        secret: params.owned("secret")?,
        active: params.choice("status", &STATES)?,
    };
    Ok(json!({ "webhook": answer(&worker(&api)?.store().update(place.id("webhook")?, update).await?) }))
}

async fn delete(api: Api, place: Place, _: Params) -> Result<Value> {
    worker(&api)?.store().delete(place.id("webhook")?).await?;
    Ok(json!({}))
}

/// A receiver that fails is a result, not an error of the call.
async fn test(api: Api, place: Place, params: Params) -> Result<Value> {
    let event = params.value("event").map(|_| event(&params.object("event")?)).transpose()?;
    let result = match worker(&api)?.test(place.id("webhook")?, event.as_ref()).await {
        Ok(answer) => json!({
            "success": answer.status < 400,
            "response_status": answer.status,
            "response_body": answer.body,
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
        Err(error) => json!({ "success": false, "error_message": failed(&error) }),
    };
    Ok(json!({ "result": result }))
}

fn failed(error: &Error) -> String {
    format!("Failed to test webhook: {}", error.message())
}

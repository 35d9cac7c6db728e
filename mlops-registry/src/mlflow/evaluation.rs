//! `datasets/...` of the third API: evaluation datasets. Tags and records travel as JSON in a text.

use std::{collections::BTreeMap, sync::Arc};

use axum::Router;
use mlops_core::{Error, ErrorKind, Result, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{
    Api, DELETE, GET, PATCH, POST,
    answer::{object, page},
    on,
    place::{Place, on_place, part},
    request::Params,
};
use crate::{
    ExperimentId, Search,
    evaluation::{
        CreateEvaluationDataset, EvaluationDataset, EvaluationRecord, EvaluationStore, PutRecord, RecordSource,
    },
};

/// Below `/api/3.0/mlflow`.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/datasets/create", on(POST, create))
        .route("/datasets/search", on(GET.or(POST), search))
        .route("/datasets/{dataset}", on_place(GET, get).merge(on_place(DELETE, delete)))
        .route("/datasets/{dataset}/tags", on_place(PATCH, set_tags))
        .route("/datasets/{dataset}/tags/{key}", on_place(DELETE, delete_tag))
        .route(
            "/datasets/{dataset}/records",
            on_place(GET, records).merge(on_place(POST, upsert)).merge(on_place(DELETE, delete_records)),
        )
        .route("/datasets/{dataset}/experiment-ids", on_place(GET, experiment_ids))
        .route("/datasets/{dataset}/add-experiments", on_place(POST, add_experiments))
        .route("/datasets/{dataset}/remove-experiments", on_place(POST, remove_experiments))
}

fn store(api: &Api) -> Result<&Arc<dyn EvaluationStore>> {
    part(&api.evaluation, "evaluation datasets", "with_evaluation")
}

fn millis(time: Timestamp) -> Value {
    time.as_millis().into()
}

fn dataset(dataset: &EvaluationDataset) -> Value {
    let profile = (dataset.records > 0).then(|| json!({ "num_records": dataset.records }).to_string());
    object([
        ("dataset_id", dataset.id.as_str().into()),
        ("name", dataset.name.as_str().into()),
        ("tags", json!(dataset.tags).to_string().into()),
        ("schema", dataset.schema.as_ref().map(Value::to_string).into()),
        ("profile", profile.into()),
        ("digest", dataset.digest.as_str().into()),
        ("created_time", millis(dataset.created)),
        ("last_update_time", millis(dataset.updated)),
        ("created_by", dataset.created_by.clone().into()),
        ("last_updated_by", dataset.updated_by.clone().into()),
        ("experiment_ids", dataset.experiments.iter().map(|id| Value::from(id.to_string())).collect()),
    ])
}

fn record(of: &str, record: &EvaluationRecord) -> Value {
    let source_id = |source: &RecordSource| {
        let name = if source.source_type == "TRACE" { "trace_id" } else { "source_id" };
        source.source_data.get(name).cloned()
    };
    object([
        ("dataset_record_id", record.id.as_str().into()),
        ("dataset_id", of.into()),
        ("inputs", Value::Object(record.inputs.clone())),
        ("outputs", record.outputs.clone().into()),
        ("expectations", record.expectations.clone().map(Value::Object).into()),
        ("tags", json!(record.tags)),
        ("source", record.source.as_ref().map(|source| json!(source)).into()),
        ("source_id", record.source.as_ref().and_then(source_id).into()),
        ("source_type", record.source.as_ref().map(|source| source.source_type.clone()).into()),
        ("created_time", millis(record.created)),
        ("last_update_time", millis(record.updated)),
        ("created_by", record.created_by.clone().into()),
        ("last_updated_by", record.updated_by.clone().into()),
    ])
}

/// A field that holds JSON in a text.
fn inner<T: DeserializeOwned>(params: &Params, name: &str) -> Result<Option<T>> {
    let Some(text) = params.text(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |error| Error::invalid_argument(format!("Invalid value for parameter '{name}' supplied: {error}"));
    serde_json::from_str(text).map(Some).map_err(wrong)
}

/// Values of tags are text; whatever else a caller sets is kept as its JSON.
fn tags(params: &Params) -> Result<BTreeMap<String, Option<String>>> {
    let given: Map<String, Value> = inner(params, "tags")?.unwrap_or_default();
    let text = |value: Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    Ok(given.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// The experiments that are named, which must exist.
async fn experiments(api: &Api, params: &Params) -> Result<Vec<ExperimentId>> {
    let ids = params.experiment_ids()?;
    for id in &ids {
        api.tracking.experiment(*id).await?;
    }
    Ok(ids)
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let tags = tags(&params)?.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let name = params.required("name")?.to_owned();
    let create = CreateEvaluationDataset { name, tags, experiments: experiments(&api, &params).await? };
    Ok(json!({ "dataset": dataset(&store(&api)?.create(create).await?) }))
}

async fn get(api: Api, place: Place, _: Params) -> Result<Value> {
    Ok(json!({ "dataset": dataset(&store(&api)?.dataset(place.id("dataset")?).await?) }))
}

async fn delete(api: Api, place: Place, _: Params) -> Result<Value> {
    store(&api)?.delete(place.id("dataset")?).await?;
    Ok(json!({}))
}

async fn search(api: Api, params: Params) -> Result<Value> {
    let ids = params.experiment_ids()?;
    let search = Search {
        filter: params.owned("filter_string")?.unwrap_or_default(),
        order_by: params.texts("order_by")?,
        page: params.page(1_000, 50_000)?,
        ..Search::default()
    };
    Ok(page("datasets", &store(&api)?.search(&ids, &search).await?, dataset))
}

async fn set_tags(api: Api, place: Place, params: Params) -> Result<Value> {
    params.required("tags")?;
    // A null says nothing; a tag is deleted by its own call.
    let set = tags(&params)?.into_iter().filter(|(_, value)| value.is_some()).collect();
    let changed = store(&api)?.set_tags(place.id("dataset")?, &set).await?;
    Ok(json!({ "dataset": dataset(&changed) }))
}

async fn delete_tag(api: Api, place: Place, _: Params) -> Result<Value> {
    let remove = BTreeMap::from([(place.id("key")?.to_owned(), None)]);
    match store(&api)?.set_tags(place.id("dataset")?, &remove).await {
        // Of a dataset that is gone the tag is gone, too.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(json!({})),
        outcome => outcome.map(|_| json!({})),
    }
}

async fn upsert(api: Api, place: Place, params: Params) -> Result<Value> {
    let records: Option<Vec<PutRecord>> = inner(&params, "records")?;
    let records = records.ok_or_else(|| params.missing("records"))?;
    let done = store(&api)?.put_records(place.id("dataset")?, records).await?;
    Ok(json!({ "inserted_count": done.inserted, "updated_count": done.updated }))
}

async fn records(api: Api, place: Place, params: Params) -> Result<Value> {
    let id = place.id("dataset")?;
    let found = store(&api)?.records(id, &params.page(1_000, 50_000)?).await?;
    let list: Value = found.items.iter().map(|item| record(id, item)).collect();
    Ok(object([("records", list.to_string().into()), ("next_page_token", found.next_page_token.into())]))
}

async fn delete_records(api: Api, place: Place, params: Params) -> Result<Value> {
    let ids = params.texts("dataset_record_ids")?;
    let deleted = store(&api)?.delete_records(place.id("dataset")?, &ids).await?;
    Ok(json!({ "deleted_count": deleted }))
}

async fn experiment_ids(api: Api, place: Place, _: Params) -> Result<Value> {
    let experiments = match store(&api)?.dataset(place.id("dataset")?).await {
        Ok(found) => found.experiments,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(object([("experiment_ids", experiments.iter().map(|id| Value::from(id.to_string())).collect())]))
}

async fn add_experiments(api: Api, place: Place, params: Params) -> Result<Value> {
    let add = experiments(&api, &params).await?;
    let changed = store(&api)?.move_experiments(place.id("dataset")?, &add, &[]).await?;
    Ok(json!({ "dataset": dataset(&changed) }))
}

async fn remove_experiments(api: Api, place: Place, params: Params) -> Result<Value> {
    let ids = params.experiment_ids()?;
    let changed = store(&api)?.move_experiments(place.id("dataset")?, &[], &ids).await?;
    Ok(json!({ "dataset": dataset(&changed) }))
}

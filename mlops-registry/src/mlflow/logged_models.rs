//! `logged-models/...`.

use axum::Router;
use mlops_core::Result;
use serde_json::{Value, json};

use super::{Api, DELETE, GET, PATCH, POST, answer, files, on, request::Params};
use crate::{
    CreateLoggedModel, DatasetFilter, LoggedModelOrder, LoggedModelSearch, LoggedModelStatus, PageRequest, View,
};

const STATUSES: [(&str, i64, LoggedModelStatus); 3] = [
    ("LOGGED_MODEL_PENDING", 1, LoggedModelStatus::Pending),
    ("LOGGED_MODEL_READY", 2, LoggedModelStatus::Ready),
    ("LOGGED_MODEL_UPLOAD_FAILED", 3, LoggedModelStatus::UploadFailed),
];
/// The usual and the largest page. A client that asks for more gets the largest and a token.
const PAGE_DEFAULT: i64 = 100;
const PAGE_MAX: i64 = 50_000;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/logged-models", on(POST, create))
        .route("/logged-models/search", on(POST, search))
        .route("/logged-models/{model_id}", on(GET, get).merge(on(PATCH, finalize)).merge(on(DELETE, delete)))
        .route("/logged-models/{model_id}/tags", on(PATCH, set_tags))
        .route("/logged-models/{model_id}/tags/{tag_key}", on(DELETE, delete_tag))
        .route("/logged-models/{model_id}/params", on(POST, log_params))
        .route("/logged-models/{model_id}/artifacts/directories", on(GET, list_files))
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let source_run = params.text("source_run_id")?.filter(|id| !id.is_empty()).map(str::parse).transpose()?;
    let model = CreateLoggedModel {
        experiment: params.experiment_id()?,
        name: params.owned("name")?.filter(|name| !name.is_empty()),
        model_type: params.owned("model_type")?.unwrap_or_default(),
        source_run,
        params: params.pairs("params")?,
        tags: params.pairs("tags")?,
    };
    Ok(json!({ "model": answer::logged_model(&api.models()?.create_logged_model(model).await?) }))
}

async fn get(api: Api, params: Params) -> Result<Value> {
    let view = if params.flag("allow_deleted")?.unwrap_or_default() { View::All } else { View::ActiveOnly };
    let model = api.models()?.logged_model(&params.model_id()?, view).await?;
    Ok(json!({ "model": answer::logged_model(&model) }))
}

async fn finalize(api: Api, params: Params) -> Result<Value> {
    let (id, status) = (params.model_id()?, params.choice("status", &STATUSES)?);
    let status = status.ok_or_else(|| params.missing("status"))?;
    let model = api.models()?.finalize_logged_model(&id, status).await?;
    Ok(json!({ "model": answer::logged_model(&model) }))
}

async fn delete(api: Api, params: Params) -> Result<Value> {
    api.models()?.delete_logged_model(&params.model_id()?).await?;
    Ok(json!({}))
}

async fn set_tags(api: Api, params: Params) -> Result<Value> {
    let (id, tags) = (params.model_id()?, params.pairs::<Vec<_>>("tags")?);
    api.models()?.set_logged_model_tags(&id, &tags).await?;
    let model = api.models()?.logged_model(&id, View::ActiveOnly).await?;
    Ok(json!({ "model": answer::logged_model(&model) }))
}

async fn delete_tag(api: Api, params: Params) -> Result<Value> {
    api.models()?.delete_logged_model_tag(&params.model_id()?, params.required("tag_key")?).await?;
    Ok(json!({}))
}

async fn log_params(api: Api, params: Params) -> Result<Value> {
    let (id, pairs) = (params.model_id()?, params.pairs::<Vec<_>>("params")?);
    api.models()?.log_logged_model_params(&id, &pairs).await?;
    Ok(json!({}))
}

async fn search(api: Api, params: Params) -> Result<Value> {
    params.given_list("experiment_ids")?;
    let experiments = params.experiment_ids()?;
    let dataset = |dataset: &Params| -> Result<DatasetFilter> {
        let digest = dataset.owned("dataset_digest")?.filter(|digest| !digest.is_empty());
        Ok(DatasetFilter { name: dataset.required("dataset_name")?.to_owned(), digest })
    };
    let order = |order: &Params| -> Result<LoggedModelOrder> {
        Ok(LoggedModelOrder {
            field: order.required("field_name")?.to_owned(),
            ascending: order.flag("ascending")?.unwrap_or(true),
            dataset_name: order.owned("dataset_name")?.filter(|name| !name.is_empty()),
            dataset_digest: order.owned("dataset_digest")?.filter(|digest| !digest.is_empty()),
        })
    };
    let search = LoggedModelSearch {
        filter: params.owned("filter")?.unwrap_or_default(),
        datasets: params.objects("datasets")?.iter().map(dataset).collect::<Result<_>>()?,
        order_by: params.objects("order_by")?.iter().map(order).collect::<Result<_>>()?,
        view: View::ActiveOnly,
        page: page(&params)?,
    };
    let Some(store) = &api.logged_models else {
        // Clients ask whenever they list the files of a run; a server without logged models has none.
        return Ok(json!({}));
    };
    let found = store.search_logged_models(&experiments, &search).await?;
    Ok(answer::page("models", &found, answer::logged_model))
}

/// The page that is asked for; zero is the usual size.
fn page(params: &Params) -> Result<PageRequest> {
    let size = params.int("max_results")?.filter(|size| *size != 0).unwrap_or(PAGE_DEFAULT).min(PAGE_MAX);
    let size = usize::try_from(size).map_err(|_| {
        mlops_core::Error::invalid_argument(format!(
            "Invalid value {size} for parameter 'max_results' supplied; it must be a positive integer"
        ))
    })?;
    Ok(PageRequest { max_results: Some(size), token: params.owned("page_token")? })
}

async fn list_files(api: Api, params: Params) -> Result<Value> {
    let model = api.models()?.logged_model(&params.model_id()?, View::ActiveOnly).await?;
    files::list_below(&api, &model.artifact_uri, params.text("artifact_directory_path")?.unwrap_or_default()).await
}

//! `traces/...` of the third API, its forms of the second, and OTLP's `/v1/traces`.

mod answer;
mod assessments;
mod conventions;
mod correlation;
mod metrics;
mod otlp;
mod read;
mod second;

use std::sync::Arc;

use axum::{
    Router,
    http::{
        HeaderMap,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};
use mlops_core::{Error, Result};
use serde_json::{Value, json};

pub(super) use self::otlp::routes as otlp_routes;
use super::{
    Api, DELETE, GET, PATCH, POST,
    auth::Caller,
    files::Answer,
    on,
    place::{Place, on_place, part},
    request::Params,
    ui_files::below,
};
use crate::{
    Experiment, ExperimentId, Search, TraceSelection, TraceStore,
    traces::{LINKED_PROMPTS_TAG, TraceInfo, mlflow_span},
};

/// Most prompt versions that one trace links to.
const PROMPTS_MAX: usize = 100;
/// The tag that says where the files of a trace are, and the file of its spans there.
const ARTIFACT_LOCATION_TAG: &str = "mlflow.artifactLocation";
/// The metadata that says that the client has told the trace itself, whatever its spans say.
const FINALIZED_METADATA: &str = "mlflow.trace.infoFinalized";
const SPANS_FILE: &str = "traces.json";

/// Below `/api/3.0/mlflow`.
pub(super) fn routes() -> Router<Api> {
    use self::assessments as a;
    Router::new()
        .route("/traces", on(POST, start))
        .route("/traces/search", on(POST, search))
        .route("/traces/get", on(GET, get_whole))
        .route("/traces/batchGet", on(GET, batch_get))
        .route("/traces/batchGetInfos", on(GET.or(POST), batch_get_infos))
        .route("/traces/delete-traces", on(POST, delete))
        .route("/traces/link-to-run", on(POST, link_to_run))
        .route("/traces/link-prompts", on(POST, link_prompts))
        .route("/traces/calculate-filter-correlation", on(POST, correlation::calculate))
        .route("/traces/metrics", on(POST, metrics::query))
        .route("/traces/{trace}", on_place(GET, get))
        .route("/traces/{trace}/tags", on_place(PATCH, set_tag).merge(on_place(DELETE, delete_tag)))
        .route("/traces/{trace}/assessments", on_place(POST, a::create))
        .route(
            // Named apart from the `assessment` of the body.
            "/traces/{trace}/assessments/{assessment_id}",
            on_place(GET, a::get).merge(on_place(PATCH, a::update)).merge(on_place(DELETE, a::delete)),
        )
}

/// Below `/api/2.0/mlflow`: what later clients still call there, and what earlier ones did.
pub(super) fn second_routes() -> Router<Api> {
    use self::second as s;
    Router::new()
        .route("/traces", on(POST, s::start).merge(on(GET, s::search)))
        .route("/traces/delete-traces", on(POST, delete))
        .route("/traces/link-to-run", on(POST, link_to_run))
        .route("/traces/link-prompts", on(POST, link_prompts))
        .route("/traces/{trace}", on_place(PATCH, s::end))
        .route("/traces/{trace}/info", on_place(GET, s::get))
        .route("/traces/{trace}/tags", on_place(PATCH, set_tag).merge(on_place(DELETE, delete_tag)))
}

fn store(api: &Api) -> Result<&Arc<dyn TraceStore>> {
    part(&api.traces, "traces", "with_traces")
}

/// The experiment, which must not be deleted.
async fn active(api: &Api, id: ExperimentId) -> Result<Experiment> {
    let experiment = api.tracking.experiment(id).await?;
    if experiment.deleted {
        return Err(Error::failed_precondition(format!(
            "The experiment {id} must be in the 'active' state. Current state is deleted."
        )));
    }
    Ok(experiment)
}

/// Stores a trace of an active experiment, with the place of its files among its tags.
async fn put(api: &Api, mut info: TraceInfo) -> Result<TraceInfo> {
    let experiment = active(api, info.experiment).await?;
    let location = format!("{}/traces/{}/artifacts", experiment.artifact_location.trim_end_matches('/'), info.id);
    info.tags.insert(ARTIFACT_LOCATION_TAG.to_owned(), location);
    store(api)?.start(info).await
}

async fn found(api: &Api, id: &str) -> Result<TraceInfo> {
    let found = store(api)?.traces(&[id.to_owned()]).await?.into_iter().next();
    found.ok_or_else(|| Error::not_found(format!("Trace with ID '{id}' not found.")).with("trace", id))
}

async fn start(api: Api, params: Params) -> Result<Value> {
    let mut info = read::info(&params.object("trace")?.object("trace_info")?)?;
    info.metadata.insert(FINALIZED_METADATA.to_owned(), "true".to_owned());
    let info = put(&api, info).await?;
    Ok(json!({ "trace": { "trace_info": answer::info(&info) } }))
}

async fn get(api: Api, place: Place, _: Params) -> Result<Value> {
    Ok(json!({ "trace": { "trace_info": answer::info(&found(&api, place.id("trace")?).await?) } }))
}

/// A trace with its spans; without any it is not complete, and only given when that is allowed.
async fn get_whole(api: Api, params: Params) -> Result<Value> {
    let id = params.required("trace_id")?;
    let info = found(&api, id).await?;
    let spans = store(&api)?.spans(&[id.to_owned()]).await?.remove(id).unwrap_or_default();
    if spans.is_empty() && !params.flag("allow_partial")?.unwrap_or(false) {
        return Err(Error::not_found(format!("Trace with ID {id} is not fully exported yet, please try again later.")));
    }
    Ok(json!({ "trace": answer::whole(&info, &spans) }))
}

/// The spans of a trace as a file in MLflow's form; of a trace whose spans a client put among its files, that file.
pub(super) async fn artifact(Caller(api): Caller, headers: HeaderMap, params: Params) -> Answer<Response> {
    let id = params.text("request_id")?.or(params.text("trace_id")?).filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Error::invalid_argument("Request must include the \"request_id\" query parameter."))?;
    let path = params.text("path")?.filter(|path| !path.is_empty());
    let info = found(&api, id).await?;
    let spans = store(&api)?.spans(&[id.to_owned()]).await?.remove(id).unwrap_or_default();
    if spans.is_empty() || path.is_some() {
        let root = info.tags.get(ARTIFACT_LOCATION_TAG).map(String::as_str).unwrap_or_default();
        return below(&api, root, path.unwrap_or(SPANS_FILE), &headers).await;
    }
    let spans: Vec<String> = spans.iter().map(mlflow_span).collect();
    let kind = [(CONTENT_TYPE, "application/json"), (CONTENT_DISPOSITION, "attachment; filename=traces.json")];
    Ok((kind, format!("{{\"spans\": [{}]}}", spans.join(", "))).into_response())
}

/// The traces of a batch, if they are in the experiments that are given.
async fn scoped(api: &Api, params: &Params) -> Result<Vec<TraceInfo>> {
    let experiments = params.experiment_ids()?;
    let infos = store(api)?.traces(&params.texts("trace_ids")?).await?;
    let admitted = |info: &TraceInfo| experiments.is_empty() || experiments.contains(&info.experiment);
    Ok(infos.into_iter().filter(admitted).collect())
}

async fn batch_get(api: Api, params: Params) -> Result<Value> {
    let infos = scoped(&api, &params).await?;
    let ids: Vec<String> = infos.iter().map(|info| info.id.clone()).collect();
    let spans = store(&api)?.spans(&ids).await?;
    // A trace whose spans have not come yet is left out, as the client expects complete ones.
    let whole = infos.iter().filter_map(|info| Some(answer::whole(info, spans.get(&info.id)?)));
    Ok(super::answer::object([("traces", whole.collect())]))
}

async fn batch_get_infos(api: Api, params: Params) -> Result<Value> {
    let infos = scoped(&api, &params).await?;
    Ok(super::answer::object([("trace_infos", infos.iter().map(answer::info).collect())]))
}

/// Filter, order and page of a search for traces.
fn read_search(params: &Params) -> Result<Search> {
    Ok(Search {
        filter: params.owned("filter")?.unwrap_or_default(),
        order_by: params.texts("order_by")?,
        page: params.page(100, 500)?,
        ..Search::default()
    })
}

async fn search(api: Api, params: Params) -> Result<Value> {
    let experiments = read::locations(&params)?;
    let page = store(&api)?.search(&experiments, &read_search(&params)?).await?;
    Ok(super::answer::page("traces", &page, answer::info))
}

async fn set_tag(api: Api, place: Place, params: Params) -> Result<Value> {
    store(&api)?.set_tags(place.id("trace")?, &[params.pair()?]).await?;
    Ok(json!({}))
}

async fn delete_tag(api: Api, place: Place, params: Params) -> Result<Value> {
    store(&api)?.delete_tag(place.id("trace")?, params.required("key")?).await?;
    Ok(json!({}))
}

async fn delete(api: Api, params: Params) -> Result<Value> {
    let ids = params.texts("request_ids")?;
    let until = params.time("max_timestamp_millis")?;
    let max = params.int("max_traces")?;
    let exclusive = until.is_some() == ids.is_empty() && (ids.is_empty() || max.is_none());
    if !exclusive || max.is_some_and(|max| max <= 0) {
        return Err(Error::invalid_argument(
            "Either `max_timestamp_millis` or `request_ids` must be given, not both; `max_traces` must be a positive \
             integer and goes with `max_timestamp_millis`.",
        ));
    }
    let selection = TraceSelection {
        ids: Some(ids).filter(|ids| !ids.is_empty()),
        until,
        max: max.and_then(|max| u64::try_from(max).ok()),
    };
    let deleted = store(&api)?.delete(params.experiment_id()?, &selection).await?;
    Ok(json!({ "traces_deleted": deleted }))
}

async fn link_to_run(api: Api, params: Params) -> Result<Value> {
    let run = params.run_id()?;
    api.tracking.run(&run).await?;
    store(&api)?.link_to_run(&params.texts("trace_ids")?, &run).await?;
    Ok(json!({}))
}

/// Adds prompt versions to the list that the trace keeps as a tag.
async fn link_prompts(api: Api, params: Params) -> Result<Value> {
    let info = found(&api, params.required("trace_id")?).await?;
    let listed = info.tags.get(LINKED_PROMPTS_TAG).map(String::as_str).unwrap_or_default();
    let mut listed: Vec<Value> = serde_json::from_str(listed).unwrap_or_default();
    for prompt in params.objects("prompt_versions")? {
        let prompt = json!({ "name": prompt.required("name")?, "version": prompt.required("version")? });
        if !listed.contains(&prompt) {
            listed.push(prompt);
        }
    }
    if listed.len() > PROMPTS_MAX {
        return Err(Error::invalid_argument(format!("at most {PROMPTS_MAX} prompt versions can be linked to a trace")));
    }
    let tag = (LINKED_PROMPTS_TAG.to_owned(), Value::Array(listed).to_string());
    store(&api)?.set_tags(&info.id, &[tag]).await?;
    Ok(json!({}))
}

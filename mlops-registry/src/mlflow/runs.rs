//! `runs/...`: what a run is and what is logged to it.

use axum::{Json, extract::Request};
use mlops_core::{Error, Metric, Result, RunId, RunStatus, Timestamp};
use serde_json::{Value, json};

use super::{Api, auth::Caller, batch_body, files::Answer, request::Params, run_answer};
use crate::{
    Batch, CreateRun, ModelMetric, RunUpdate,
    tracking::{check_param, check_point, check_tag},
};

const STATUSES: [(&str, i64, RunStatus); 5] = [
    ("RUNNING", 1, RunStatus::Running),
    ("SCHEDULED", 2, RunStatus::Scheduled),
    ("FINISHED", 3, RunStatus::Finished),
    ("FAILED", 4, RunStatus::Failed),
    ("KILLED", 5, RunStatus::Killed),
];

pub(super) async fn create(api: Api, params: Params) -> Result<Value> {
    Ok(json!({ "run": run_answer::run(&api.tracking.create_run(asked_run(&params)?).await?, None) }))
}

/// The run that a request wants to be created.
pub(super) fn asked_run(params: &Params) -> Result<CreateRun> {
    Ok(CreateRun {
        experiment: params.experiment_id()?,
        name: params.owned("run_name")?,
        user: params.owned("user_id")?.unwrap_or_default(),
        started: params.time("start_time")?,
        tags: params.pairs("tags")?,
    })
}

pub(super) async fn get(api: Api, params: Params) -> Result<Value> {
    let run = api.tracking.run(&params.run_id()?).await?;
    let models = api.models_of(std::slice::from_ref(&run)).await?;
    Ok(json!({ "run": run_answer::run(&run, models.first()) }))
}

pub(super) async fn update(api: Api, params: Params) -> Result<Value> {
    let update = RunUpdate {
        status: params.choice("status", &STATUSES)?,
        ended: params.time("end_time")?,
        name: params.owned("run_name")?,
    };
    let run = api.tracking.update_run(&params.run_id()?, update).await?;
    Ok(json!({ "run_info": run_answer::run_info(&run) }))
}

/// Appends an item, which is given as JSON text, to a tag that holds a list; MLflow's API cannot do that in one step.
pub(super) async fn append_tag(api: Api, params: Params) -> Result<Value> {
    let item = serde_json::from_str(params.required("item_json")?)
        .map_err(|error| Error::invalid_argument(format!("Invalid value for parameter 'item_json': {error}")))?;
    api.tracking.append_run_tag(&params.run_id()?, params.required("key")?, &item).await?;
    Ok(json!({}))
}

pub(super) async fn delete(api: Api, params: Params) -> Result<Value> {
    api.tracking.delete_run(&params.run_id()?).await?;
    Ok(json!({}))
}

pub(super) async fn restore(api: Api, params: Params) -> Result<Value> {
    api.tracking.restore_run(&params.run_id()?).await?;
    Ok(json!({}))
}

fn metric(params: &Params) -> Result<Metric> {
    Ok(Metric {
        key: params.required("key")?.to_owned(),
        value: params.required_float("value")?,
        timestamp: Timestamp::from_millis(params.required_int("timestamp")?),
        step: params.int("step")?.unwrap_or_default(),
    })
}

/// The point as one of a logged model, when the client says that it is.
fn model_metric(params: &Params) -> Result<Option<ModelMetric>> {
    if params.text("model_id")?.is_none_or(str::is_empty) {
        return Ok(None);
    }
    Ok(Some(ModelMetric {
        model: params.model_id()?,
        metric: metric(params)?,
        run: None,
        dataset_name: params.owned("dataset_name")?,
        dataset_digest: params.owned("dataset_digest")?,
    }))
}

pub(super) async fn log_metric(api: Api, params: Params) -> Result<Value> {
    let (run, point) = (params.run_id()?, metric(&params)?);
    // What is wrong with one alone is not named as that of a list.
    check_point("", &point)?;
    let batch =
        Batch { metrics: vec![point], model_metrics: model_metric(&params)?.into_iter().collect(), ..Batch::default() };
    api.tracking.log_batch(&run, &batch).await?;
    Ok(json!({}))
}

pub(super) async fn log_parameter(api: Api, params: Params) -> Result<Value> {
    let (run, param) = (params.run_id()?, params.pair()?);
    check_param("", &param.0)?;
    let batch = Batch { params: vec![param], ..Batch::default() };
    api.tracking.log_batch(&run, &batch).await?;
    Ok(json!({}))
}

pub(super) async fn log_batch(Caller(api): Caller, request: Request) -> Answer<Json<Value>> {
    let body = Params::body(request).await?;
    let (run, batch) = match batch_body::read(&body) {
        Some(read) => read,
        None => batch_of(&Params::from_json(&body)?)?,
    };
    api.tracking.log_batch(&run, &batch).await?;
    Ok(Json(json!({})))
}

fn batch_of(params: &Params) -> Result<(RunId, Batch)> {
    let run = params.run_id()?;
    let metrics = params.objects("metrics")?;
    let batch = Batch {
        metrics: metrics.iter().map(metric).collect::<Result<_>>()?,
        model_metrics: metrics.iter().filter_map(|point| model_metric(point).transpose()).collect::<Result<_>>()?,
        params: params.pairs("params")?,
        tags: params.pairs("tags")?,
    };
    Ok((run, batch))
}

pub(super) async fn set_tag(api: Api, params: Params) -> Result<Value> {
    let (run, tag) = (params.run_id()?, params.pair()?);
    check_tag("", &tag.0)?;
    let batch = Batch { tags: vec![tag], ..Batch::default() };
    api.tracking.log_batch(&run, &batch).await?;
    Ok(json!({}))
}

pub(super) async fn delete_tag(api: Api, params: Params) -> Result<Value> {
    api.tracking.delete_run_tag(&params.run_id()?, params.required("key")?).await?;
    Ok(json!({}))
}

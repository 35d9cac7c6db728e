//! `runs/...` and `metrics/...`.

use mlops_core::{Metric, Result, RunStatus, Timestamp};
use serde_json::{Value, json};

use super::{Api, answer, request::Params};
use crate::{Batch, CreateRun, DatasetInput, ExperimentId, LoggedDataset, PageRequest, RunUpdate, search::Page};

const STATUSES: [(&str, i64, RunStatus); 5] = [
    ("RUNNING", 1, RunStatus::Running),
    ("SCHEDULED", 2, RunStatus::Scheduled),
    ("FINISHED", 3, RunStatus::Finished),
    ("FAILED", 4, RunStatus::Failed),
    ("KILLED", 5, RunStatus::Killed),
];
/// Largest page, of runs and of points.
const PAGE_MAX: usize = 50_000;

pub(super) async fn create(api: Api, params: Params) -> Result<Value> {
    let run = CreateRun {
        experiment: params.experiment_id()?,
        name: params.owned("run_name")?,
        user: params.owned("user_id")?.unwrap_or_default(),
        started: params.time("start_time")?,
        tags: params.pairs("tags")?,
    };
    Ok(json!({ "run": answer::run(&api.tracking.create_run(run).await?) }))
}

pub(super) async fn get(api: Api, params: Params) -> Result<Value> {
    Ok(json!({ "run": answer::run(&api.tracking.run(&params.run_id()?).await?) }))
}

pub(super) async fn update(api: Api, params: Params) -> Result<Value> {
    let update = RunUpdate {
        status: params.choice("status", &STATUSES)?,
        ended: params.time("end_time")?,
        name: params.owned("run_name")?,
    };
    let run = api.tracking.update_run(&params.run_id()?, update).await?;
    Ok(json!({ "run_info": answer::run_info(&run) }))
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

pub(super) async fn log_metric(api: Api, params: Params) -> Result<Value> {
    let batch = Batch { metrics: vec![metric(&params)?], ..Batch::default() };
    api.tracking.log_batch(&params.run_id()?, &batch).await?;
    Ok(json!({}))
}

pub(super) async fn log_parameter(api: Api, params: Params) -> Result<Value> {
    let batch = Batch { params: vec![params.pair()?], ..Batch::default() };
    api.tracking.log_batch(&params.run_id()?, &batch).await?;
    Ok(json!({}))
}

pub(super) async fn log_batch(api: Api, params: Params) -> Result<Value> {
    let batch = Batch {
        metrics: params.objects("metrics")?.iter().map(metric).collect::<Result<_>>()?,
        params: params.pairs("params")?,
        tags: params.pairs("tags")?,
    };
    api.tracking.log_batch(&params.run_id()?, &batch).await?;
    Ok(json!({}))
}

pub(super) async fn set_tag(api: Api, params: Params) -> Result<Value> {
    let batch = Batch { tags: vec![params.pair()?], ..Batch::default() };
    api.tracking.log_batch(&params.run_id()?, &batch).await?;
    Ok(json!({}))
}

pub(super) async fn delete_tag(api: Api, params: Params) -> Result<Value> {
    api.tracking.delete_run_tag(&params.run_id()?, params.required("key")?).await?;
    Ok(json!({}))
}

pub(super) async fn log_inputs(api: Api, params: Params) -> Result<Value> {
    let input = |input: &Params| -> Result<DatasetInput> {
        let dataset = input.object("dataset")?;
        let dataset = LoggedDataset {
            name: dataset.required("name")?.to_owned(),
            digest: dataset.required("digest")?.to_owned(),
            source_type: dataset.required("source_type")?.to_owned(),
            source: dataset.required("source")?.to_owned(),
            schema: dataset.owned("schema")?,
            profile: dataset.owned("profile")?,
        };
        Ok(DatasetInput { dataset, tags: input.pairs("tags")? })
    };
    let inputs = params.objects("datasets")?.iter().map(input).collect::<Result<Vec<_>>>()?;
    api.tracking.log_inputs(&params.run_id()?, &inputs).await?;
    Ok(json!({}))
}

fn experiments(params: &Params) -> Result<Vec<ExperimentId>> {
    params.texts("experiment_ids")?.iter().map(|id| id.parse()).collect()
}

/// Logged models of experiments: none, since this server takes none. Clients ask whenever they list the files of a run.
pub(super) async fn search_logged_models(api: Api, params: Params) -> Result<Value> {
    for id in experiments(&params)? {
        api.tracking.experiment(id).await?;
    }
    Ok(json!({}))
}

pub(super) async fn search(api: Api, params: Params) -> Result<Value> {
    let experiments = experiments(&params)?;
    let search = params.search("run_view_type", params.page(1_000, PAGE_MAX)?)?;
    let page = api.tracking.search_runs(&experiments, &search).await?;
    Ok(answer::page("runs", &page, answer::run))
}

pub(super) async fn metric_history(api: Api, params: Params) -> Result<Value> {
    let (id, key) = (params.run_id()?, params.required("metric_key")?);
    let whole = params.int("max_results")?.is_none();
    let mut request = params.page(PAGE_MAX, PAGE_MAX)?;
    let mut found = api.tracking.metric_history(&id, key, &request).await?;
    // A client that names no size does not follow tokens.
    while let Some(token) = found.next_page_token.take_if(|_| whole) {
        request = PageRequest { token: Some(token), ..request };
        let next = api.tracking.metric_history(&id, key, &request).await?;
        found.items.extend(next.items);
        found = Page { next_page_token: next.next_page_token, ..found };
    }
    Ok(answer::page("metrics", &found, answer::metric))
}

//! `issues/...` of the third API: what goes wrong with an application.

use std::sync::Arc;

use axum::Router;
use mlops_core::{Error, Result};
use serde_json::{Value, json};

use super::{
    Api, GET, PATCH, POST,
    answer::object,
    on,
    place::{Place, on_place, part},
    request::Params,
};
use crate::{
    Search,
    evaluation::{CreateIssue, EvaluationStore, Issue, IssueSeverity, IssueStatus, IssueUpdate},
};

/// Largest page that clients get.
const PAGE_MAX: usize = 50_000;

/// Below `/api/3.0/mlflow`.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/issues", on(POST, create))
        .route("/issues/search", on(POST, search))
        .route("/issues/{issue_id}", on_place(GET, get).merge(on_place(PATCH, update)))
}

fn store(api: &Api) -> Result<&Arc<dyn EvaluationStore>> {
    part(&api.evaluation, "issues", "with_evaluation")
}

fn answer(issue: &Issue) -> Value {
    let content = &issue.content;
    object([
        ("issue_id", issue.id.as_str().into()),
        ("experiment_id", content.experiment.to_string().into()),
        ("name", content.name.as_str().into()),
        ("description", content.description.as_str().into()),
        ("status", content.status.name().into()),
        ("severity", content.severity.map(IssueSeverity::name).into()),
        ("root_causes", content.root_causes.iter().map(String::as_str).collect()),
        ("categories", content.categories.iter().map(String::as_str).collect()),
        ("source_run_id", content.source_run.as_ref().map(ToString::to_string).into()),
        ("created_by", content.created_by.clone().into()),
        ("created_timestamp", issue.created.as_millis().into()),
        ("last_updated_timestamp", issue.updated.as_millis().into()),
    ])
}

fn whole(issue: &Issue) -> Value {
    json!({ "issue": answer(issue) })
}

/// A field that holds one of these names.
fn named<T: Copy>(params: &Params, field: &str, names: &[(&str, T)]) -> Result<Option<T>> {
    let Some(text) = params.text(field)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| Some(*value));
    found.ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        Error::invalid_argument(format!("Invalid value {text:?} for parameter '{field}'; use {}", known.join(", ")))
    })
}

fn filled(params: &Params, field: &str) -> Result<Option<String>> {
    Ok(params.owned(field)?.filter(|text| !text.is_empty()))
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let (name, description) = (params.required("name")?, params.required("description")?);
    let experiment = params.experiment_id()?;
    let issue = CreateIssue {
        status: named(&params, "status", &IssueStatus::NAMES)?.unwrap_or_default(),
        severity: named(&params, "severity", &IssueSeverity::NAMES)?,
        root_causes: params.texts("root_causes")?,
        categories: params.texts("categories")?,
        source_run: filled(&params, "source_run_id")?.map(|id| id.parse()).transpose()?,
        created_by: filled(&params, "created_by")?,
        ..CreateIssue::new(experiment, name, description)
    };
    issue.check()?;
    api.tracking.experiment(experiment).await?;
    if let Some(run) = &issue.source_run {
        api.tracking.run(run).await?;
    }
    Ok(whole(&store(&api)?.create_issue(issue).await?))
}

async fn get(api: Api, place: Place, _: Params) -> Result<Value> {
    Ok(whole(&store(&api)?.issue(place.id("issue_id")?).await?))
}

async fn update(api: Api, place: Place, params: Params) -> Result<Value> {
    let update = IssueUpdate {
        name: filled(&params, "name")?,
        description: filled(&params, "description")?,
        status: named(&params, "status", &IssueStatus::NAMES)?,
        severity: named(&params, "severity", &IssueSeverity::NAMES)?,
    };
    Ok(whole(&store(&api)?.update_issue(place.id("issue_id")?, update).await?))
}

/// Unlike other pages, the last one has a token, which is empty.
async fn search(api: Api, params: Params) -> Result<Value> {
    let experiment = filled(&params, "experiment_id")?.map(|id| id.parse()).transpose()?;
    let search = Search {
        filter: params.owned("filter_string")?.unwrap_or_default(),
        page: params.page(100, PAGE_MAX)?,
        ..Search::default()
    };
    let found = store(&api)?.search_issues(experiment, &search).await?;
    let token = found.next_page_token.unwrap_or_default();
    Ok(object([("issues", found.items.iter().map(answer).collect()), ("next_page_token", token.into())]))
}

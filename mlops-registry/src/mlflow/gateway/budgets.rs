//! `gateway/budgets/...`.

use axum::Router;
use mlops_core::{Error, Result};
use serde_json::{Value, json};

use super::{answer, chosen, filled, float, required, store};
use crate::{
    PageRequest,
    gateway::{
        Budget, BudgetAction, BudgetLength, BudgetScope, BudgetSettings, BudgetSpan, BudgetUnit, BudgetUpdate,
        LISTED_MAX,
    },
    mlflow::{
        Api, DELETE, GET, POST,
        answer::{object, page},
        on,
        request::Params,
    },
};

/// Largest page that clients get, and the one they get unasked.
pub(super) const PAGE_MAX: usize = 50_000;
pub(super) const PAGE: usize = 1_000;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/gateway/budgets/create", on(POST, create))
        .route("/gateway/budgets/get", on(GET, get))
        .route("/gateway/budgets/update", on(POST, update))
        .route("/gateway/budgets/delete", on(DELETE, delete))
        .route("/gateway/budgets/list", on(GET, list))
        .route("/gateway/budgets/windows", on(GET, windows))
}

fn whole(budget: &Budget) -> Value {
    json!({ "budget_policy": answer::budget(budget) })
}

fn span(duration: &Params) -> Result<BudgetSpan> {
    let unit = required(duration, "unit", BudgetLength::NAMES)?;
    let value = duration.int("value")?.unwrap_or_default();
    let wrong = || Error::invalid_argument(format!("duration.value must be a positive integer, got {value}"));
    Ok(BudgetSpan { unit, count: u32::try_from(value).map_err(|_| wrong())? })
}

/// Refuses a budget of a user where nobody is known to be one: it would never count anything.
fn check_scope(api: &Api, scope: Option<BudgetScope>) -> Result<()> {
    if scope == Some(BudgetScope::User) && api.guard.is_none() {
        return Err(Error::invalid_argument(
            "USER-scoped budget policies require server authentication to be enabled. Without auth the gateway cannot \
             attribute requests to a user, so the policy would never take effect.",
        ));
    }
    Ok(())
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let settings = BudgetSettings {
        unit: required(&params, "budget_unit", BudgetUnit::NAMES)?,
        amount: params.required_float("budget_amount")?,
        span: span(&params.object("duration")?)?,
        scope: required(&params, "target_scope", BudgetScope::NAMES)?,
        target: filled(&params, "target_value")?,
        action: required(&params, "budget_action", BudgetAction::NAMES)?,
    };
    settings.check()?;
    check_scope(&api, Some(settings.scope))?;
    Ok(whole(&store(&api)?.create_budget(settings, filled(&params, "created_by")?).await?))
}

async fn get(api: Api, params: Params) -> Result<Value> {
    Ok(whole(&store(&api)?.budget(params.required("budget_policy_id")?).await?))
}

async fn update(api: Api, params: Params) -> Result<Value> {
    let id = params.required("budget_policy_id")?;
    let duration = params.value("duration").map(|_| params.object("duration")).transpose()?;
    let update = BudgetUpdate {
        unit: chosen(&params, "budget_unit", BudgetUnit::NAMES)?,
        amount: float(&params, "budget_amount")?,
        span: duration.as_ref().map(span).transpose()?,
        scope: chosen(&params, "target_scope", BudgetScope::NAMES)?,
        target: params.value("target_value").map(|_| filled(&params, "target_value")).transpose()?,
        action: chosen(&params, "budget_action", BudgetAction::NAMES)?,
        updated_by: filled(&params, "updated_by")?,
    };
    check_scope(&api, update.scope)?;
    Ok(whole(&store(&api)?.update_budget(id, update).await?))
}

async fn delete(api: Api, params: Params) -> Result<Value> {
    store(&api)?.delete_budget(params.required("budget_policy_id")?).await?;
    Ok(json!({}))
}

async fn list(api: Api, params: Params) -> Result<Value> {
    let found = store(&api)?.budgets(&params.page(PAGE, PAGE_MAX)?).await?;
    Ok(page("budget_policies", &found, answer::budget))
}

/// The span of each budget that is going on. This server forwards no requests, so none of them costs anything here.
async fn windows(api: Api, _: Params) -> Result<Value> {
    let all = PageRequest { max_results: Some(LISTED_MAX), token: None };
    let now = api.clock.now();
    let window = |budget: &Budget| {
        let (begin, end) = budget.settings.span.around(now);
        json!({
            "budget_policy_id": budget.id,
            "window_start_ms": begin.as_millis(),
            "window_end_ms": end.as_millis(),
            "current_spend": 0.0,
        })
    };
    let budgets = store(&api)?.budgets(&all).await?;
    Ok(object([("windows", budgets.items.iter().map(window).collect())]))
}

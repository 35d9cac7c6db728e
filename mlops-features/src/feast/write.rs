//! `POST /write-to-online-store` and `/push`: rows from JSON, typed by the tables that they belong to.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mlops_core::{Action, Digest, Error, Result};
use serde_json::Value;

use super::{
    Inner, convert,
    error::{Answer, Failure},
    question::at_most,
    routes::Call,
    wire::{self, Columns, Push, PushTo, WriteToOnlineStore},
};
use crate::{
    FeatureView,
    definition::{CREATED, EVENT_TIMESTAMP},
    online::ResolvedView,
};

/// `POST /write-to-online-store`.
pub(super) async fn write_to_online_store(inner: Arc<Inner>, call: Call) -> Answer<Response> {
    let asked: WriteToOnlineStore = wire::read(&call.body)?;
    let view = inner.store.resolved(&asked.feature_view_name);
    let view = Arc::clone(view.map_err(|error| Failure::of(&error, "FeatureViewNotFoundException"))?);
    inner.allow(&call, Action::Write, "feature_view", view.view.name()).await?;
    push_online(&inner, &view, &asked.df).await?;
    Ok(Json(Value::Null).into_response())
}

/// `POST /push`. Rows for the table count once: a push that is sent again, byte for byte, changes nothing.
pub(super) async fn push(inner: Arc<Inner>, call: Call) -> Answer<Response> {
    let asked: Push = wire::read(&call.body)?;
    let name = &asked.push_source_name;
    let no_source = |error: &Error| {
        Failure::raising(StatusCode::UNPROCESSABLE_ENTITY, "PushSourceNotFoundException", error.message())
    };
    let table = inner.store.table(name).map_err(|error| no_source(&error))?;
    let (online, offline) = (asked.to != PushTo::Offline, asked.to != PushTo::Online);
    let views: Vec<&Arc<ResolvedView>> = inner.store.resolved_of(name).filter(|_| online).collect();
    if online && views.is_empty() {
        return Err(no_source(&Error::not_found(format!("no feature view reads table \"{name}\""))));
    }
    for view in &views {
        inner.allow(&call, Action::Write, "feature_view", view.view.name()).await?;
    }
    if offline {
        inner.allow(&call, Action::Write, "table", name).await?;
        let fields = table.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        let view = inner.store.resolved_of(name).next().map(|resolved| &resolved.view);
        let batch = batch(&inner, fields, view, &asked.df)?;
        let id = format!("push/{}", Digest::of(&call.body));
        let receipt = inner.store.ingestor(name)?.append(&id, &batch).await?;
        if !receipt.accepted() {
            let rules: Vec<&str> = receipt.failures.iter().map(|failure| failure.rule.as_str()).collect();
            let message = format!("the rows are in quarantine; they break {}", rules.join(", "));
            return Err(Failure::raising(StatusCode::UNPROCESSABLE_ENTITY, "FeastError", &message));
        }
    }
    for view in views {
        push_online(&inner, view, &asked.df).await?;
    }
    Ok(StatusCode::OK.into_response())
}

async fn push_online(inner: &Inner, view: &ResolvedView, df: &Columns) -> Result<()> {
    let field = |name: &Arc<str>| view.source.field_with_name(name).cloned();
    let fields = view.needed_columns().iter().map(field).collect::<std::result::Result<_, _>>()?;
    let batch = batch(inner, fields, Some(&view.view), df)?;
    inner.store.writer().push(view.view.name(), &batch).await?;
    Ok(())
}

/// The columns that `fields` name. Feast's clients call the times `event_timestamp` and `created`, whatever the view
/// calls them, and need not say when a row became known.
fn batch(inner: &Inner, fields: Vec<Field>, view: Option<&FeatureView>, df: &Columns) -> Result<RecordBatch> {
    let rows = df.rows().ok_or_else(|| Error::invalid_argument("the columns of df must have equally many values"))?;
    at_most("rows", rows, inner.settings.rows_max)?;
    let mut arrays = Vec::with_capacity(fields.len());
    for field in &fields {
        let name = field.name().as_str();
        let is_created = view.and_then(FeatureView::created) == Some(name);
        let alias = match view {
            Some(view) if view.timestamp() == name => Some(EVENT_TIMESTAMP),
            _ => is_created.then_some(CREATED),
        };
        let values = df.get(name).or_else(|| df.get(alias?));
        arrays.push(match values {
            Some(values) => convert::column(name, values, field.data_type())?,
            None if is_created => arrow_array::new_null_array(field.data_type(), rows),
            None => return Err(Error::invalid_argument(format!("df has no column \"{name}\""))),
        });
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

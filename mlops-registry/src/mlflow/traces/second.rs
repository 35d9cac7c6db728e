//! Traces in the second API, which clients before MLflow 3 speak.

use mlops_core::{Error, Result};
use serde_json::{Value, json};

use super::{Api, Params, Place, found, put, read_search, store};
use crate::{
    TraceInfo, TraceState,
    id_source::{IdSource as _, RandomIds},
    mlflow::answer::{object, page},
};

const STATES: [(&str, i64, TraceState); 4] = [
    ("TRACE_STATUS_UNSPECIFIED", 0, TraceState::Unspecified),
    ("OK", 1, TraceState::Ok),
    ("ERROR", 2, TraceState::Error),
    ("IN_PROGRESS", 3, TraceState::InProgress),
];

fn answer(info: &TraceInfo) -> Value {
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect::<Value>()
    };
    let state = STATES.iter().find(|(_, _, state)| *state == info.state).map_or("OK", |(name, _, _)| name);
    object([
        ("request_id", info.id.as_str().into()),
        ("experiment_id", info.experiment.to_string().into()),
        ("timestamp_ms", info.started.as_millis().into()),
        ("execution_time_ms", info.duration_ms.into()),
        ("status", state.into()),
        ("request_metadata", pairs(&info.metadata)),
        ("tags", pairs(&info.tags)),
    ])
}

pub(super) async fn start(api: Api, params: Params) -> Result<Value> {
    let started = params.time("timestamp_ms")?.ok_or_else(|| params.missing("timestamp_ms"))?;
    let id = format!("tr-{:032x}", RandomIds::from_os()?.next_id());
    let info = TraceInfo {
        state: TraceState::InProgress,
        metadata: params.pairs("request_metadata")?,
        tags: params.pairs("tags")?,
        ..TraceInfo::new(id, params.experiment_id()?, started)
    };
    Ok(json!({ "trace_info": answer(&put(&api, info).await?) }))
}

pub(super) async fn end(api: Api, place: Place, params: Params) -> Result<Value> {
    let mut info = found(&api, place.id("trace")?).await?;
    let ended = params.time("timestamp_ms")?.ok_or_else(|| params.missing("timestamp_ms"))?;
    info.duration_ms = Some(ended.as_millis().saturating_sub(info.started.as_millis()));
    info.state = params.choice("status", &STATES)?.ok_or_else(|| params.missing("status"))?;
    info.metadata = params.pairs("request_metadata")?;
    info.tags = params.pairs("tags")?;
    info.assessments.clear();
    Ok(json!({ "trace_info": answer(&put(&api, info).await?) }))
}

pub(super) async fn get(api: Api, place: Place, _: Params) -> Result<Value> {
    Ok(json!({ "trace_info": answer(&found(&api, place.id("trace")?).await?) }))
}

pub(super) async fn search(api: Api, params: Params) -> Result<Value> {
    let experiments = params.experiment_ids()?;
    if experiments.is_empty() {
        return Err(Error::invalid_argument("Missing value for required parameter 'experiment_ids'."));
    }
    let found = store(&api)?.search(&experiments, &read_search(&params)?).await?;
    Ok(page("traces", &found, answer))
}

//! Spans as rows, and what they say of their trace.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, Timestamp};
use mlops_store::{Transaction, TransactionExt as _, params};
use serde_json::json;

use super::{
    SqlTraceStore,
    info::{Pairs, add_pairs, check_ids, put_pairs, read_info},
};
use crate::{
    ExperimentId,
    limits::{PREVIEW_MAX, TRACE_TAG_VALUE_MAX, check_free_key, truncated},
    retry::on_conflict,
    rows::{from_json, places, texts, to_json},
    search::sql::unreadable,
    traces::{
        AnyValue, Attribute, SESSION_METADATA, SPANS_IN_STORE, SPANS_LOCATION_TAG, Span, StatusCode, TOKENS_METADATA,
        TRACE_IDS_MAX, TRACE_NAME_TAG, TraceInfo, TraceState, USER_METADATA,
        otlp::ResourceSpans,
        usage::{self, Counting, Tokens},
    },
};

/// Most spans over which the tokens of a trace are summed up; of a larger one the sum stays as it was.
const COUNTED_SPANS_MAX: usize = 50_000;

/// The prefix of attributes of the root span that are tags of the trace.
const TRACE_TAG_PREFIX: &str = "mlflow.traceTag.";

/// What the spans of one call say of their trace.
struct Seen<'a> {
    resource: &'a [Attribute],
    spans: Vec<&'a Span>,
}

impl SqlTraceStore {
    pub(super) async fn put_spans(&self, experiment: ExperimentId, resources: &[ResourceSpans]) -> Result<Vec<String>> {
        let mut traces: BTreeMap<String, Seen<'_>> = BTreeMap::new();
        for resource in resources {
            for span in &resource.spans {
                span.check()?;
                let seen = Seen { resource: &resource.resource, spans: Vec::new() };
                traces.entry(span.mlflow_trace_id()).or_insert(seen).spans.push(span);
            }
        }
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            for (id, seen) in &traces {
                put_trace(tx.as_mut(), experiment, id, seen).await?;
            }
            tx.commit().await
        })?;
        Ok(traces.into_keys().collect())
    }

    pub(super) async fn spans_of(&self, ids: &[String]) -> Result<BTreeMap<String, Vec<Span>>> {
        check_ids(ids, TRACE_IDS_MAX)?;
        let mut found: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        if ids.is_empty() {
            return Ok(found);
        }
        let sql = format!(
            "SELECT trace_id, content FROM trace_span WHERE trace_id IN ({}) ORDER BY started, span_id",
            places(1, ids.len())
        );
        for row in self.meta.query(&sql, &texts(ids)).await? {
            found.entry(row.get("trace_id")?).or_default().push(from_json("span", &row)?);
        }
        Ok(found)
    }
}

async fn put_trace(tx: &mut dyn Transaction, experiment: ExperimentId, id: &str, seen: &Seen<'_>) -> Result<()> {
    let known = tx.query_opt("SELECT * FROM trace_info WHERE id = $1", params![id]).await?;
    let flag = |column: &str| Ok::<_, Error>(known.as_ref().map(|row| row.get(column)).transpose()?.unwrap_or(false));
    let (finalized, own_tokens) = (flag("finalized")?, flag("own_tokens")?);
    let known = known.as_ref().map(read_info).transpose()?;
    let info = seen.merge_into(known, experiment, id, finalized);
    let sql = "INSERT INTO trace_info VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0) ON CONFLICT (id) DO UPDATE SET
        started = excluded.started, duration_ms = excluded.duration_ms, state = excluded.state,
        request_preview = excluded.request_preview, response_preview = excluded.response_preview";
    let values = params![
        id,
        info.experiment.0,
        info.started,
        info.duration_ms,
        info.state.name(),
        info.client_request_id,
        info.request_preview,
        info.response_preview
    ];
    tx.execute(sql, values).await?;
    add_pairs(tx, Pairs::Tags, id, &seen.name()).await?;
    put_pairs(tx, Pairs::Tags, id, &seen.tags()).await?;
    add_pairs(tx, Pairs::Metadata, id, &seen.metadata()).await?;
    let sql = "INSERT INTO trace_span (trace_id, span_id, started, content, parent, tokens)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (trace_id, span_id) DO UPDATE SET
        started = excluded.started, content = excluded.content, parent = excluded.parent, tokens = excluded.tokens";
    let mut counts = false;
    for span in &seen.spans {
        let (span_id, content) = (span.span_id.to_ascii_lowercase(), to_json("span", span)?);
        let Counting { parent, tokens } = Counting::of(span);
        let tokens = tokens.map(|tokens| to_json("count of tokens", &tokens)).transpose()?;
        counts |= tokens.is_some();
        tx.execute(sql, params![id, span_id, span.start_time_unix_nano, content, parent, tokens]).await?;
    }
    if counts
        && !own_tokens
        && let Some(tokens) = count_tokens(tx, id).await?
    {
        put_pairs(tx, Pairs::Metadata, id, &BTreeMap::from([(TOKENS_METADATA.to_owned(), tokens)])).await?;
    }
    Ok(())
}

/// The tokens of the trace over all its spans: what stands for others may come later than they do.
async fn count_tokens(tx: &mut dyn Transaction, id: &str) -> Result<Option<String>> {
    let sql = "SELECT span_id, parent, tokens FROM trace_span WHERE trace_id = $1 LIMIT $2";
    let rows = tx.query(sql, params![id, COUNTED_SPANS_MAX as u64 + 1]).await?;
    if rows.len() > COUNTED_SPANS_MAX {
        return Ok(None);
    }
    let mut spans: BTreeMap<String, Counting> = BTreeMap::new();
    for row in &rows {
        let read = |text: String| serde_json::from_str::<Tokens>(&text).map_err(unreadable("tokens"));
        let tokens = row.get::<Option<String>>("tokens")?.map(read).transpose()?;
        spans.insert(row.get("span_id")?, Counting { parent: row.get("parent")?, tokens });
    }
    Ok(usage::of_trace(&spans).map(|sum| json!(sum).to_string()))
}

fn millis(nanos: u64) -> i64 {
    i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX)
}

impl Seen<'_> {
    /// The info of the trace with what the spans add; what [`super::SqlTraceStore::put_info`] said stays.
    fn merge_into(&self, known: Option<TraceInfo>, experiment: ExperimentId, id: &str, finalized: bool) -> TraceInfo {
        let began = self.spans.iter().map(|span| millis(span.start_time_unix_nano)).min().unwrap_or_default();
        let ended = self.spans.iter().map(|span| millis(span.end_time_unix_nano)).max().filter(|end| *end > 0);
        let fresh = known.is_none();
        let mut info = known.unwrap_or_else(|| TraceInfo::new(id, experiment, Timestamp::from_millis(began)));
        if !finalized {
            let known_end = info.duration_ms.map(|duration| info.started.as_millis().saturating_add(duration));
            info.started = info.started.min(Timestamp::from_millis(began));
            let end = known_end.max(ended);
            info.duration_ms = end.map(|end| end.saturating_sub(info.started.as_millis()).max(0));
        }
        let root = self.root();
        if fresh {
            info.state = TraceState::InProgress;
        }
        if let (Some(root), TraceState::InProgress | TraceState::Unspecified) = (root, info.state) {
            info.state = if root.status.code == StatusCode::Error { TraceState::Error } else { TraceState::Ok };
        }
        let preview = |key: &str| {
            let text = root?.attribute(key)?.meaning().to_string();
            Some(truncated(&text, PREVIEW_MAX).to_owned())
        };
        info.request_preview = info.request_preview.or_else(|| preview("mlflow.spanInputs"));
        info.response_preview = info.response_preview.or_else(|| preview("mlflow.spanOutputs"));
        info
    }

    fn root(&self) -> Option<&Span> {
        self.spans.iter().copied().find(|span| span.is_root())
    }

    /// Resource attributes, then the tags that the root span carries, then where the spans are.
    fn tags(&self) -> BTreeMap<String, String> {
        let foreign = |key: &str| !key.starts_with("telemetry.sdk.") && !key.starts_with("mlflow.");
        let resource =
            self.resource.iter().filter(|pair| foreign(&pair.key)).map(|pair| (pair.key.as_str(), &pair.value));
        let carried = self.root().into_iter().flat_map(|root| &root.attributes);
        let carried = carried.filter_map(|pair| Some((pair.key.strip_prefix(TRACE_TAG_PREFIX)?, &pair.value)));
        let pairs = resource.chain(carried).filter(|(key, _)| check_free_key("trace tag key", key).is_ok());
        let mut tags: BTreeMap<String, String> =
            pairs.map(|(key, value)| (key.to_owned(), cut(&value.to_text()))).collect();
        tags.insert(SPANS_LOCATION_TAG.to_owned(), SPANS_IN_STORE.to_owned());
        tags
    }

    /// The name of the root span, which names a trace that nobody named.
    fn name(&self) -> BTreeMap<String, String> {
        self.root().map(|root| (TRACE_NAME_TAG.to_owned(), cut(&root.name))).into_iter().collect()
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let first = |keys: &[&str]| {
            let find = |span: &&Span| keys.iter().find_map(|key| span.attribute(key)).map(AnyValue::to_text);
            self.spans.iter().find_map(find).filter(|text| !text.is_empty())
        };
        let session = first(&["session.id", "gen_ai.conversation.id"]).map(|id| (SESSION_METADATA, id));
        let user = first(&["user.id"]).map(|id| (USER_METADATA, id));
        session.into_iter().chain(user).map(|(key, value)| (key.to_owned(), cut(&value))).collect()
    }
}

fn cut(text: &str) -> String {
    truncated(text, TRACE_TAG_VALUE_MAX).to_owned()
}

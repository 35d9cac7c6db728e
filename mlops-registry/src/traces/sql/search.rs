//! Searching traces: by time straight from the index, page by page; by another key over all that match.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, Timestamp};
use mlops_store::Value;

use super::SqlTraceStore;
use crate::{
    ExperimentId,
    rows::{places, texts},
    search::{Fields, Filter, Operand, OrderKey, Page, PageRequest, Search, compare_by, cut},
    traces::{Assessment, AssessmentValue, LINKED_PROMPTS_TAG, SOURCE_RUN_METADATA, Span, TRACE_NAME_TAG, TraceInfo},
};

/// Most experiments in one search.
const EXPERIMENTS_MAX: usize = 1_000;
/// How many traces are looked at in one read.
const BATCH: usize = 500;
/// Most matching traces that are ordered by another key than the time.
const ORDERED_MAX: usize = 100_000;

/// A trace with all that a filter may name.
pub(super) struct Subject<'a> {
    info: &'a TraceInfo,
    spans: &'a [Span],
    runs: &'a [String],
}

impl Fields for Subject<'_> {
    const GROUPS: &'static [(&'static str, &'static str)] = &[
        ("tags", "tag"),
        ("metadata", "request_metadata"),
        ("span", "spans"),
        ("feedback", "feedbacks"),
        ("expectation", "expectations"),
        ("issue", "issues"),
    ];
    const ATTRIBUTES: &'static [(&'static str, bool)] = &[
        ("request_id", false),
        ("trace_id", false),
        ("experiment_id", false),
        ("client_request_id", false),
        ("name", false),
        ("status", false),
        ("state", false),
        ("run_id", false),
        ("prompt", false),
        ("text", false),
        ("timestamp", true),
        ("timestamp_ms", true),
        ("execution_time", true),
        ("execution_time_ms", true),
        ("end_time", true),
        ("end_time_ms", true),
    ];
    const LISTED: &'static [&'static str] =
        &["name", "status", "state", "request_id", "trace_id", "run_id", "client_request_id", "span"];
    const NULLABLE: &'static [&'static str] = &["tags", "metadata", "feedback", "expectation"];
    const ATTRIBUTE_GROUPS: &'static [&'static str] = &["attributes", "attribute", "attr", "trace"];
    const MIXED: &'static [&'static str] = &["feedback", "expectation"];
    const REGEX: bool = true;

    fn field(&self, group: &str, key: &str) -> Operand {
        let text = |text: Option<&String>| text.map_or(Operand::Missing, |text| Operand::Text(text.clone()));
        let number = |number: Option<i64>| number.map_or(Operand::Missing, |number| Operand::Number(number as f64));
        let started = self.info.started.as_millis();
        match (group, key) {
            ("tags", _) => text(self.info.tags.get(key)),
            ("metadata", _) => text(self.info.metadata.get(key)),
            ("span", _) => some(self.spans.iter().filter_map(|span| span_field(span, key)).collect()),
            ("feedback" | "expectation", _) => {
                some(self.info.assessments.iter().filter_map(|said| value_of(said, group, key)).collect())
            }
            ("issue", _) => some(self.info.assessments.iter().filter_map(|said| value_of(said, group, key)).collect()),
            (_, "name") => text(self.info.tags.get(TRACE_NAME_TAG)),
            (_, "status" | "state") => Operand::Text(self.info.state.to_string()),
            (_, "client_request_id") => text(self.info.client_request_id.as_ref()),
            (_, "experiment_id") => Operand::Text(self.info.experiment.to_string()),
            (_, "prompt") => some(self.prompts()),
            (_, "text") => some(self.spans.iter().filter_map(|span| span_field(span, "content")).collect()),
            (_, "run_id") => {
                let source = self.info.metadata.get(SOURCE_RUN_METADATA);
                some(source.into_iter().chain(self.runs).cloned().collect())
            }
            (_, "timestamp" | "timestamp_ms") => number(Some(started)),
            (_, "execution_time" | "execution_time_ms") => number(self.info.duration_ms),
            (_, "end_time" | "end_time_ms") => {
                number(self.info.duration_ms.map(|duration| started.saturating_add(duration)))
            }
            (_, _) => Operand::Text(self.info.id.clone()),
        }
    }

    fn rank(&self, group: &str, key: &str) -> Operand {
        match self.field(group, key) {
            Operand::Texts(texts) => texts.into_iter().next().map_or(Operand::Missing, Operand::Text),
            _ if (group, key) == ("attributes", "experiment_id") => Operand::Number(self.info.experiment.0 as f64),
            value => value,
        }
    }
}

impl<'a> Subject<'a> {
    /// A trace of which only the info is known: all that may be ordered by.
    fn alone(info: &'a TraceInfo) -> Self {
        Self { info, spans: &[], runs: &[] }
    }

    /// The linked prompts as `name/version`.
    fn prompts(&self) -> Vec<String> {
        let listed = self.info.tags.get(LINKED_PROMPTS_TAG).map(String::as_str).unwrap_or_default();
        let listed: Vec<BTreeMap<String, String>> = serde_json::from_str(listed).unwrap_or_default();
        listed.iter().filter_map(|prompt| Some(format!("{}/{}", prompt.get("name")?, prompt.get("version")?))).collect()
    }
}

fn some(texts: Vec<String>) -> Operand {
    if texts.is_empty() { Operand::Missing } else { Operand::Texts(texts) }
}

fn span_field(span: &Span, key: &str) -> Option<String> {
    match key {
        "name" => Some(span.name.clone()),
        "type" => Some(span.attribute("mlflow.spanType").map_or_else(|| "UNKNOWN".to_owned(), |kind| kind.to_text())),
        "status" => Some(format!("{:?}", span.status.code).to_uppercase()),
        "content" => serde_json::to_string(span).ok(),
        _ => Some(span.attribute(key.strip_prefix("attributes.")?)?.to_text()),
    }
}

fn value_of(said: &Assessment, group: &str, key: &str) -> Option<String> {
    let value = match (&said.value, group) {
        (AssessmentValue::Feedback { value, .. }, "feedback")
        | (AssessmentValue::Expectation { value }, "expectation")
            if said.name == key && said.valid =>
        {
            value
        }
        (AssessmentValue::Issue { .. }, "issue") if key == "id" => return Some(said.name.clone()),
        _ => return None,
    };
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// The place in the order of time after which a page begins.
#[derive(serde::Serialize, serde::Deserialize)]
struct Position {
    started: Timestamp,
    id: String,
}

impl Position {
    fn of(info: &TraceInfo) -> Self {
        Self { started: info.started, id: info.id.clone() }
    }
}

/// A search that was parsed.
struct Plan {
    experiments: Vec<ExperimentId>,
    filter: Filter,
    descending: bool,
}

impl SqlTraceStore {
    pub(super) async fn find(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<TraceInfo>> {
        if experiments.len() > EXPERIMENTS_MAX {
            return Err(Error::invalid_argument(format!(
                "at most {EXPERIMENTS_MAX} experiments at once, found {}",
                experiments.len()
            )));
        }
        let filter = Filter::parse::<Subject<'_>>(&search.filter)?;
        let order = OrderKey::parse_all::<Subject<'_>>(&search.order_by)?;
        let mark = format!("traces {experiments:?} {} {:?}", search.filter, search.order_by);
        let descending = match order.as_slice() {
            [] => true,
            [key] if key.is("attributes", &["timestamp", "timestamp_ms"]) => key.is_descending(),
            _ => {
                let plan = Plan { experiments: experiments.to_vec(), filter, descending: true };
                return self.ordered(&plan, &order, &search.page, &mark).await;
            }
        };
        let plan = Plan { experiments: experiments.to_vec(), filter, descending };
        self.by_time(&plan, &search.page, &mark).await
    }

    async fn by_time(&self, plan: &Plan, page: &PageRequest, mark: &str) -> Result<Page<TraceInfo>> {
        let size = page.size()?;
        let mut after = page.position(mark)?;
        let mut items: Vec<TraceInfo> = Vec::new();
        loop {
            let batch = self.batch(plan, after.as_ref()).await?;
            after = batch.last().map(Position::of);
            let full = batch.len() == BATCH;
            items.extend(self.admitted(plan, batch).await?);
            if items.len() > size || !full {
                break;
            }
        }
        let more = items.len() > size;
        items.truncate(size);
        let last = items.last().filter(|_| more).map(Position::of);
        let next_page_token = last.map(|position| PageRequest::token(mark, &position)).transpose()?;
        Ok(Page { items, next_page_token })
    }

    async fn ordered(
        &self,
        plan: &Plan,
        order: &[OrderKey],
        page: &PageRequest,
        mark: &str,
    ) -> Result<Page<TraceInfo>> {
        let (mut found, mut after): (Vec<TraceInfo>, Option<Position>) = (Vec::new(), None);
        loop {
            let batch = self.batch(plan, after.as_ref()).await?;
            after = batch.last().map(Position::of);
            let full = batch.len() == BATCH;
            found.extend(self.admitted(plan, batch).await?);
            if found.len() > ORDERED_MAX {
                return Err(Error::resource_exhausted(format!(
                    "more than {ORDERED_MAX} traces match; narrow the filter, or order by timestamp_ms"
                )));
            }
            if !full {
                break;
            }
        }
        found.sort_by(|a, b| compare_by(order, &Subject::alone(a), &Subject::alone(b)));
        cut(found, page, mark)
    }

    /// The next traces in the order of time.
    async fn batch(&self, plan: &Plan, after: Option<&Position>) -> Result<Vec<TraceInfo>> {
        if plan.experiments.is_empty() {
            return Ok(Vec::new());
        }
        let (past, direction) = if plan.descending { ("<", "DESC") } else { (">", "ASC") };
        let mut sql = format!("SELECT * FROM trace_info WHERE experiment IN ({})", places(1, plan.experiments.len()));
        let mut values: Vec<Value> = plan.experiments.iter().map(|experiment| experiment.0.into()).collect();
        if let Some(Position { started, id }) = after {
            let (at, key) = (values.len() + 1, values.len() + 2);
            sql.push_str(&format!(" AND (started {past} ${at} OR (started = ${at} AND id > ${key}))"));
            values.extend([Value::from(*started), Value::from(id)]);
        }
        sql.push_str(&format!(" ORDER BY started {direction}, id LIMIT {BATCH}"));
        self.complete(&self.meta.query(&sql, &values).await?).await
    }

    /// Those of a batch that match.
    async fn admitted(&self, plan: &Plan, batch: Vec<TraceInfo>) -> Result<Vec<TraceInfo>> {
        let ids: Vec<String> = batch.iter().map(|info| info.id.clone()).collect();
        let named = |group: &str, keys: &[&str]| plan.filter.names(group, keys);
        let spans = match named("span", &[]) || named("attributes", &["text"]) {
            true => self.spans_of(&ids).await?,
            false => BTreeMap::new(),
        };
        let runs = match named("attributes", &["run_id"]) && !ids.is_empty() {
            true => self.runs_of(&ids).await?,
            false => BTreeMap::new(),
        };
        let admits = |info: &TraceInfo| {
            let spans = spans.get(&info.id).map(Vec::as_slice).unwrap_or_default();
            let runs = runs.get(&info.id).map(Vec::as_slice).unwrap_or_default();
            plan.filter.admits(&Subject { info, spans, runs })
        };
        Ok(batch.into_iter().filter(admits).collect())
    }

    async fn runs_of(&self, ids: &[String]) -> Result<BTreeMap<String, Vec<String>>> {
        let sql = format!("SELECT trace_id, run_id FROM trace_run WHERE trace_id IN ({})", places(1, ids.len()));
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in self.meta.query(&sql, &texts(ids)).await? {
            found.entry(row.get("trace_id")?).or_default().push(row.get("run_id")?);
        }
        Ok(found)
    }
}

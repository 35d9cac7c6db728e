//! Searching traces: by time straight from the index, page by page; by another key over all that match. The database leaves
//! out what it can tell does not match, the filter decides about the others.

use std::collections::BTreeMap;

use mlops_core::{Error, Result, Timestamp};
use mlops_store::Dialect;

use super::SqlTraceStore;
use crate::{
    ExperimentId,
    bound::Bound,
    rows::{places, texts},
    search::{
        Clause, Fields, Filter, Literal, Operand, OrderKey, Page, PageRequest, Search, Test, compare_by, cut,
        sql::{all_of, text_test, time_test},
    },
    traces::{
        Assessment, AssessmentValue, LINKED_PROMPTS_TAG, SOURCE_RUN_METADATA, Span, TRACE_NAME_TAG, TraceInfo,
        mlflow_span,
    },
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
        "content" => Some(mlflow_span(span)),
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
    // Clients send 5 as 5.0, and ask for it as "5".
    let number = value.as_f64().filter(|_| value.is_f64()).and_then(whole);
    Some(number.unwrap_or_else(|| value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
}

/// A number that is whole, as a text without a point.
fn whole(number: f64) -> Option<String> {
    (number.fract() == 0.0 && number.abs() < 1e15).then(|| format!("{number:.0}"))
}

/// A whole number that a clause on assessments asks for in another form, such as "5.0", is found as [`value_of`] has it
/// too.
fn widened(clause: &Clause) -> Clause {
    let mut clause = clause.clone();
    if let ("feedback" | "expectation", Test::Compare(operator, Literal::Text(text))) = (clause.group, &clause.test)
        && let Some(whole) = text.parse().ok().and_then(whole)
    {
        clause.test = Test::In { negated: *operator != "=", texts: vec![text.clone(), whole] };
    }
    clause
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

/// What a database can say of a clause, which may let too much through: the filter has the last word. None of what is read
/// from spans, assessments and linked runs.
fn condition(dialect: Dialect, clause: &Clause, bound: &mut Bound) -> Option<String> {
    let (key, test) = (clause.key.as_str(), &clause.test);
    let value_in = |table: &str, key: &str, bound: &mut Bound| {
        format!("(SELECT c.value FROM {table} c WHERE c.trace_id = t.id AND c.key = {})", bound.add(key))
    };
    let column = match (clause.group, key) {
        ("tags", key) => value_in("trace_tag", key, bound),
        ("metadata", key) => value_in("trace_metadata", key, bound),
        ("attributes", "name") => value_in("trace_tag", TRACE_NAME_TAG, bound),
        ("attributes", "status" | "state") => "t.state".to_owned(),
        ("attributes", "client_request_id") => "t.client_request_id".to_owned(),
        ("attributes", "experiment_id") => "CAST(t.experiment AS TEXT)".to_owned(),
        ("attributes", "request_id" | "trace_id") => "t.id".to_owned(),
        ("attributes", "timestamp" | "timestamp_ms") => return Some(time_test("t.started", test, bound)),
        _ => return None,
    };
    Some(text_test(dialect, &column, test, bound))
}

/// Refuses what is well-formed and can never match.
fn check_clause(clause: &Clause) -> Result<()> {
    let key = clause.key.as_str();
    match (clause.group, &clause.test) {
        ("span", _) if !(["name", "status", "type", "content"].contains(&key) || key.starts_with("attributes.")) => {
            Err(Error::invalid_argument(format!(
                "Invalid span attribute '{key}'. Supported attributes: name, status, type, attributes.<attribute_name>."
            )))
        }
        ("span", test) if key == "content" && !matches!(test, Test::Like { .. }) => {
            Err(Error::invalid_argument("span.content comparator is not one of 'LIKE', 'ILIKE'"))
        }
        ("attributes", Test::Compare(_, Literal::Text(prompt)))
            if key == "prompt" && prompt.split('/').filter(|part| !part.is_empty()).count() != 2 =>
        {
            Err(Error::invalid_argument(format!(
                "Invalid prompts filter value '{prompt}'. Expected format: prompt = \"name/version\""
            )))
        }
        _ => Ok(()),
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
        filter.clauses().iter().try_for_each(check_clause)?;
        let filter = Filter::of(filter.clauses().iter().map(widened).collect());
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
        let (dialect, mut bound) = (self.meta.dialect(), Bound::default());
        let experiments = bound.list(plan.experiments.iter().map(|experiment| experiment.0));
        let mut conditions = vec![format!("t.experiment IN ({experiments})")];
        conditions.extend(plan.filter.clauses().iter().filter_map(|clause| condition(dialect, clause, &mut bound)));
        if let Some(Position { started, id }) = after {
            let (at, key) = (bound.add(*started), bound.add(id));
            conditions.push(format!("(t.started {past} {at} OR (t.started = {at} AND t.id > {key}))"));
        }
        let sql = format!(
            "SELECT t.* FROM trace_info t WHERE {} ORDER BY t.started {direction}, t.id LIMIT {BATCH}",
            all_of(&conditions)
        );
        self.complete(&self.meta.query(&sql, &bound.0).await?).await
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mlops_store::{MetaStore, SqliteMetaStore};

    use super::*;
    #[cfg(feature = "postgres")]
    use crate::search::testing::postgres;
    use crate::{
        TraceState, TraceStore as _,
        search::testing::{Chance, TEXTS, text_clause, text_list},
    };

    async fn random_traces(store: &SqlTraceStore, chance: &Chance) -> Vec<TraceInfo> {
        let pairs = |chance: &Chance| -> BTreeMap<String, String> {
            let some = ["m", "n", TRACE_NAME_TAG].into_iter().filter(|_| chance.below(3) > 0);
            some.map(|key| (key.to_owned(), chance.of(&TEXTS).to_owned())).collect()
        };
        let mut all = Vec::new();
        for number in 0..60 {
            let (experiment, started) = (ExperimentId(chance.below(3) as u64), chance.of(&[1, 2, 3, 5]));
            let mut info = TraceInfo::new(format!("tr-{number}"), experiment, Timestamp::from_millis(started));
            info.state = chance.of(&[TraceState::Ok, TraceState::Error, TraceState::InProgress]);
            info.client_request_id = (chance.below(2) == 0).then(|| chance.of(&TEXTS).to_owned());
            info.duration_ms = (chance.below(2) == 0).then(|| chance.of(&[0, 1, 7]));
            (info.tags, info.metadata) = (pairs(chance), pairs(chance));
            all.push(store.start(info).await.unwrap());
        }
        all
    }

    fn random_filter(chance: &Chance) -> String {
        let texts = ["name", "status", "trace_id", "client_request_id", "experiment_id", "tags.m", "metadata.n"];
        let clause = |_| match chance.below(5) {
            0 | 1 => text_clause(chance.of(&texts), chance),
            2 => format!("{} {}IN {}", chance.of(&texts[..4]), chance.of(&["", "NOT "]), text_list(chance)),
            3 => format!("{} IS {}NULL", chance.of(&["tags.m", "metadata.none"]), chance.of(&["", "NOT "])),
            _ => {
                let (time, number) =
                    (chance.of(&["timestamp", "execution_time", "end_time_ms"]), chance.of(&["1", "2.5", "7"]));
                format!("{time} {} {number}", chance.of(&["=", "!=", "<", "<=", ">", ">="]))
            }
        };
        (0..chance.below(3)).map(clause).collect::<Vec<_>>().join(" AND ")
    }

    async fn searches_agree_with_the_filter(meta: Arc<dyn MetaStore>, seed: u64) {
        let (chance, store) = (Chance::new(seed), SqlTraceStore::builder(meta).build().await.unwrap());
        let all = random_traces(&store, &chance).await;
        let mut sum = 0;
        for _ in 0..300 {
            let filter = random_filter(&chance);
            let parsed = Filter::parse::<Subject<'_>>(&filter).unwrap();
            let experiments: Vec<ExperimentId> = (0..chance.below(4) as u64).map(ExperimentId).collect();
            let mut expected: Vec<&TraceInfo> = all
                .iter()
                .filter(|info| experiments.contains(&info.experiment) && parsed.admits(&Subject::alone(info)))
                .collect();
            expected.sort_by(|a, b| b.started.cmp(&a.started).then(a.id.cmp(&b.id)));
            let mut search = Search::new().with_filter(&filter).with_max_results(1 + chance.below(9));
            let mut found = Vec::new();
            loop {
                let page = store.find(&experiments, &search).await.unwrap();
                found.extend(page.items);
                search.page.token = page.next_page_token;
                if search.page.token.is_none() {
                    break;
                }
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter}");
            sum += found.len();
        }
        assert!(sum > 1_000, "{sum} found");
    }

    #[tokio::test]
    async fn random_searches_find_what_the_filter_admits() {
        searches_agree_with_the_filter(Arc::new(SqliteMetaStore::in_memory().await.unwrap()), 20_261_126).await;
    }

    #[cfg(feature = "postgres")]
    #[tokio::test]
    async fn postgres_searches_find_what_the_filter_admits() {
        let Some(meta) = postgres("trace_searches").await else { return };
        searches_agree_with_the_filter(meta, 20_261_127).await;
    }
}

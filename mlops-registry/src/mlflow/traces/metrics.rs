//! `traces/metrics`: numbers of traces, spans and assessments over time and by their properties, for pages.
//!
//! Invariant: a measured row without a value or without one of the dimensions asked for counts nowhere. Percentiles are
//! linear between neighbours (Hyndman and Fan's type 7). Buckets of time are those of a span's start, and of the start of
//! the trace for everything else, as MLflow has it.

use std::collections::{BTreeMap, BTreeSet};

use mlops_core::{Digest, Error, Result, Timestamp};
use serde_json::{Map, Value, json};

use super::{Api, store};
use crate::{
    Assessment, AssessmentValue, PageRequest, Search, Span, TraceInfo,
    mlflow::{answer::object, request::Params},
    traces::{SESSION_METADATA, TOKENS_METADATA, TRACE_NAME_TAG},
};

/// Traces that are read at once, fewer with their spans, and at most.
const PAGE: usize = 500;
const PAGE_WITH_SPANS: usize = 50;
const TRACES_MAX: usize = 200_000;
/// Most spans or assessments that are measured, and so most numbers that are kept for percentiles.
const ROWS_MAX: usize = 2_000_000;
/// Most points of one answer.
const POINTS_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Traces,
    Spans,
    Assessments,
}

const VIEWS: [(&str, i64, View); 3] =
    [("TRACES", 1, View::Traces), ("SPANS", 2, View::Spans), ("ASSESSMENTS", 3, View::Assessments)];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Aggregation {
    Count,
    Sum,
    Average,
    Percentile(f64),
    Min,
    Max,
}

const AGGREGATIONS: [(&str, i64, Aggregation); 6] = [
    ("COUNT", 1, Aggregation::Count),
    ("SUM", 2, Aggregation::Sum),
    ("AVG", 3, Aggregation::Average),
    ("PERCENTILE", 4, Aggregation::Percentile(0.0)),
    ("MIN", 5, Aggregation::Min),
    ("MAX", 6, Aggregation::Max),
];

/// What is measured, and by what it can be told apart.
struct Metric {
    view: View,
    name: &'static str,
    dimensions: &'static [&'static str],
}

const SPAN_DIMENSIONS: &[&str] = &["span_name", "span_type", "span_status"];
const COUNT_DIMENSIONS: &[&str] = &["span_name", "span_type", "span_status", "span_model_name", "span_model_provider"];
const COST_DIMENSIONS: &[&str] = &["span_model_name", "span_model_provider"];
/// The attribute in which clients say what a span cost.
const COST_ATTRIBUTE: &str = "mlflow.llm.cost";
static METRICS: [Metric; 15] = [
    Metric { view: View::Traces, name: "trace_count", dimensions: &["trace_name", "trace_status"] },
    Metric { view: View::Traces, name: "session_count", dimensions: &[] },
    Metric { view: View::Traces, name: "latency", dimensions: &["trace_name"] },
    Metric { view: View::Traces, name: "input_tokens", dimensions: &["trace_name"] },
    Metric { view: View::Traces, name: "output_tokens", dimensions: &["trace_name"] },
    Metric { view: View::Traces, name: "total_tokens", dimensions: &["trace_name"] },
    Metric { view: View::Traces, name: "cache_read_input_tokens", dimensions: &["trace_name"] },
    Metric { view: View::Traces, name: "cache_creation_input_tokens", dimensions: &["trace_name"] },
    Metric { view: View::Spans, name: "span_count", dimensions: COUNT_DIMENSIONS },
    Metric { view: View::Spans, name: "latency", dimensions: SPAN_DIMENSIONS },
    Metric { view: View::Spans, name: "input_cost", dimensions: COST_DIMENSIONS },
    Metric { view: View::Spans, name: "output_cost", dimensions: COST_DIMENSIONS },
    Metric { view: View::Spans, name: "total_cost", dimensions: COST_DIMENSIONS },
    Metric { view: View::Assessments, name: "assessment_count", dimensions: &["assessment_name", "assessment_value"] },
    Metric { view: View::Assessments, name: "assessment_value", dimensions: &["assessment_name"] },
];

/// Whose values are measured, or only counted once each.
#[derive(Debug)]
enum Measured {
    Number(f64),
    Name(String),
}

/// What is known of the values of one group.
#[derive(Debug)]
struct Group {
    count: usize,
    sum: f64,
    min: f64,
    max: f64,
    /// All of them, where a percentile is asked for.
    numbers: Vec<f64>,
    names: BTreeSet<Digest>,
}

impl Group {
    fn new() -> Self {
        Self {
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            numbers: Vec::new(),
            names: BTreeSet::new(),
        }
    }

    fn add(&mut self, measured: Measured, keep: bool) {
        match measured {
            Measured::Name(name) => drop(self.names.insert(Digest::of(name.as_bytes()))),
            Measured::Number(number) => {
                self.count += 1;
                self.sum += number;
                (self.min, self.max) = (self.min.min(number), self.max.max(number));
                if keep {
                    self.numbers.push(number);
                }
            }
        }
    }
}

/// The groups that come first, as only those are answered: what is beyond them when they are full can never be one.
struct Groups {
    kept: BTreeMap<Place, Group>,
    max: usize,
    /// Whether all numbers are kept.
    numbers: bool,
    rows: usize,
}

impl Groups {
    fn new(query: &Query, max: usize) -> Self {
        let numbers = query.aggregations.iter().any(|(_, kind)| matches!(kind, Aggregation::Percentile(_)));
        Self { kept: BTreeMap::new(), max, numbers, rows: 0 }
    }

    fn add(&mut self, measured: Option<Measured>, place: Option<Place>) -> Result<()> {
        self.rows += 1;
        if self.rows > ROWS_MAX {
            return Err(Error::resource_exhausted(format!(
                "more than {ROWS_MAX} values match; narrow them by start_time_ms and end_time_ms"
            )));
        }
        let (Some(measured), Some(place)) = (measured, place) else { return Ok(()) };
        if self.kept.len() >= self.max && self.kept.last_key_value().is_some_and(|(last, _)| *last < place) {
            return Ok(());
        }
        self.kept.entry(place).or_insert_with(Group::new).add(measured, self.numbers);
        if self.kept.len() > self.max {
            self.kept.pop_last();
        }
        Ok(())
    }
}

/// A filter on the measured rows: a key of spans or assessments and the only value it may have.
#[derive(Debug, PartialEq, Eq)]
struct RowFilter {
    key: &'static str,
    value: String,
}

/// The filters of pages that are not about traces.
const ROW_FILTERS: [(View, &str, &[&str]); 2] =
    [(View::Spans, "span", &["name", "status", "type"]), (View::Assessments, "assessment", &["name", "type"])];

impl RowFilter {
    /// `span.<key> = '<value>'` or `assessment.<key> = '<value>'`, each for its view alone.
    fn read(clause: &str, view: View) -> Result<Self> {
        let wrong = |why: String| Error::invalid_argument(format!("Invalid filter {clause:?}: {why}"));
        let parts = clause.split_once('=').and_then(|(name, value)| {
            let (of, key) = name.trim().split_once('.')?;
            let value = value.trim();
            let quoted =
                |mark: char| value.strip_prefix(mark)?.strip_suffix(mark).filter(|inner| !inner.contains(mark));
            Some((of, key, quoted('\'').or_else(|| quoted('"'))?))
        });
        let Some((of, key, value)) = parts else {
            return Err(wrong(
                "expected 'trace.<key>', 'span.<key>' or 'assessment.<key>', = and a quoted value".into(),
            ));
        };
        let Some((only, _, keys)) = ROW_FILTERS.iter().find(|(_, name, _)| *name == of) else {
            return Err(wrong(format!("{of:?} is none of trace, span and assessment")));
        };
        let Some(key) = keys.iter().find(|known| **known == key) else {
            return Err(wrong(format!("{key:?} is none of {keys:?}")));
        };
        if *only != view {
            let name = VIEWS.iter().find(|(_, _, known)| known == only).map_or("", |(name, ..)| *name);
            return Err(wrong(format!("filtering by {of} is only supported for the view {name}")));
        }
        Ok(Self { key, value: value.to_owned() })
    }

    fn admits_span(&self, span: &Span) -> bool {
        let dimension = match self.key {
            "name" => return span.name == self.value,
            "type" => "span_type",
            _ => "span_status",
        };
        of_span(span, dimension).as_ref() == Some(&self.value)
    }

    fn admits_assessment(&self, said: &Assessment) -> bool {
        let kind = match &said.value {
            AssessmentValue::Feedback { .. } => "feedback",
            AssessmentValue::Expectation { .. } => "expectation",
            AssessmentValue::Issue { .. } => "issue",
        };
        self.value == if self.key == "name" { said.name.as_str() } else { kind }
    }
}

/// A question that was checked.
struct Query {
    metric: &'static Metric,
    aggregations: Vec<(String, Aggregation)>,
    dimensions: Vec<String>,
    interval_ms: Option<i64>,
    /// What rows must be besides what their traces must be.
    rows: Vec<RowFilter>,
}

impl Query {
    fn read(params: &Params) -> Result<Self> {
        let view = params.choice("view_type", &VIEWS)?.ok_or_else(|| params.missing("view_type"))?;
        let name = params.required("metric_name")?;
        let of_view = || METRICS.iter().filter(|metric| metric.view == view);
        let metric = of_view().find(|metric| metric.name == name).ok_or_else(|| {
            let names: Vec<&str> = of_view().map(|metric| metric.name).collect();
            Error::invalid_argument(format!("metric_name must be one of {names:?}, got {name:?}"))
        })?;
        params.required_list("aggregations")?;
        let aggregations = params.objects("aggregations")?.iter().map(aggregation).collect::<Result<_>>()?;
        let dimensions = params.texts("dimensions")?;
        if let Some(unknown) = dimensions.iter().find(|name| !metric.dimensions.contains(&name.as_str())) {
            return Err(Error::invalid_argument(format!(
                "Found invalid dimension(s): {unknown:?}. Supported dimensions: {:?}",
                metric.dimensions
            )));
        }
        let interval_ms = match params.int("time_interval_seconds")? {
            None => None,
            Some(seconds) => Some(seconds.checked_mul(1_000).filter(|ms| *ms > 0).ok_or_else(|| {
                Error::invalid_argument(format!("time_interval_seconds must be at least 1, got {seconds}"))
            })?),
        };
        let of_rows = |clause: &String| (!is_of_trace(clause)).then(|| RowFilter::read(clause, view));
        let rows = params.texts("filters")?.iter().filter_map(of_rows).collect::<Result<_>>()?;
        Ok(Self { metric, aggregations, dimensions, interval_ms, rows })
    }

    /// The groups in which a row falls: its time, when asked for, and its dimensions.
    fn place(&self, time_ms: i64, dimension: impl Fn(&str) -> Option<String>) -> Option<Place> {
        let bucket = self.interval_ms.map(|interval| time_ms.div_euclid(interval).saturating_mul(interval));
        let dimensions = self.dimensions.iter().map(|name| dimension(name)).collect::<Option<Vec<_>>>()?;
        Some((bucket, dimensions))
    }
}

/// A bucket of time and the values of the dimensions.
type Place = (Option<i64>, Vec<String>);

/// An aggregation and how its values are called.
fn aggregation(params: &Params) -> Result<(String, Aggregation)> {
    let kind = params.choice("aggregation_type", &AGGREGATIONS)?.ok_or_else(|| params.missing("aggregation_type"))?;
    let name = AGGREGATIONS.iter().find(|(_, _, known)| *known == kind).map_or("", |(name, ..)| *name).to_owned();
    if !matches!(kind, Aggregation::Percentile(_)) {
        return Ok((name, kind));
    }
    let value = params.required_float("percentile_value")?;
    if !(0.0..=100.0).contains(&value) {
        return Err(Error::invalid_argument(format!("Percentile value must be between 0 and 100, got {value}")));
    }
    Ok((format!("P{value:?}"), Aggregation::Percentile(value)))
}

pub(super) async fn query(api: Api, params: Params) -> Result<Value> {
    params.required_list("experiment_ids")?;
    let query = Query::read(&params)?;
    let max = params.page(POINTS_MAX, POINTS_MAX)?.max_results.unwrap_or(POINTS_MAX);
    let size = if query.metric.view == View::Spans { PAGE_WITH_SPANS } else { PAGE };
    let page = PageRequest { max_results: Some(size), token: None };
    let mut search = Search { filter: filter(&params)?, page, ..Search::default() };
    let (mut groups, mut read) = (Groups::new(&query, max), 0);
    loop {
        let found = store(&api)?.search(&params.experiment_ids()?, &search).await?;
        read += found.items.len();
        measure(&api, &query, &found.items, &mut groups).await?;
        search.page.token = found.next_page_token;
        if search.page.token.is_none() {
            break;
        }
        if read > TRACES_MAX {
            return Err(Error::resource_exhausted(format!(
                "more than {TRACES_MAX} traces match; narrow them by start_time_ms and end_time_ms"
            )));
        }
    }
    let points = groups.kept.into_iter().map(|(place, group)| point(&query, place, group));
    Ok(object([("data_points", points.collect())]))
}

fn is_of_trace(clause: &str) -> bool {
    clause.trim_start().starts_with("trace.")
}

/// The filters on traces as one of a search for them, with the bounds of time. Those of pages begin with `trace.`.
fn filter(params: &Params) -> Result<String> {
    let mut clauses = Vec::new();
    for (name, operator) in [("start_time_ms", ">="), ("end_time_ms", "<=")] {
        clauses.extend(params.int(name)?.map(|bound| format!("timestamp_ms {operator} {bound}")));
    }
    let given = params.texts("filters")?;
    clauses.extend(given.iter().filter_map(|clause| clause.trim().strip_prefix("trace.").map(str::to_owned)));
    Ok(clauses.join(" AND "))
}

async fn measure(api: &Api, query: &Query, traces: &[TraceInfo], groups: &mut Groups) -> Result<()> {
    let ids: Vec<String> = traces.iter().map(|trace| trace.id.clone()).collect();
    let spans = match query.metric.view {
        View::Spans => store(api)?.spans(&ids).await?,
        _ => BTreeMap::new(),
    };
    let (metric, rows) = (query.metric.name, &query.rows);
    for trace in traces {
        let time = trace.started.as_millis();
        match query.metric.view {
            View::Traces => {
                groups.add(trace_value(trace, metric), query.place(time, |name| of_trace(trace, name)))?;
            }
            View::Spans => {
                let spans = spans.get(&trace.id).into_iter().flatten();
                for span in spans.filter(|span| rows.iter().all(|filter| filter.admits_span(span))) {
                    let place = query.place(start_ms(span), |name| of_span(span, name));
                    groups.add(span_value(span, metric), place)?;
                }
            }
            View::Assessments => {
                let said = trace.assessments.iter().filter(|said| said.valid);
                for said in said.filter(|said| rows.iter().all(|filter| filter.admits_assessment(said))) {
                    groups.add(assessment_value(said, metric), query.place(time, |name| of_assessment(said, name)))?;
                }
            }
        }
    }
    Ok(())
}

fn of_trace(trace: &TraceInfo, dimension: &str) -> Option<String> {
    match dimension {
        "trace_status" => Some(trace.state.to_string()),
        _ => trace.tags.get(TRACE_NAME_TAG).cloned(),
    }
}

fn trace_value(trace: &TraceInfo, metric: &str) -> Option<Measured> {
    match metric {
        "trace_count" => Some(Measured::Number(1.0)),
        "session_count" => trace.metadata.get(SESSION_METADATA).cloned().map(Measured::Name),
        "latency" => trace.duration_ms.map(|duration| Measured::Number(duration as f64)),
        tokens => {
            let usage: Value = serde_json::from_str(trace.metadata.get(TOKENS_METADATA)?).ok()?;
            usage.get(tokens)?.as_f64().map(Measured::Number)
        }
    }
}

fn of_span(span: &Span, dimension: &str) -> Option<String> {
    Some(match dimension {
        "span_name" => span.name.clone(),
        "span_type" => span.attribute("mlflow.spanType").map_or_else(|| "UNKNOWN".to_owned(), |kind| kind.to_text()),
        "span_model_name" => span.attribute("mlflow.llm.model")?.to_text(),
        "span_model_provider" => span.attribute("mlflow.llm.provider")?.to_text(),
        _ => format!("{:?}", span.status.code).to_uppercase(),
    })
}

fn start_ms(span: &Span) -> i64 {
    i64::try_from(span.start_time_unix_nano / 1_000_000).unwrap_or(i64::MAX)
}

/// Latency is in whole milliseconds, and none while the span has not ended.
fn span_value(span: &Span, metric: &str) -> Option<Measured> {
    match metric {
        "latency" => {}
        "span_count" => return Some(Measured::Number(1.0)),
        cost => return span.attribute(COST_ATTRIBUTE)?.meaning().get(cost)?.as_f64().map(Measured::Number),
    }
    let ended = Some(span.end_time_unix_nano).filter(|end| *end != 0)?;
    let nanos = ended.saturating_sub(span.start_time_unix_nano);
    Some(Measured::Number((nanos / 1_000_000) as f64))
}

/// What was said, when somebody gave a value.
fn said_value(said: &Assessment) -> Option<&Value> {
    match &said.value {
        AssessmentValue::Feedback { value, .. } | AssessmentValue::Expectation { value } => Some(value),
        AssessmentValue::Issue { .. } => None,
    }
}

fn of_assessment(said: &Assessment, dimension: &str) -> Option<String> {
    match dimension {
        "assessment_name" => Some(said.name.clone()),
        _ => said_value(said).map(Value::to_string),
    }
}

/// Truth values, and the words that judges say for them, are 1 and 0.
fn assessment_value(said: &Assessment, metric: &str) -> Option<Measured> {
    if metric == "assessment_count" {
        return Some(Measured::Number(1.0));
    }
    match said_value(said)? {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::String(word) if word == "yes" => Some(1.0),
        Value::String(word) if word == "no" => Some(0.0),
        value => value.as_f64(),
    }
    .map(Measured::Number)
}

fn point(query: &Query, (bucket, dimensions): Place, group: Group) -> Value {
    let mut shown: Map<String, Value> =
        query.dimensions.iter().cloned().zip(dimensions.into_iter().map(Value::from)).collect();
    if let Some(bucket) = bucket {
        // As Python writes an instant of UTC.
        let instant = Timestamp::from_millis(bucket).to_string();
        let instant = instant.strip_suffix('Z').unwrap_or(&instant).to_owned();
        shown.insert("time_bucket".to_owned(), format!("{instant}+00:00").into());
    }
    let values = aggregated(&query.aggregations, group);
    json!({ "metric_name": query.metric.name, "dimensions": shown, "values": values })
}

fn aggregated(aggregations: &[(String, Aggregation)], mut group: Group) -> Map<String, Value> {
    group.numbers.sort_unstable_by(f64::total_cmp);
    let count = (group.count + group.names.len()) as f64;
    let value = |aggregation| match aggregation {
        Aggregation::Count => Some(count),
        _ if group.count == 0 => None,
        Aggregation::Sum => Some(group.sum),
        Aggregation::Average => Some(group.sum / count),
        Aggregation::Min => Some(group.min),
        Aggregation::Max => Some(group.max),
        Aggregation::Percentile(percent) => percentile(&group.numbers, percent),
    };
    aggregations.iter().filter_map(|(name, kind)| Some((name.clone(), value(*kind)?.into()))).collect()
}

/// Of numbers in ascending order.
fn percentile(numbers: &[f64], percent: f64) -> Option<f64> {
    let place = percent / 100.0 * numbers.len().checked_sub(1)? as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in the list is a small number"
    )]
    let below = place as usize;
    let low = numbers.get(below)?;
    let high = numbers.get(below + 1).unwrap_or(low);
    Some(low + (place - place.floor()) * (high - low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(body: &Value) -> Result<Query> {
        Query::read(&Params::from_value(body.clone(), String::new()).unwrap())
    }

    #[test]
    fn aggregates_are_named_and_computed_as_mlflow_does() {
        let body = json!({ "view_type": "SPANS", "metric_name": "latency", "time_interval_seconds": 60,
            "dimensions": ["span_name"], "aggregations": [{ "aggregation_type": 1 }, { "aggregation_type": "AVG" },
            { "aggregation_type": "PERCENTILE", "percentile_value": 50.0 }, { "aggregation_type": "MAX" }] });
        let query = query(&body).unwrap();
        let place = query.place(61_234, |name| Some(name.to_uppercase())).unwrap();
        let group = |values: Vec<Measured>| {
            let mut group = Group::new();
            values.into_iter().for_each(|value| group.add(value, true));
            group
        };
        let numbers = group([4.0, 1.0, 2.0, 10.0].map(Measured::Number).into());
        let expected = json!({ "metric_name": "latency",
            "values": { "COUNT": 4.0, "AVG": 4.25, "P50.0": 3.0, "MAX": 10.0 },
            "dimensions": { "span_name": "SPAN_NAME", "time_bucket": "1970-01-01T00:01:00+00:00" } });
        assert_eq!(point(&query, place, numbers), expected);
        let sessions = group(["a", "b", "a"].map(|name| Measured::Name(name.to_owned())).into());
        assert_eq!(json!(aggregated(&query.aggregations, sessions)), json!({ "COUNT": 2.0 }));
    }

    #[test]
    fn only_the_groups_that_are_answered_are_kept() {
        let body = json!({ "view_type": "TRACES", "metric_name": "trace_count",
            "aggregations": [{ "aggregation_type": "COUNT" }] });
        let mut groups = Groups::new(&query(&body).unwrap(), 2);
        for name in ["d", "b", "c", "a", "b", "d", "a"] {
            groups.add(Some(Measured::Number(1.0)), Some((None, vec![name.to_owned()]))).unwrap();
            assert!(groups.kept.len() <= 2);
        }
        let counted: Vec<_> = groups.kept.iter().map(|((_, names), group)| (names[0].as_str(), group.count)).collect();
        assert_eq!(counted, [("a", 2), ("b", 2)]);
        assert!(groups.kept.values().all(|group| group.numbers.is_empty()), "no percentile is asked for");
        groups.rows = ROWS_MAX;
        assert!(groups.add(None, None).is_err());
    }

    #[test]
    fn spans_that_have_not_ended_have_no_latency() {
        let span = |end| Span { start_time_unix_nano: 2_000_000, end_time_unix_nano: end, ..Span::default() };
        let latency = |end| match span_value(&span(end), "latency") {
            Some(Measured::Number(number)) => Some(number),
            _ => None,
        };
        assert_eq!([latency(0), latency(2_000_000), latency(5_999_999)], [None, Some(0.0), Some(3.0)]);
        assert!(span_value(&span(0), "span_count").is_some());
        assert_eq!(start_ms(&span(0)), 2);
    }

    #[test]
    fn filters_on_rows_are_of_their_view() {
        let filter = |clause: &str, view| RowFilter::read(clause, view);
        let read = filter("assessment.name = 'a = b'", View::Assessments).unwrap();
        assert_eq!(read, RowFilter { key: "name", value: "a = b".to_owned() });
        assert_eq!(filter(" span.type=\"LLM\"", View::Spans).unwrap().value, "LLM");
        for (clause, words) in [
            ("span.name = 'x'", "only supported for the view SPANS"),
            ("assessment.value = 'x'", "is none of"),
            ("assessment.name != 'x'", "is none of"),
            ("assessment.name = x", "a quoted value"),
            ("assessment.name", "a quoted value"),
            ("assessment.name = 'x' AND assessment.type = 'feedback'", "a quoted value"),
            ("run.name = 'x'", "is none of trace, span and assessment"),
        ] {
            let refused = filter(clause, View::Assessments).unwrap_err();
            assert!(refused.message().contains(words), "{clause}: {refused}");
        }
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for (field, value) in [
            ("view_type", json!("NONE")),
            ("metric_name", json!("cost")),
            ("dimensions", json!(["span_name"])),
            ("aggregations", json!([])),
            ("aggregations", json!([{ "aggregation_type": "PERCENTILE" }])),
            ("aggregations", json!([{ "aggregation_type": "PERCENTILE", "percentile_value": 101 }])),
            ("time_interval_seconds", json!(0)),
        ] {
            let mut body = json!({ "view_type": "TRACES", "metric_name": "trace_count",
                "aggregations": [{ "aggregation_type": "COUNT" }] });
            assert!(query(&body).is_ok());
            body[field] = value.clone();
            assert!(query(&body).is_err(), "{field} {value}");
        }
    }
}

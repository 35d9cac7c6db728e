//! The promises of [`TraceStore`].

use std::{collections::BTreeMap, sync::Arc};

use mlops_core::{ErrorKind, RunId, Timestamp};

use super::WRITERS;
use crate::{
    AssessmentSource, AssessmentUpdate, AssessmentValue, CreateAssessment, ExperimentId, Search, Span, TraceInfo,
    TraceSelection, TraceState, TraceStore,
    traces::{AnyValue, Attribute, SpanStatus, StatusCode, otlp::ResourceSpans},
};

/// Runs every promise of [`TraceStore`]; `fresh` gives an empty store each time.
///
/// # Panics
/// When a promise is broken.
pub async fn trace_store<S: TraceStore>(fresh: impl AsyncFn() -> S) {
    info_and_spans_come_in_either_order(fresh().await, fresh().await).await;
    spans_alone_make_a_trace(fresh().await).await;
    experiments_are_known_of_traces_that_exist(fresh().await).await;
    a_refused_batch_leaves_nothing(fresh().await).await;
    pages_of_time_join_to_the_whole(fresh().await).await;
    filters_see_all_of_a_trace(fresh().await).await;
    content_is_found_by_what_it_is_like_alone(fresh().await).await;
    deletion_takes_everything_along(fresh().await).await;
    overridden_assessments_become_valid_again(fresh().await).await;
    concurrent_updates_lose_nothing(fresh().await).await;
}

const HOME: ExperimentId = ExperimentId(1);

fn id_of(number: u64) -> String {
    format!("tr-{number:032x}")
}

fn info(number: u64) -> TraceInfo {
    let started = i64::try_from(number).expect("a small number") * 10;
    TraceInfo::new(id_of(number), HOME, Timestamp::from_millis(started))
}

fn span(trace: u64, number: u64) -> Span {
    Span {
        trace_id: format!("{trace:032x}"),
        span_id: format!("{number:016x}"),
        parent_span_id: if number == 1 { String::new() } else { format!("{:016x}", 1) },
        name: format!("span {number}"),
        start_time_unix_nano: (trace * 10 + number) * 1_000_000,
        end_time_unix_nano: (trace * 10 + 8) * 1_000_000,
        attributes: vec![Attribute { key: "mlflow.spanType".into(), value: AnyValue::Text("TOOL".into()) }],
        ..Span::default()
    }
}

fn batch(spans: Vec<Span>) -> Vec<ResourceSpans> {
    let service = Attribute { key: "service.name".into(), value: AnyValue::Text("api".into()) };
    vec![ResourceSpans { resource: vec![service], spans }]
}

async fn one<S: TraceStore>(store: &S, number: u64) -> TraceInfo {
    store.traces(&[id_of(number)]).await.expect("reads").pop().expect("the trace is there")
}

async fn experiments_are_known_of_traces_that_exist<S: TraceStore>(store: S) {
    store.start(info(1)).await.expect("stores");
    let elsewhere = ExperimentId(2);
    store.start(TraceInfo { experiment: elsewhere, ..info(2) }).await.expect("stores");
    let found = store.experiments_of(&[id_of(1), id_of(2), id_of(3)]).await.expect("reads");
    assert_eq!(found, BTreeMap::from([(id_of(1), HOME), (id_of(2), elsewhere)]));
    assert_eq!(store.experiments_of(&[]).await.expect("reads"), BTreeMap::new());
    let many: Vec<String> = (0..1_001).map(id_of).collect();
    assert_eq!(store.experiments_of(&many).await.expect_err("too many").kind(), ErrorKind::InvalidArgument);
}

async fn info_and_spans_come_in_either_order<S: TraceStore>(first: S, second: S) {
    let said = TraceInfo {
        duration_ms: Some(3),
        state: TraceState::Ok,
        request_preview: Some("in".into()),
        tags: BTreeMap::from([("team".into(), "risk".into())]),
        ..info(1)
    };
    let spans = vec![span(1, 2), span(1, 1)];
    first.start(said.clone()).await.expect("starts");
    first.add_spans(HOME, batch(spans.clone())).await.expect("adds");
    second.add_spans(HOME, batch(spans.clone())).await.expect("adds");
    second.add_spans(HOME, batch(spans.clone())).await.expect("adds again");
    second.start(said).await.expect("starts");
    let (left, right) = (one(&first, 1).await, one(&second, 1).await);
    assert_eq!(left, right);
    assert_eq!((left.duration_ms, left.started), (Some(3), Timestamp::from_millis(10)));
    let stored = second.spans(&[id_of(1), id_of(9)]).await.expect("reads");
    assert_eq!(stored, BTreeMap::from([(id_of(1), vec![spans[1].clone(), spans[0].clone()])]));
}

async fn spans_alone_make_a_trace<S: TraceStore>(store: S) {
    store.add_spans(HOME, batch(vec![span(4, 2)])).await.expect("adds");
    assert_eq!(one(&store, 4).await.state, TraceState::InProgress);
    let status = SpanStatus { message: "boom".into(), code: StatusCode::Error };
    let ids = store.add_spans(HOME, batch(vec![Span { status, ..span(4, 1) }])).await.expect("adds");
    assert_eq!(ids, [id_of(4)]);
    let found = one(&store, 4).await;
    assert_eq!(
        (found.state, found.started, found.duration_ms),
        (TraceState::Error, Timestamp::from_millis(41), Some(7))
    );
    assert_eq!(found.tags.get("service.name").map(String::as_str), Some("api"));
}

async fn a_refused_batch_leaves_nothing<S: TraceStore>(store: S) {
    let wrong = Span { span_id: "1".into(), ..span(2, 1) };
    let error = store.add_spans(HOME, batch(vec![span(1, 1), wrong])).await.expect_err("an id is wrong");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(store.traces(&[id_of(1)]).await.expect("reads").is_empty());
    let error = store.set_tags(&id_of(1), &[("k".into(), "v".into())]).await.expect_err("no such trace");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

async fn pages_of_time_join_to_the_whole<S: TraceStore>(store: S) {
    for number in 0..7 {
        // Pairs begin at the same time.
        let started = info(number / 2).started;
        store.start(TraceInfo { started, ..info(number) }).await.expect("starts");
    }
    store.start(TraceInfo { experiment: ExperimentId(2), ..info(8) }).await.expect("starts");
    let descending = [6, 4, 5, 2, 3, 0, 1].map(id_of).to_vec();
    let ascending = [0, 1, 2, 3, 4, 5, 6].map(id_of).to_vec();
    let by_id = [6, 5, 4, 3, 2, 1, 0].map(id_of).to_vec();
    for (order, expected) in [(None, descending), (Some("timestamp_ms ASC"), ascending), (Some("trace_id DESC"), by_id)]
    {
        let mut search = Search::new().with_max_results(3);
        search.order_by.extend(order.map(str::to_owned));
        let mut seen = Vec::new();
        loop {
            let page = store.search(&[HOME], &search).await.expect("searches");
            seen.extend(page.items.into_iter().map(|info| info.id));
            let Some(token) = page.next_page_token else { break };
            search.page.token = Some(token);
        }
        assert_eq!(seen, expected, "{order:?}");
        let other = Search { filter: "status = 'OK'".into(), ..search };
        assert!(store.search(&[HOME], &other).await.is_err(), "a token of another search");
    }
    assert!(store.search(&[], &Search::new()).await.expect("searches").items.is_empty());
}

async fn filters_see_all_of_a_trace<S: TraceStore>(store: S) {
    store.add_spans(HOME, batch(vec![span(1, 1), span(1, 2)])).await.expect("adds");
    store.start(info(2)).await.expect("starts");
    let said = CreateAssessment::new("score", AssessmentValue::feedback(0.75), AssessmentSource::code("judge"));
    store.assess(&id_of(1), said).await.expect("assesses");
    store.link_to_run(&[id_of(2)], &RunId::new("r1").expect("an id")).await.expect("links");
    for (filter, number) in [
        ("span.name = 'span 2'", 1),
        ("span.type = 'TOOL' AND span.content LIKE '%span 1%'", 1),
        ("feedback.score > 0.5", 1),
        ("feedback.score IS NULL", 2),
        ("trace.name RLIKE '^span [12]$'", 1),
        ("run_id = 'r1'", 2),
        ("tags.`service.name` = 'api'", 1),
        ("timestamp_ms >= 20", 2),
    ] {
        let found = store.search(&[HOME], &Search::new().with_filter(filter)).await.expect("searches").items;
        assert_eq!(found.into_iter().map(|info| info.id).collect::<Vec<_>>(), [id_of(number)], "{filter}");
    }
}

async fn content_is_found_by_what_it_is_like_alone<S: TraceStore>(store: S) {
    store.add_spans(HOME, batch(vec![span(1, 1)])).await.expect("adds");
    for filter in ["span.content = 'span 1'", "span.content RLIKE 'span'", "span.parent_id = 'x'"] {
        let refused = store.search(&[HOME], &Search::new().with_filter(filter)).await.expect_err("refuses");
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{filter}");
    }
}

async fn deletion_takes_everything_along<S: TraceStore>(store: S) {
    for number in 1..=5 {
        store.start(info(number)).await.expect("starts");
        store.add_spans(HOME, batch(vec![span(number, 1)])).await.expect("adds");
    }
    let other = ExperimentId(2);
    assert_eq!(store.delete(other, &TraceSelection::of([id_of(1)])).await.expect("deletes"), 0);
    let old = TraceSelection::until(info(4).started).with_max(2);
    assert_eq!(store.delete(HOME, &old).await.expect("deletes"), 2);
    let left = store.search(&[HOME], &Search::new()).await.expect("searches").items;
    assert_eq!(left.into_iter().map(|info| info.id).collect::<Vec<_>>(), [5, 4, 3].map(id_of));
    assert!(store.spans(&[id_of(1)]).await.expect("reads").is_empty());
    assert_eq!(store.delete(HOME, &TraceSelection::of([id_of(3), id_of(9)])).await.expect("deletes"), 1);
    let error = store.delete(HOME, &TraceSelection::default()).await.expect_err("everything?");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

async fn overridden_assessments_become_valid_again<S: TraceStore>(store: S) {
    let id = store.start(info(1)).await.expect("starts").id;
    let say = |value: i64| CreateAssessment::new("q", AssessmentValue::feedback(value), AssessmentSource::human("ann"));
    let first = store.assess(&id, say(1)).await.expect("assesses");
    let better = CreateAssessment { overrides: Some(first.id.clone()), ..say(2) };
    let second = store.assess(&id, better).await.expect("assesses");
    assert!(!store.assessment(&id, &first.id).await.expect("reads").valid);
    assert_eq!(one(&store, 1).await.assessments.len(), 2);
    store.delete_assessment(&id, &second.id).await.expect("deletes");
    store.delete_assessment(&id, &second.id).await.expect("deletes again");
    assert!(store.assessment(&id, &first.id).await.expect("reads").valid);
    let other = AssessmentUpdate { value: Some(AssessmentValue::expectation(1)), ..AssessmentUpdate::default() };
    let error = store.update_assessment(&id, &first.id, other).await.expect_err("another kind");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let missing = CreateAssessment { overrides: Some("none".into()), ..say(3) };
    assert_eq!(store.assess(&id, missing).await.expect_err("overrides nothing").kind(), ErrorKind::NotFound);
}

async fn concurrent_updates_lose_nothing<S: TraceStore>(store: S) {
    let store = Arc::new(store);
    let id = store.start(info(1)).await.expect("starts").id;
    let say = CreateAssessment::new("q", AssessmentValue::feedback(1), AssessmentSource::human("ann"));
    let said = store.assess(&id, say).await.expect("assesses").id;
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, id, said) = (Arc::clone(&store), id.clone(), said.clone());
            tokio::spawn(async move {
                let metadata = BTreeMap::from([(format!("w{writer}"), "x".to_owned())]);
                let update = AssessmentUpdate { metadata, ..AssessmentUpdate::default() };
                store.update_assessment(&id, &said, update).await.expect("updates");
                store.add_spans(HOME, batch(vec![span(1, writer + 1)])).await.expect("adds");
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no writer panics");
    }
    let writers = usize::try_from(WRITERS).expect("a small number");
    assert_eq!(store.assessment(&id, &said).await.expect("reads").metadata.len(), writers);
    assert_eq!(store.spans(std::slice::from_ref(&id)).await.expect("reads")[&id].len(), writers);
}

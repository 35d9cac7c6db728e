//! The promises of [`EvaluationStore`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mlops_core::ErrorKind;
use serde_json::json;

use super::WRITERS;
use crate::{
    CreateEvaluationDataset, EvaluationStore, ExperimentId, PageRequest, Search,
    evaluation::{CreateIssue, Issue, IssueSeverity, IssueStatus, IssueUpdate, PutRecord, RegisterScorer, Upserted},
};

/// Runs every promise of [`EvaluationStore`]; `fresh` gives an empty store each time.
///
/// # Panics
/// When a promise is broken.
pub async fn evaluation_store<S: EvaluationStore>(fresh: impl AsyncFn() -> S) {
    known_inputs_are_added_to(fresh().await).await;
    pages_of_records_join_to_the_whole(fresh().await).await;
    datasets_are_found_by_experiment_and_filter(fresh().await).await;
    concurrent_puts_make_one_record(fresh().await).await;
    scorers_have_versions(fresh().await).await;
    scorers_registered_at_once_get_versions_of_their_own(fresh().await).await;
    issues_are_found_the_worst_first(fresh().await).await;
}

fn put(inputs: &serde_json::Value, expectations: &serde_json::Value) -> PutRecord {
    serde_json::from_value(json!({ "inputs": inputs, "expectations": expectations })).expect("a record")
}

async fn known_inputs_are_added_to<S: EvaluationStore>(store: S) {
    let made = store.create(CreateEvaluationDataset::new("d")).await.expect("creates");
    let first = vec![put(&json!({ "q": 1 }), &json!({ "a": 1 })), put(&json!({ "q": 2 }), &json!({}))];
    let done = store.put_records(&made.id, first).await.expect("puts");
    assert_eq!(done, Upserted { inserted: 2, updated: 0 });
    let again = vec![put(&json!({ "q": 1 }), &json!({ "b": 2 })), put(&json!({ "q": 3 }), &json!({}))];
    let done = store.put_records(&made.id, again).await.expect("puts");
    assert_eq!(done, Upserted { inserted: 1, updated: 1 });
    let records = store.records(&made.id, &PageRequest::default()).await.expect("reads").items;
    assert_eq!(records[0].expectations, json!({ "a": 1, "b": 2 }).as_object().cloned());
    let gone = [records[0].id.clone(), "none".to_owned()];
    assert_eq!(store.delete_records(&made.id, &gone).await.expect("deletes"), 1);
    assert_eq!(store.dataset(&made.id).await.expect("reads").records, 2);
    store.delete(&made.id).await.expect("deletes");
    store.delete(&made.id).await.expect("deletes again");
    let error = store.put_records(&made.id, Vec::new()).await.expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

async fn issues_are_found_the_worst_first<S: EvaluationStore>(store: S) {
    let (one, other) = (ExperimentId(1), ExperimentId(2));
    let issue = |of, name: &str, severity| CreateIssue { severity, ..CreateIssue::new(of, name, "d") };
    for (of, name, severity) in [
        (one, "unjudged", None),
        (one, "low", Some(IssueSeverity::Low)),
        (other, "elsewhere", Some(IssueSeverity::High)),
        (one, "high", Some(IssueSeverity::High)),
        (one, "later", None),
    ] {
        let made = store.create_issue(issue(of, name, severity)).await.expect("creates");
        assert_eq!(store.issue(&made.id).await.expect("reads"), made);
    }
    let names = |issues: &[Issue]| -> Vec<String> { issues.iter().map(|issue| issue.content.name.clone()).collect() };
    let found = store.search_issues(Some(one), &Search::default()).await.expect("finds").items;
    assert_eq!(names(&found), ["high", "low", "later", "unjudged"]);
    let update = IssueUpdate { status: Some(IssueStatus::Resolved), ..IssueUpdate::default() };
    let changed = store.update_issue(&found[1].id, update.clone()).await.expect("changes");
    assert_eq!((changed.content.status, changed.content.name.as_str()), (IssueStatus::Resolved, "low"));
    let pending = Search { filter: "status != 'resolved'".to_owned(), ..Search::default() };
    let found = store.search_issues(None, &pending).await.expect("finds").items;
    assert_eq!(names(&found), ["high", "elsewhere", "later", "unjudged"]);
    let found = async |filter: &str| {
        let search = Search::new().with_filter(filter);
        names(&store.search_issues(Some(one), &search).await.expect("finds").items)
    };
    assert_eq!(found("status LIKE 'res%'").await, ["low"]);
    assert_eq!(found("status ILIKE 'RES%'").await, ["low"]);
    assert!(found("source_run_id != 'r'").await.is_empty(), "none has a run");
    // What comes between pages neither repeats nor hides others.
    let (mut seen, mut search) = (Vec::new(), Search::new().with_max_results(1));
    loop {
        let page = store.search_issues(Some(one), &search).await.expect("finds");
        seen.extend(names(&page.items));
        let Some(token) = page.next_page_token else { break };
        search.page.token = Some(token);
        if seen.len() == 1 {
            store.create_issue(issue(one, "in between", Some(IssueSeverity::High))).await.expect("creates");
        }
    }
    assert_eq!(seen, ["high", "low", "later", "unjudged"]);
    let worse = IssueUpdate { severity: Some(IssueSeverity::Medium), ..IssueUpdate::default() };
    let later = store.search_issues(Some(one), &Search::default()).await.expect("finds").items[3].clone();
    assert_eq!(store.update_issue(&later.id, worse).await.expect("changes").content.name, "later");
    assert_eq!(found("").await, ["in between", "high", "later", "low", "unjudged"]);
    let error = store.update_issue("none", update).await.expect_err("there is none");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let unnamed = store.create_issue(issue(one, "", None)).await.expect_err("it needs a name");
    assert_eq!(unnamed.kind(), ErrorKind::InvalidArgument);
}

async fn scorers_have_versions<S: EvaluationStore>(store: S) {
    let (one, other) = (ExperimentId(1), ExperimentId(2));
    let register = |experiment, name: &str, content: &str| RegisterScorer::new(experiment, name, content);
    let first = store.register_scorer(register(one, "brief", "{\"a\": 1}")).await.expect("registers");
    let second = store.register_scorer(register(one, "brief", "{\"a\": 2}")).await.expect("registers");
    assert_eq!((first.version, second.version, &second.id), (1, 2, &first.id));
    let elsewhere = store.register_scorer(register(other, "brief", "{}")).await.expect("registers");
    assert_eq!(store.scorers(&[one]).await.expect("lists"), std::slice::from_ref(&second));
    assert_eq!(store.scorers(&[]).await.expect("lists"), [second.clone(), elsewhere]);
    assert_eq!(store.scorer_versions(one, "brief").await.expect("lists"), [first.clone(), second.clone()]);
    assert_eq!(store.scorer(one, "brief", None).await.expect("reads"), second);
    assert_eq!(store.scorer(one, "brief", Some(1)).await.expect("reads"), first);
    store.delete_scorer(one, "brief", Some(1)).await.expect("deletes");
    for error in [
        store.scorer(one, "brief", Some(1)).await.expect_err("it is gone"),
        store.scorer_versions(one, "none").await.expect_err("it is none"),
        store.delete_scorer(one, "brief", Some(1)).await.expect_err("it is gone"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    let next = store.register_scorer(register(one, "brief", "{}")).await.expect("registers");
    assert_eq!(next.version, 3);
    store.delete_scorer(one, "brief", None).await.expect("deletes");
    assert!(store.scorers(&[one]).await.expect("lists").is_empty());
    let error = store.register_scorer(register(one, "brief", "{")).await.expect_err("no JSON");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

async fn scorers_registered_at_once_get_versions_of_their_own<S: EvaluationStore>(store: S) {
    let register = || store.register_scorer(RegisterScorer::new(ExperimentId(1), "brief", "{}"));
    let made = futures::future::try_join_all((0..8).map(|_| register())).await.expect("registers");
    let versions: BTreeSet<u64> = made.iter().map(|scorer| scorer.version).collect();
    assert_eq!(versions, (1..=8).collect());
    assert!(made.iter().all(|scorer| Some(&scorer.id) == made.first().map(|first| &first.id)), "one id for all");
    assert_eq!(store.scorer_versions(ExperimentId(1), "brief").await.expect("lists").len(), 8);
}

async fn pages_of_records_join_to_the_whole<S: EvaluationStore>(store: S) {
    let made = store.create(CreateEvaluationDataset::new("d")).await.expect("creates");
    let records = (0..5).map(|number| put(&json!({ "q": number }), &json!({}))).collect();
    store.put_records(&made.id, records).await.expect("puts");
    let (mut seen, mut page) = (Vec::new(), PageRequest { max_results: Some(2), token: None });
    loop {
        let found = store.records(&made.id, &page).await.expect("reads");
        seen.extend(found.items.iter().map(|record| record.inputs["q"].clone()));
        let Some(token) = found.next_page_token else { break };
        page.token = Some(token);
    }
    assert_eq!(json!(seen), json!([0, 1, 2, 3, 4]));
    page.token = Some("x".to_owned());
    assert_eq!(store.records(&made.id, &page).await.expect_err("no token of ours").kind(), ErrorKind::InvalidArgument);
}

async fn datasets_are_found_by_experiment_and_filter<S: EvaluationStore>(store: S) {
    let (left, right) = (ExperimentId(1), ExperimentId(2));
    let create = CreateEvaluationDataset { experiments: vec![left], ..CreateEvaluationDataset::new("a") };
    let made = store.create(create).await.expect("creates");
    store.create(CreateEvaluationDataset::new("b")).await.expect("creates");
    let tags = BTreeMap::from([("team".to_owned(), Some("risk".to_owned())), ("none".to_owned(), None)]);
    store.set_tags(&made.id, &tags).await.expect("tags");
    let count = async |experiments: &[ExperimentId], filter: &str| {
        store.search(experiments, &Search::new().with_filter(filter)).await.expect("searches").items.len()
    };
    assert_eq!((count(&[], "").await, count(&[left], "").await, count(&[right], "").await), (2, 1, 0));
    assert_eq!((count(&[], "tags.team = 'risk'").await, count(&[], "name LIKE 'b%'").await), (1, 1));
    let moved = store.move_experiments(&made.id, &[right], &[left]).await.expect("moves");
    assert_eq!(moved.experiments, [right]);
    assert_eq!(count(&[left], "").await, 0);
}

async fn concurrent_puts_make_one_record<S: EvaluationStore>(store: S) {
    let store = Arc::new(store);
    let id = store.create(CreateEvaluationDataset::new("d")).await.expect("creates").id;
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, id) = (Arc::clone(&store), id.clone());
            let record = put(&json!({ "q": 1 }), &json!({ format!("w{writer}"): 1 }));
            tokio::spawn(async move { store.put_records(&id, vec![record]).await.expect("puts") })
        })
        .collect();
    let mut inserted = 0;
    for task in tasks {
        inserted += task.await.expect("no writer panics").inserted;
    }
    let records = store.records(&id, &PageRequest::default()).await.expect("reads").items;
    let expected = records[0].expectations.as_ref().map(serde_json::Map::len);
    assert_eq!((inserted, records.len(), expected), (1, 1, usize::try_from(WRITERS).ok()));
}

//! The promises of the journals, one function each, for every place that keeps one.
//!
//! Each function takes a fresh, empty journal.

#![allow(clippy::expect_used, reason = "a broken promise is reported by a panic that names it")]

use std::time::Duration;

use mlops_core::{Digest, ErrorKind, FactKind, Timestamp};
use serde_json::json;

use crate::{
    Decision, DecisionJournal, Firing, FiringJournal, FiringSource, Journal, RunFilter, RunState, TaskRecord,
    TaskState,
    journal::{Claim, PastFiring, RunSpec, Sighting, TriggerHistory, lease_owner},
};

/// Runs every promise of [`Journal`]; `fresh` gives an empty one each time.
///
/// # Panics
/// When a promise is broken.
pub async fn journal<J: Journal>(fresh: impl AsyncFn() -> J) {
    a_run_goes_on_where_it_stopped(fresh().await).await;
    one_lease_at_a_time_and_the_loser_cannot_write(fresh().await).await;
    a_key_names_one_run(fresh().await).await;
    an_ended_run_is_answered_without_a_lease(fresh().await).await;
    recording_is_all_or_none(fresh().await).await;
    runs_are_listed_newest_first(fresh().await).await;
}

/// Runs every promise of [`FiringJournal`]; `fresh` gives an empty one each time.
///
/// # Panics
/// When a promise is broken.
pub async fn firing_journal<J: FiringJournal>(fresh: impl AsyncFn() -> J) {
    one_of_two_advances_wins(fresh().await).await;
    a_settled_firing_is_no_longer_outstanding(fresh().await).await;
}

/// Runs every promise of [`DecisionJournal`]; `fresh` gives an empty one each time.
///
/// # Panics
/// When a promise is broken.
pub async fn decision_journal<J: DecisionJournal + FiringJournal>(fresh: impl AsyncFn() -> J) {
    an_event_is_decided_upon_once(fresh().await).await;
    history_has_what_came_before(fresh().await).await;
    a_firing_is_announced_once(fresh().await).await;
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn spec(key: &str) -> RunSpec {
    let tasks = vec!["extract".to_owned(), "fit".to_owned()];
    RunSpec {
        key: key.to_owned(),
        dag: "train".to_owned(),
        graph: Digest::of(b"graph"),
        params: json!({"n": 1}),
        tasks,
    }
}

fn claim(owner: &str, now: i64) -> Claim {
    Claim { owner: owner.to_owned(), now: at(now), ttl: Duration::from_secs(10) }
}

async fn a_run_goes_on_where_it_stopped<J: Journal>(journal: J) {
    let opened = journal.open(&spec("r"), &claim("a", 0)).await.expect("opens");
    assert!(opened.tasks.iter().map(|task| task.task.as_str()).eq(["extract", "fit"]), "{:?}", opened.tasks);
    let lease = opened.lease.expect("a new run has a lease");
    let done = TaskRecord { state: TaskState::Succeeded, output: Some(json!(41)), ..TaskRecord::pending("extract") };
    let begun = TaskRecord { state: TaskState::Running, attempt: 1, ..TaskRecord::pending("fit") };
    journal.record(&lease, &[done.clone(), begun]).await.expect("records");

    let again = journal.open(&spec("r"), &claim("b", 11)).await.expect("an expired lease is taken over");
    let fit = TaskRecord { attempt: 1, interruptions: 1, ..TaskRecord::pending("fit") };
    assert_eq!(again.tasks, [done, fit], "what ended is kept, what ran is pending with an interruption");
}

async fn one_lease_at_a_time_and_the_loser_cannot_write<J: Journal>(journal: J) {
    let first = journal.open(&spec("r"), &claim("a", 0)).await.expect("opens").lease.expect("has a lease");
    let refused = journal.open(&spec("r"), &claim("b", 9)).await.expect_err("the lease lasts ten seconds");
    assert_eq!((refused.kind(), lease_owner(&refused)), (ErrorKind::Conflict, Some("a")));
    journal.renew(&first, at(20)).await.expect("renews");
    let refused = journal.open(&spec("r"), &claim("b", 19)).await.expect_err("the lease was renewed");
    assert_eq!(refused.kind(), ErrorKind::Conflict);

    let second = journal.open(&spec("r"), &claim("b", 20)).await.expect("expired").lease.expect("has a lease");
    assert!(second.epoch > first.epoch);
    let late = [TaskRecord::pending("fit")];
    let lost = [
        journal.record(&first, &late).await.expect_err("lost").kind(),
        journal.renew(&first, at(99)).await.expect_err("lost").kind(),
        journal.close(&first, RunState::Succeeded, at(21)).await.expect_err("lost").kind(),
    ];
    assert_eq!(lost, [ErrorKind::Conflict; 3]);
    assert_eq!(journal.run("r").await.expect("is there").state, RunState::Running);
    let same = journal.open(&spec("r"), &claim("b", 21)).await.expect("an owner takes over from itself");
    assert!(same.lease.expect("has a lease").epoch > second.epoch);
}

async fn a_key_names_one_run<J: Journal>(journal: J) {
    journal.open(&spec("r"), &claim("a", 0)).await.expect("opens");
    let other_params = RunSpec { params: json!({"n": 2}), ..spec("r") };
    let other_dag = RunSpec { dag: "score".to_owned(), ..spec("r") };
    let other_graph = RunSpec { graph: Digest::of(b"other"), ..spec("r") };
    let kind = async |spec: RunSpec| journal.open(&spec, &claim("a", 1)).await.expect_err("is another run").kind();
    assert_eq!(kind(other_params).await, ErrorKind::AlreadyExists);
    assert_eq!(kind(other_dag).await, ErrorKind::AlreadyExists);
    assert_eq!(kind(other_graph).await, ErrorKind::FailedPrecondition);
    assert_eq!(journal.run("none").await.expect_err("is not there").kind(), ErrorKind::NotFound);
    assert!(journal.tasks("none").await.expect("reads").is_empty());
}

async fn an_ended_run_is_answered_without_a_lease<J: Journal>(journal: J) {
    let lease = journal.open(&spec("r"), &claim("a", 0)).await.expect("opens").lease.expect("has a lease");
    journal.close(&lease, RunState::Cancelled, at(1)).await.expect("closes");
    let lease = journal.open(&spec("r"), &claim("b", 2)).await.expect("a cancelled run goes on").lease;
    journal.close(&lease.expect("has a lease"), RunState::Failed, at(3)).await.expect("closes");
    let ended = journal.open(&spec("r"), &claim("c", 4)).await.expect("opens");
    assert!(ended.lease.is_none());
    assert_eq!((ended.run.state, ended.run.ended_at, ended.run.owner), (RunState::Failed, Some(at(3)), None));
}

async fn recording_is_all_or_none<J: Journal>(journal: J) {
    let lease = journal.open(&spec("r"), &claim("a", 0)).await.expect("opens").lease.expect("has a lease");
    let known = TaskRecord { state: TaskState::Succeeded, ..TaskRecord::pending("extract") };
    let unknown = TaskRecord::pending("nowhere");
    let refused = journal.record(&lease, &[known, unknown]).await.expect_err("a task is unknown");
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    let tasks = journal.tasks("r").await.expect("reads");
    assert!(tasks.iter().all(|task| task.state == TaskState::Pending), "{tasks:?}");
}

async fn runs_are_listed_newest_first<J: Journal>(journal: J) {
    for (key, dag) in [("1", "train"), ("2", "score"), ("3", "train")] {
        let spec = RunSpec { dag: dag.to_owned(), ..spec(key) };
        let lease = journal.open(&spec, &claim("a", 0)).await.expect("opens").lease.expect("has a lease");
        if key == "1" {
            journal.close(&lease, RunState::Succeeded, at(1)).await.expect("closes");
        }
    }
    let keys = async |filter: RunFilter| {
        let runs = journal.runs(&filter).await.expect("reads");
        runs.into_iter().map(|run| run.key).collect::<Vec<_>>()
    };
    let all = RunFilter::default();
    assert_eq!(keys(all.clone()).await, ["3", "2", "1"]);
    assert_eq!(keys(RunFilter { limit: 2, ..all.clone() }).await, ["3", "2"]);
    assert_eq!(keys(RunFilter { dag: Some("train".to_owned()), ..all.clone() }).await, ["3", "1"]);
    assert_eq!(keys(RunFilter { state: Some(RunState::Succeeded), ..all }).await, ["1"]);
}

fn firing(key: &str, due: i64) -> Firing {
    let (source, params) = (FiringSource::Schedule, json!({"day": due}));
    Firing { run_key: key.to_owned(), dag: "train".to_owned(), due_at: at(due), source, params, outcome: None }
}

async fn one_of_two_advances_wins<J: FiringJournal>(journal: J) {
    assert_eq!(journal.cursor("train").await.expect("reads"), None);
    assert!(journal.advance("train", None, at(5), &[firing("a", 3), firing("b", 5)]).await.expect("advances"));
    assert!(!journal.advance("train", None, at(9), &[firing("c", 9)]).await.expect("is too late"));
    assert_eq!(journal.cursor("train").await.expect("reads"), Some(at(5)));
    let known = Firing { due_at: at(99), ..firing("a", 3) };
    assert!(journal.advance("train", Some(at(5)), at(9), &[known, firing("c", 9)]).await.expect("advances"));
    let firings = journal.firings("train", 10).await.expect("reads");
    assert_eq!(firings, [firing("c", 9), firing("b", 5), firing("a", 3)], "a known firing stays as it was");
}

async fn a_settled_firing_is_no_longer_outstanding<J: FiringJournal>(journal: J) {
    let other = Firing { dag: "score".to_owned(), ..firing("s", 1) };
    let due = [firing("b", 2), firing("a", 2), firing("c", 1), other];
    assert!(journal.advance("train", None, at(2), &due).await.expect("advances"));
    let outstanding = async |limit| {
        let found = journal.outstanding(&["train".to_owned()], limit).await.expect("reads");
        found.into_iter().map(|firing| firing.run_key).collect::<Vec<_>>()
    };
    assert_eq!(outstanding(10).await, ["c", "a", "b"], "earliest due first");
    assert_eq!(outstanding(1).await, ["c"]);
    journal.settle("a", RunState::Failed).await.expect("settles");
    assert_eq!(outstanding(10).await, ["c", "b"]);
    assert_eq!(journal.settle("none", RunState::Failed).await.expect_err("unknown").kind(), ErrorKind::NotFound);
    assert!(journal.outstanding(&[], 10).await.expect("reads").is_empty());
}

fn sighting(name: &str, seconds: i64) -> Sighting {
    Sighting {
        trigger: "drift".to_owned(),
        event_key: Digest::of(name.as_bytes()),
        at: at(seconds),
        kind: FactKind::DriftDetected,
        evidence: true,
        topics: vec![name.to_owned()],
        events_max: 10,
        fired_since: at(0),
    }
}

fn fire(run_key: &str) -> (Decision, Option<Firing>) {
    let decision = Decision::Fired { run_key: run_key.to_owned(), reason: "drift".to_owned() };
    (decision, Some(Firing { source: FiringSource::Trigger, ..firing(run_key, 1) }))
}

fn hold() -> (Decision, Option<Firing>) {
    (Decision::Held { reason: "too soon".to_owned() }, None)
}

async fn an_event_is_decided_upon_once<J: DecisionJournal + FiringJournal>(journal: J) {
    let first = journal.decide(&sighting("x", 1), &|_| fire("r")).await.expect("decides");
    let again = journal.decide(&sighting("x", 1), &|_| hold()).await.expect("answers");
    assert_eq!(first, again, "the first decision stands");
    assert!(first.decision.is_fired() && !first.announced && first.topics == ["x"]);
    let outstanding = journal.outstanding(&["train".to_owned()], 10).await.expect("reads");
    assert_eq!(outstanding.len(), 1, "the firing came with the decision, once");
    let other = Sighting { trigger: "other".to_owned(), ..sighting("x", 1) };
    let other = journal.decide(&other, &|_| hold()).await.expect("decides");
    assert!(!other.decision.is_fired(), "another trigger decides for itself");
}

async fn history_has_what_came_before<J: DecisionJournal>(journal: J) {
    let seen = std::sync::Mutex::new(TriggerHistory::default());
    let keep = |history: &TriggerHistory| *seen.lock().expect("no panic before") = history.clone();
    let mut before = Vec::new();
    for (name, seconds, fires) in [("a", 1, true), ("b", 2, false), ("c", 5, false)] {
        let rule = |history: &TriggerHistory| {
            keep(history);
            if fires { fire(name) } else { hold() }
        };
        journal.decide(&sighting(name, seconds), &rule).await.expect("decides");
        before.push(seen.lock().expect("no panic before").clone());
    }
    let fired = vec![PastFiring { at: at(1), topics: vec!["a".to_owned()] }];
    let after = |events| TriggerHistory { firings: fired.clone(), events };
    assert_eq!(before, [TriggerHistory::default(), after(vec![]), after(vec![(at(2), true)])]);
    let late = Sighting { fired_since: at(1), events_max: 1, ..sighting("d", 4) };
    journal.decide(&late, &|history| (keep(history), hold()).1).await.expect("decides");
    let expected = TriggerHistory { firings: vec![], events: vec![(at(2), true)] };
    assert_eq!(
        *seen.lock().expect("no panic before"),
        expected,
        "later events and the firing at the bound do not count"
    );
    let names = journal.decisions("drift", 2).await.expect("reads");
    assert!(names.iter().map(|record| record.topics.concat()).eq(["c", "d"]), "newest event first: {names:?}");
}

async fn a_firing_is_announced_once<J: DecisionJournal>(journal: J) {
    let record = journal.decide(&sighting("x", 1), &|_| fire("r")).await.expect("decides");
    journal.decide(&sighting("y", 2), &|_| hold()).await.expect("decides");
    assert_eq!(journal.unannounced("drift", 10).await.expect("reads"), std::slice::from_ref(&record));
    journal.mark_announced("drift", &record.event_key).await.expect("marks");
    assert!(journal.unannounced("drift", 10).await.expect("reads").is_empty());
    let unknown = journal.mark_announced("drift", &Digest::of(b"none")).await.expect_err("unknown");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

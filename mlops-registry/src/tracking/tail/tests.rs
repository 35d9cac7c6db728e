//! What watchers are told, against what was written.

use mlops_core::{ErrorKind, Metric, RunStatus, Timestamp};
use mlops_store::SqliteMetaStore;

use super::*;
use crate::{
    CreateRun, ExperimentId, SqlTrackingStore, TrackingStoreExt as _,
    limits::{PARAM_VALUE_MAX, RUN_TAG_VALUE_MAX},
    tracking::{Batch, RUN_NAME_TAG, RunUpdate},
};

/// Reads often, so that no test waits for long.
fn often() -> TailSettings {
    TailSettings { poll_ms: 1, ..TailSettings::default() }
}

/// Never reads, so that nothing is told but what goes through the store.
fn never() -> TailSettings {
    TailSettings { poll_ms: 3_600_000, ..TailSettings::default() }
}

async fn live(settings: TailSettings) -> (LiveTail, RunId) {
    let store = SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await.unwrap()));
    let live = LiveTail::with_ids(Arc::new(store.build().await.unwrap()), settings, &RandomIds::from_seed(1)).unwrap();
    let run = live.create_run(CreateRun::new(ExperimentId(0))).await.unwrap().id;
    (live, run)
}

fn points(steps: impl IntoIterator<Item = i64>) -> Batch {
    let point = |step| Metric { key: "loss".into(), value: f64::NAN, timestamp: Timestamp::from_millis(1), step };
    Batch { metrics: steps.into_iter().map(point).collect(), ..Batch::default() }
}

fn status(status: RunStatus) -> RunUpdate {
    RunUpdate { status: Some(status), ..RunUpdate::default() }
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

async fn state(tail: &mut Tail) -> RunRecord {
    match tail.next().await.unwrap().unwrap().event {
        TailEvent::State(record) => *record,
        TailEvent::Change(change) => panic!("{change:?}"),
    }
}

async fn change(tail: &mut Tail) -> (TailCursor, RunChange) {
    match tail.next().await.unwrap().unwrap() {
        TailItem { cursor, event: TailEvent::Change(change) } => (cursor, (*change).clone()),
        item => panic!("{item:?}"),
    }
}

fn steps(change: &RunChange) -> Vec<i64> {
    change.points.iter().map(|point| point.step).collect()
}

#[tokio::test]
async fn what_is_written_is_told_whole_and_in_order_until_the_run_ends() {
    let (live, run) = live(never()).await;
    live.log_params(&run, &[pair("lr", "1")]).await.unwrap();
    let mut tail = live.tail(&run, None).await.unwrap();
    assert_eq!(state(&mut tail).await.params["lr"], "1");
    live.log_batch(&run, &points(0..700)).await.unwrap();
    live.set_run_tags(&run, &[pair("a", "1")]).await.unwrap();
    live.log_batch(&run, &points(700..701)).await.unwrap();
    live.delete_run_tag(&run, "a").await.unwrap();
    live.log_params(&run, &[pair("lr", "2")]).await.unwrap_err();
    live.update_run(&run, RunUpdate { name: Some("n".into()), ..status(RunStatus::Failed) }).await.unwrap();

    let (_, first) = change(&mut tail).await;
    assert!(steps(&first) == (0..700).collect::<Vec<_>>() && !first.only_latest);
    assert_eq!(change(&mut tail).await.1.tags, [pair("a", "1")]);
    assert_eq!(steps(&change(&mut tail).await.1), [700]);
    assert_eq!(change(&mut tail).await.1.removed_tags, ["a"]);
    let (_, last) = change(&mut tail).await;
    assert_eq!((last.status, last.tags), (Some(RunStatus::Failed), vec![pair(RUN_NAME_TAG, "n")]));
    assert!(tail.is_over() && tail.next().await.unwrap().is_none());
    let mut late = live.tail(&run, None).await.unwrap();
    assert_eq!(state(&mut late).await.status, RunStatus::Failed);
    assert!(late.next().await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_appended_to_a_tag_is_told() {
    let (live, run) = live(never()).await;
    let mut tail = live.tail(&run, None).await.unwrap();
    state(&mut tail).await;
    for (item, list) in [(1, "[1]"), (2, "[1,2]")] {
        live.append_run_tag(&run, "list", &item.into()).await.unwrap();
        assert_eq!(change(&mut tail).await.1, RunChange { tags: vec![pair("list", list)], ..RunChange::default() });
    }
}

#[tokio::test]
async fn what_others_write_is_found_by_reading() {
    let (live, run) = live(often()).await;
    let other = Arc::clone(&live.shared.store);
    let mut tail = live.tail(&run, None).await.unwrap();
    state(&mut tail).await;
    let batch = Batch { params: vec![pair("lr", "1")], tags: vec![pair("a", "1")], ..points(0..5) };
    other.log_batch(&run, &batch).await.unwrap();
    let (_, found) = change(&mut tail).await;
    assert!(found.only_latest && steps(&found) == [4], "{found:?}");
    assert_eq!((found.params, found.tags), (vec![pair("lr", "1")], vec![pair("a", "1")]));
    // What went through the store is not found again.
    live.log_batch(&run, &points(5..6)).await.unwrap();
    other.delete_run_tag(&run, "a").await.unwrap();
    let (_, told) = change(&mut tail).await;
    assert_eq!((steps(&told), told.only_latest), (vec![5], false));
    let (_, found) = change(&mut tail).await;
    assert_eq!(found, RunChange { only_latest: true, removed_tags: vec!["a".into()], ..RunChange::default() });
    other.delete_run(&run).await.unwrap();
    assert!(change(&mut tail).await.1.deleted);
    assert!(tail.next().await.unwrap().is_none());
}

#[tokio::test]
async fn long_values_are_told_as_they_are_kept_and_once() {
    let (live, run) = live(often()).await;
    let other = Arc::clone(&live.shared.store);
    let mut tail = live.tail(&run, None).await.unwrap();
    state(&mut tail).await;
    let long = "\u{e9}".repeat(RUN_TAG_VALUE_MAX + 1);
    let batch = Batch { params: vec![pair("p", &long)], tags: vec![pair("t", &long)], ..Batch::default() };
    live.log_batch(&run, &batch).await.unwrap();
    live.update_run(&run, RunUpdate { name: Some(long.clone()), ..RunUpdate::default() }).await.unwrap();
    other.set_run_tags(&run, &[pair("b", "1")]).await.unwrap();
    let (_, told) = change(&mut tail).await;
    let kept = other.run(&run).await.unwrap();
    assert_eq!(kept.params["p"].chars().count(), PARAM_VALUE_MAX);
    assert_eq!(told.params, [pair("p", &kept.params["p"])]);
    assert_eq!(told.tags, [pair("t", &kept.tags["t"])]);
    assert_eq!(change(&mut tail).await.1.tags, [pair(RUN_NAME_TAG, &kept.tags[RUN_NAME_TAG])]);
    let (_, found) = change(&mut tail).await;
    assert_eq!((found.params, found.tags), (vec![], vec![pair("b", "1")]));
}

#[tokio::test]
async fn who_is_slow_is_told_how_the_run_stands() {
    for settings in [TailSettings { changes_max: 3, ..never() }, TailSettings { bytes_max: 900, ..never() }] {
        let (live, run) = live(settings).await;
        let mut tail = live.tail(&run, None).await.unwrap();
        state(&mut tail).await;
        for step in 0..50 {
            live.log_batch(&run, &points([step])).await.unwrap();
        }
        assert_eq!(state(&mut tail).await.metrics["loss"].step, 49);
        live.log_batch(&run, &points([50])).await.unwrap();
        assert_eq!(steps(&change(&mut tail).await.1), [50]);
    }
}

#[tokio::test]
async fn who_comes_back_goes_on_behind_the_cursor() {
    let (live, run) = live(TailSettings { changes_max: 3, ..never() }).await;
    let mut tail = live.tail(&run, None).await.unwrap();
    state(&mut tail).await;
    live.log_batch(&run, &points([0])).await.unwrap();
    let (cursor, _) = change(&mut tail).await;
    drop(tail);
    live.log_batch(&run, &points([1])).await.unwrap();
    live.log_batch(&run, &points([2])).await.unwrap();
    let cursor: TailCursor = cursor.to_string().parse().unwrap();
    let mut tail = live.tail(&run, Some(cursor)).await.unwrap();
    assert_eq!(steps(&change(&mut tail).await.1), [1]);
    assert_eq!(steps(&change(&mut tail).await.1), [2]);
    live.log_batch(&run, &points([3])).await.unwrap();
    live.update_run(&run, status(RunStatus::Finished)).await.unwrap();
    // Too far behind, of another process, of the future.
    for cursor in [cursor, TailCursor { epoch: 0, ..cursor }, TailCursor { number: 1 << 40, ..cursor }] {
        assert_eq!(state(&mut live.tail(&run, Some(cursor)).await.unwrap()).await.status, RunStatus::Finished);
    }
    assert_eq!(steps(&change(&mut tail).await.1), [3]);
    let (end, _) = change(&mut tail).await;
    let back = live.tail(&run, Some(end)).await.unwrap();
    assert!(back.is_over(), "nothing is left to tell");
    live.update_run(&run, status(RunStatus::Running)).await.unwrap();
    let mut back = live.tail(&run, Some(end)).await.unwrap();
    assert_eq!(change(&mut back).await.1.status, Some(RunStatus::Running), "the run goes on");
    for bad in ["", "x", "1", "-", "1-", "zz-1", "1--1"] {
        assert_eq!(bad.parse::<TailCursor>().unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[tokio::test]
async fn watchers_and_watched_runs_are_bounded() {
    let (live, run) = live(TailSettings { watchers_max: 2, runs_max: 1, ..never() }).await;
    let other = live.create_run(CreateRun::new(ExperimentId(0))).await.unwrap().id;
    let unknown = RunId::new("f".repeat(32)).unwrap();
    assert_eq!(live.tail(&unknown, None).await.unwrap_err().kind(), ErrorKind::NotFound);
    let first = live.tail(&run, None).await.unwrap();
    assert_eq!(live.tail(&other, None).await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
    let second = live.tail(&run, None).await.unwrap();
    assert_eq!(live.tail(&run, None).await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
    drop((first, second));
    let mut tail = live.tail(&other, None).await.unwrap();
    state(&mut tail).await;
    live.close();
    assert!(tail.next().await.unwrap().is_none(), "closed");
    let bad = TailSettings { poll_ms: 0, runs_max: 0, ..TailSettings::default() }.check().unwrap_err();
    assert!(bad.message().contains("runs_max, poll_ms"), "{bad}");
}

#[tokio::test]
async fn a_reading_that_was_overtaken_takes_nothing_back() {
    let (live, run) = live(never()).await;
    let (settings, numbers) = (never(), AtomicU64::new(0));
    let feed = Feed::new(0);
    let before = live.run(&run).await.unwrap();
    feed.compare(0, before.clone(), &numbers, &settings);
    feed.push(RunChange { tags: vec![pair("a", "1")], ..RunChange::default() }, &numbers, &settings);
    // It began before the tag was set, and has a param that another process wrote.
    let mut reading = before.clone();
    reading.params.insert("lr".into(), "1".into());
    feed.compare(0, reading, &numbers, &settings);
    let feed::Next::Change(second, change) = feed.next(1) else { panic!("nothing was found") };
    assert_eq!((second, &change.params, change.removed_tags.len()), (2, &vec![pair("lr", "1")], 0));
    assert!(matches!(feed.next(2), feed::Next::Wait));
}

//! The labelling queue over a real database: leases, disagreements, and what survives.

use std::{sync::Arc, time::Duration};

use mlops_core::{ErrorKind, Timestamp, testing::ManualClock};
use mlops_store::{MetaStore, SqliteMetaStore, SqliteSettings};
use mlops_train::active::queue::{LabelQueue, LabelStudio, LabelTask, QueueSettings, Submission, TaskState};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(60);

struct Setup {
    queue: LabelQueue,
    clock: Arc<ManualClock>,
}

async fn over(meta: Arc<dyn MetaStore>, labelers: u32, agreement: f64) -> Setup {
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_000_000)));
    let settings = QueueSettings { labelers_per_task: labelers, agreement_min: agreement, lease: LEASE };
    let queue = LabelQueue::open(meta, "churn", Arc::clone(&clock) as _, settings).await.unwrap();
    Setup { queue, clock }
}

async fn setup(labelers: u32, agreement: f64) -> Setup {
    over(Arc::new(SqliteMetaStore::in_memory().await.unwrap()), labelers, agreement).await
}

fn tasks(count: u32) -> Vec<LabelTask> {
    let task =
        |row: u32| LabelTask { priority: f64::from(row), ..LabelTask::new(format!("row-{row}"), json!({ "x": row })) };
    (0..count).map(task).collect()
}

async fn ids(queue: &LabelQueue, labeler: &str, count: usize) -> Vec<String> {
    queue.assign(labeler, count).await.unwrap().into_iter().map(|work| work.task.id).collect()
}

#[tokio::test]
async fn work_is_handed_out_once_and_by_priority() {
    let Setup { queue, .. } = setup(1, 1.0).await;
    assert_eq!(queue.add(&tasks(4)).await.unwrap(), 4);
    assert_eq!(queue.add(&tasks(5)).await.unwrap(), 1);
    assert_eq!(ids(&queue, "ann", 2).await, ["row-4", "row-3"]);
    assert_eq!(ids(&queue, "bob", 2).await, ["row-2", "row-1"]);
    // Asking again gives what is held first.
    assert_eq!(ids(&queue, "ann", 3).await, ["row-4", "row-3", "row-0"]);
    assert!(ids(&queue, "bob", 5).await.len() == 2);
    assert_eq!(queue.submit("ann", "row-4", "yes").await.unwrap(), TaskState::Labeled);
    // The answer was lost; the same label again is no error, another one is.
    assert_eq!(queue.submit("ann", "row-4", "yes").await.unwrap(), TaskState::Labeled);
    assert_eq!(queue.submit("ann", "row-4", "no").await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    assert_eq!(queue.submit("bob", "row-9", "no").await.unwrap_err().kind(), ErrorKind::NotFound);
    queue.release("bob", "row-2").await.unwrap();
    assert!(ids(&queue, "cas", 5).await.contains(&"row-2".to_owned()));
    let progress = queue.progress().await.unwrap();
    assert_eq!((progress.open, progress.disputed, progress.labeled), (4, 0, 1));
}

#[tokio::test]
async fn ended_leases_free_the_place_and_late_labels_are_told() {
    let Setup { queue, clock } = setup(1, 1.0).await;
    queue.add(&tasks(1)).await.unwrap();
    assert_eq!(ids(&queue, "ann", 1).await, ["row-0"]);
    clock.advance(LEASE / 2);
    assert_eq!(queue.renew("ann", "row-0").await.unwrap(), Timestamp::from_micros(1_000_000) + LEASE / 2 + LEASE);
    clock.advance(LEASE * 2);
    assert_eq!(queue.renew("ann", "row-0").await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    // Late, but nobody else has it: the work counts.
    let other = setup(1, 1.0).await;
    other.queue.add(&tasks(1)).await.unwrap();
    ids(&other.queue, "ann", 1).await;
    other.clock.advance(LEASE * 2);
    assert_eq!(other.queue.submit("ann", "row-0", "yes").await.unwrap(), TaskState::Labeled);
    // Given away: the late one learns so, the new one's label counts.
    assert_eq!(ids(&queue, "bob", 1).await, ["row-0"]);
    let late = queue.submit("ann", "row-0", "no").await.unwrap_err();
    assert!(late.kind() == ErrorKind::FailedPrecondition && late.message().contains("went to another"), "{late}");
    assert_eq!(queue.submit("bob", "row-0", "yes").await.unwrap(), TaskState::Labeled);
}

#[tokio::test]
async fn disagreement_is_settled_by_somebody_else() {
    let Setup { queue, .. } = setup(3, 0.6).await;
    queue.add(&tasks(2)).await.unwrap();
    for labeler in ["ann", "bob", "cas"] {
        assert_eq!(ids(&queue, labeler, 5).await.len(), 2);
    }
    assert!(ids(&queue, "dee", 5).await.is_empty());
    // Two of three agree.
    assert_eq!(queue.submit("ann", "row-0", "yes").await.unwrap(), TaskState::Open);
    assert_eq!(queue.submit("ann", "row-0", "no").await.unwrap(), TaskState::Open);
    assert_eq!(queue.submit("bob", "row-0", "yes").await.unwrap(), TaskState::Open);
    assert_eq!(queue.submit("cas", "row-0", "yes").await.unwrap(), TaskState::Labeled);
    for (labeler, label, state) in
        [("ann", "a", TaskState::Open), ("bob", "b", TaskState::Open), ("cas", "c", TaskState::Disputed)]
    {
        assert_eq!(queue.submit(labeler, "row-1", label).await.unwrap(), state);
    }
    let disputed = queue.records(TaskState::Disputed, None, 10).await.unwrap();
    let said: Vec<&str> = disputed[0].submissions.iter().map(|said| said.label.as_str()).collect();
    assert_eq!((disputed.len(), said), (1, vec!["a", "b", "c"]));
    assert_eq!(queue.adjudicate("bob", "row-1", "b").await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    queue.adjudicate("eve", "row-1", "b").await.unwrap();
    assert_eq!(queue.adjudicate("eve", "row-1", "a").await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    let labeled = queue.records(TaskState::Labeled, None, 10).await.unwrap();
    let labels: Vec<_> = labeled.iter().map(|task| (task.label.as_deref(), task.settled_by.as_deref())).collect();
    assert_eq!(labels, [(Some("yes"), None), (Some("b"), Some("eve"))]);
    assert_eq!(queue.records(TaskState::Labeled, Some("row-0"), 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_labelers_never_exceed_the_places() {
    let Setup { queue, .. } = setup(2, 0.9).await;
    queue.add(&tasks(40)).await.unwrap();
    let work = (0..8).map(|labeler| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let name = format!("labeler-{labeler}");
            for _ in 0..20 {
                for work in queue.assign(&name, 3).await.unwrap() {
                    queue.submit(&name, &work.task.id, "same").await.unwrap();
                }
            }
        })
    });
    for worker in work.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let done = queue.records(TaskState::Labeled, None, 100).await.unwrap();
    assert_eq!(done.len(), 40);
    for task in done {
        let mut labelers: Vec<_> = task.submissions.into_iter().map(|said| said.labeler).collect();
        labelers.sort();
        labelers.dedup();
        assert_eq!(labelers.len(), 2, "{labelers:?}");
    }
}

#[tokio::test]
async fn labels_survive_and_travel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.db");
    let open = || async { Arc::new(SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap()) };
    {
        let meta = open().await;
        let Setup { queue, .. } = over(Arc::clone(&meta) as _, 1, 1.0).await;
        queue.add(&tasks(3)).await.unwrap();
        ids(&queue, "ann", 1).await;
        queue.submit("ann", "row-2", "yes").await.unwrap();
        meta.close().await;
    }
    let Setup { queue, .. } = over(open().await, 1, 1.0).await;
    let labeled = queue.records(TaskState::Labeled, None, 10).await.unwrap();
    assert_eq!((labeled.len(), labeled[0].task.id.as_str()), (1, "row-2"));
    // Out to Label Studio and into another queue, labels and all; twice, which changes nothing.
    let studio = LabelStudio { from_name: "label".to_owned(), to_name: "x".to_owned() };
    let mut all = labeled;
    all.extend(queue.records(TaskState::Open, None, 10).await.unwrap());
    let text = studio.export(&all).to_string();
    let other = setup(1, 1.0).await.queue;
    for _ in 0..2 {
        for read in studio.import(&text).unwrap() {
            other.add(std::slice::from_ref(&read.task)).await.unwrap();
            for said in &read.submissions {
                assert_eq!(other.record(&read.task.id, said).await.unwrap(), TaskState::Labeled);
            }
        }
    }
    let progress = other.progress().await.unwrap();
    assert_eq!((progress.open, progress.labeled), (2, 1));
    assert_eq!(other.records(TaskState::Labeled, None, 9).await.unwrap(), all[..1]);
}

#[tokio::test]
async fn senseless_requests_are_refused() {
    let Setup { queue, clock } = setup(1, 1.0).await;
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    for settings in [
        QueueSettings { labelers_per_task: 0, ..QueueSettings::default() },
        QueueSettings { agreement_min: 0.5, ..QueueSettings::default() },
        QueueSettings { lease: Duration::ZERO, ..QueueSettings::default() },
    ] {
        assert!(LabelQueue::open(Arc::clone(&meta) as _, "q", Arc::clone(&clock) as _, settings).await.is_err());
    }
    assert!(queue.add(&[LabelTask::new("", json!({}))]).await.is_err());
    assert!(queue.add(&[LabelTask { priority: f64::NAN, ..LabelTask::new("a", json!({})) }]).await.is_err());
    assert!(queue.assign("ann", usize::MAX).await.is_err() && queue.assign("", 1).await.is_err());
    queue.add(&tasks(1)).await.unwrap();
    let said = Submission { labeler: "ann".into(), label: String::new(), at: Timestamp::from_micros(0) };
    assert!(queue.record("row-0", &said).await.is_err());
    assert_eq!(queue.submit("ann", "row-0", "yes").await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
}

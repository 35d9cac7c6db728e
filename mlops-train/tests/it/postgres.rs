//! Studies and the labelling queue in PostgreSQL, where the environment names a server: workers in several processes,
//! some of which are killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mlops_core::{
    Clock as _, SystemClock,
    testing::{ManualClock, SplitMix64, acknowledge, run_and_kill},
};
use mlops_store::{MetaStore, MetaStoreExt as _, PostgresMetaStore};
use mlops_train::{
    Direction, SearchSpace, Study, Trial, TrialState,
    active::queue::{LabelQueue, LabelTask, QueueSettings},
    search::{Outcome, SharedSettings, SharedStudy},
};
use serde_json::json;

const URL: &str = "MLOPS_TRAIN_POSTGRES_SCHEMA";
const WORKERS: u64 = 4;
const ROUNDS: u64 = 3;

/// A schema of its own in the database that `MLOPS_TEST_POSTGRES` names.
#[allow(clippy::disallowed_methods, reason = "the environment names the server")]
async fn schema(name: &str) -> Option<String> {
    let Ok(url) = std::env::var("MLOPS_TEST_POSTGRES") else {
        println!("skipped: MLOPS_TEST_POSTGRES names no server");
        return None;
    };
    let schema = format!("train_{name}_{}", std::process::id());
    let admin = PostgresMetaStore::connect(&url, 1).await.unwrap();
    admin.execute(&format!("CREATE SCHEMA {schema}"), &[]).await.unwrap();
    let join = if url.contains('?') { '&' } else { '?' };
    Some(format!("{url}{join}options=-csearch_path%3D{schema}"))
}

async fn store(url: &str) -> Arc<dyn MetaStore> {
    Arc::new(PostgresMetaStore::connect(url, 2).await.unwrap())
}

async fn worker(url: &str, clock: Arc<dyn mlops_core::Clock>) -> SharedStudy {
    let space = SearchSpace::new().with_float("x", -5.0, 5.0).with_int("n", 1, 9);
    let study = Study::builder(space, Direction::Minimize).with_name("shared").with_seed(4).build().unwrap();
    let name = format!("process {}", std::process::id());
    let settings = SharedSettings { lease_ms: 600_000, retries_max: 5 };
    SharedStudy::open(store(url).await, clock, study, name, settings).await.unwrap()
}

fn value(trial: &Trial) -> f64 {
    (trial.params.number("x").unwrap() - 1.0).powi(2) + trial.params.number("n").unwrap()
}

async fn work(worker: &mut SharedStudy) -> usize {
    let trial = worker.ask().await.unwrap();
    worker.report(trial.number, 1, 2.0).await.unwrap();
    worker.tell(trial.number, Outcome::Complete { values: vec![value(&trial)], constraints: vec![] }).await.unwrap();
    trial.number
}

/// The child: works until it is killed. Does nothing when run as a test.
#[test]
#[allow(clippy::disallowed_methods, reason = "a parent tells its child where to work")]
fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut worker = worker(&url, Arc::new(SystemClock::new())).await;
        loop {
            acknowledge(work(&mut worker).await as u64);
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn postgres_studies_outlive_their_workers_and_lose_no_trial() {
    let Some(url) = schema("study").await else { return };
    let workers = (0..WORKERS).map(|worker| {
        let url = url.clone();
        tokio::task::spawn_blocking(move || {
            let random = SplitMix64::new(worker);
            let round = |round| {
                let acks = 5 + usize::try_from(random.bits(round) % 12).unwrap();
                run_and_kill("postgres::child", &[(URL, &url)], acks, random.bits(round + 50) % 20_000).unwrap()
            };
            (0..ROUNDS).map(round).collect::<Vec<u64>>()
        })
    });
    let mut acknowledged = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        acknowledged.extend(worker.await.unwrap());
    }
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let mut last = worker(&url, Arc::clone(&clock) as _).await;
    let trials = last.study().trials().to_vec();
    assert!(trials.iter().enumerate().all(|(at, trial)| trial.number == at), "numbers have no gaps");
    for number in &acknowledged {
        assert_eq!(trials[*number as usize].state, TrialState::Complete, "what was acknowledged is there");
    }
    assert_eq!(acknowledged.iter().collect::<BTreeSet<_>>().len(), acknowledged.len(), "no trial was given out twice");
    let complete = trials.iter().filter(|trial| trial.state == TrialState::Complete);
    assert!(complete.clone().all(|trial| trial.value() == Some(value(trial)) && trial.reports.len() == 1));
    assert!((WORKERS * ROUNDS * 5) as usize <= complete.count());
    let running: Vec<&Trial> = trials.iter().filter(|trial| trial.state == TrialState::Running).collect();
    assert!(running.len() as u64 <= WORKERS * ROUNDS, "{} running", running.len());

    // Leases of the dead run out: each set of parameters is tried again once, in order.
    clock.advance(Duration::from_secs(3_600));
    for dead in running {
        let again = last.ask().await.unwrap();
        assert_eq!(again.params, dead.params);
        assert_eq!(last.study().trials()[dead.number].state, TrialState::Failed);
        last.tell(again.number, Outcome::Complete { values: vec![value(&again)], constraints: vec![] }).await.unwrap();
    }
    work(&mut last).await;
    assert!(last.study().trials().iter().all(|trial| trial.state.is_ended()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_workers_that_race_all_get_on() {
    let Some(url) = schema("race").await else { return };
    let workers = (0..6).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            let mut worker = worker(&url, Arc::new(SystemClock::new())).await;
            let mut numbers = Vec::new();
            for _ in 0..15 {
                numbers.push(work(&mut worker).await);
            }
            numbers
        })
    });
    let mut numbers = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        numbers.extend(worker.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..90).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_queues_hand_out_each_task_as_often_as_asked() {
    let Some(url) = schema("queue").await else { return };
    let settings = QueueSettings { labelers_per_task: 2, ..QueueSettings::default() };
    let queue = async |url: &str| {
        LabelQueue::open(store(url).await, "churn", Arc::new(SystemClock::new()), settings).await.unwrap()
    };
    let first = queue(&url).await;
    let tasks: Vec<LabelTask> = (0..40).map(|row| LabelTask::new(format!("row-{row}"), json!({ "x": row }))).collect();
    assert_eq!(first.add(&tasks).await.unwrap(), 40);
    let labelers = (0..5).map(|labeler| {
        let url = url.clone();
        tokio::spawn(async move {
            let queue =
                LabelQueue::open(store(&url).await, "churn", Arc::new(SystemClock::new()), settings).await.unwrap();
            let name = format!("labeler-{labeler}");
            let mut done = Vec::new();
            loop {
                let work = queue.assign(&name, 3).await.unwrap();
                if work.is_empty() {
                    return done;
                }
                for assignment in work {
                    queue.submit(&name, &assignment.task.id, "yes").await.unwrap();
                    done.push(assignment.task.id);
                }
            }
        })
    });
    let mut labels: BTreeMap<String, usize> = BTreeMap::new();
    for labeler in labelers.collect::<Vec<_>>() {
        labeler.await.unwrap().into_iter().for_each(|task| *labels.entry(task).or_default() += 1);
    }
    assert_eq!(labels.len(), 40);
    assert!(labels.values().all(|&count| count == 2), "{labels:?}");
    assert_eq!(first.progress().await.unwrap().labeled, 40);
}

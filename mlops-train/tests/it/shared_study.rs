//! Studies that several workers share, in one process and in several, one of which is killed.

use std::{path::Path, sync::Arc, task::Poll, time::Duration};

use mlops_core::{
    Clock, ErrorKind, SystemClock, Timestamp,
    testing::{ManualClock, SplitMix64, acknowledge, run_and_kill},
};
use mlops_store::{MetaStore, MetaStoreExt, SqliteMetaStore, SqliteSettings};
use mlops_train::{
    Direction, SamplerSettings, SearchSpace, Study, TrialState,
    search::{Outcome, SharedSettings, SharedStudy, export_optuna, import_optuna},
};

const HOME: &str = "MLOPS_TRAIN_SHARED_STUDY_HOME";

fn study() -> Study {
    let space = SearchSpace::new().with_float("x", -5.0, 5.0).with_categorical("c", ["a", "b"]);
    Study::builder(space, Direction::Minimize).with_name("shared").with_seed(4).build().unwrap()
}

fn value(trial: &mlops_train::Trial) -> Outcome {
    let x = trial.params.number("x").unwrap();
    Outcome::Complete { values: vec![(x - 1.0).powi(2)], constraints: vec![] }
}

async fn worker(store: &Arc<SqliteMetaStore>, clock: &Arc<ManualClock>, name: &str) -> SharedStudy {
    let (store, clock) = (Arc::clone(store) as Arc<dyn MetaStore>, Arc::clone(clock) as Arc<dyn Clock>);
    let settings = SharedSettings { lease_ms: 1_000, retries_max: 1 };
    SharedStudy::open(store, clock, study(), name, settings).await.unwrap()
}

#[tokio::test]
async fn workers_share_trials_and_propose_what_one_study_proposes() {
    let store = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
    let (mut one, mut two) = (worker(&store, &clock, "one").await, worker(&store, &clock, "two").await);
    let mut alone = study();
    for round in 0..25 {
        let (first, second) = (one.ask().await.unwrap(), two.ask().await.unwrap());
        assert_eq!((first.number, second.number), (2 * round, 2 * round + 1));
        assert_eq!(alone.ask().unwrap().params, first.params, "round {round}");
        assert_eq!(alone.ask().unwrap().params, second.params, "round {round}");
        assert!(!two.report(second.number, 3, 0.5).await.unwrap());
        alone.report(second.number, 3, 0.5).unwrap();
        two.set_user_attribute(second.number, "round", round).await.unwrap();
        alone.set_user_attribute(second.number, "round", round).unwrap();
        for trial in [&second, &first] {
            one.tell(trial.number, value(trial)).await.unwrap();
            alone.tell_outcome(trial.number, value(trial)).unwrap();
        }
    }
    two.refresh().await.unwrap();
    one.refresh().await.unwrap();
    assert_eq!(two.study(), &alone);
    assert_eq!(one.study(), &alone);
    let error = two.tell(0, Outcome::Failed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    two.refresh().await.unwrap();
    assert_eq!(two.study(), &alone, "after an error it is read anew");
}

#[tokio::test]
async fn an_operation_that_is_dropped_halfway_leaves_the_study_whole() {
    for polls in 1..25 {
        let store = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
        let mut one = worker(&store, &clock, "one").await;
        one.ask().await.unwrap();
        {
            let mut asking = std::pin::pin!(one.ask());
            for _ in 0..polls {
                if std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx).is_ready())).await {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let next = one.ask().await.unwrap();
        one.tell(next.number, value(&next)).await.unwrap();
        let late = worker(&store, &clock, "late").await;
        assert_eq!(late.study(), one.study(), "dropped after {polls} polls");
        assert!(one.study().trials().iter().enumerate().all(|(at, trial)| trial.number == at));

        let refused = one.tell(next.number, Outcome::Failed).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(late.study(), one.study(), "a refusal takes nothing away");
    }
}

#[tokio::test]
async fn trials_of_the_dead_are_tried_again_as_often_as_allowed() {
    let store = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
    let (mut dead, mut alive) = (worker(&store, &clock, "dead").await, worker(&store, &clock, "alive").await);
    let (lost, kept) = (dead.ask().await.unwrap(), alive.ask().await.unwrap());
    clock.advance(Duration::from_millis(900));
    assert_eq!(alive.heartbeat().await.unwrap(), 1);
    clock.advance(Duration::from_millis(900));
    let again = alive.ask().await.unwrap();
    assert_eq!((again.number, &again.params), (2, &lost.params));
    assert_eq!(alive.study().trials()[lost.number].state, TrialState::Failed);
    alive.tell(kept.number, value(&kept)).await.unwrap();
    assert_eq!(dead.tell(lost.number, value(&lost)).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    clock.advance(Duration::from_millis(1_100));
    let fresh = alive.ask().await.unwrap();
    assert_eq!(alive.study().trials()[again.number].state, TrialState::Failed, "retried once, not twice");
    assert_ne!(fresh.params, lost.params);
}

#[tokio::test]
async fn another_study_of_the_same_name_is_refused() {
    let store = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
    worker(&store, &clock, "one").await;
    let other = Study::builder(SearchSpace::new().with_float("x", 0.0, 1.0), Direction::Minimize)
        .with_name("shared")
        .build()
        .unwrap();
    let error = SharedStudy::open(store, clock, other, "two", SharedSettings::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
}

async fn open(home: &Path) -> SharedStudy {
    let store = SqliteMetaStore::open(&home.join("study.db"), SqliteSettings::default()).await.unwrap();
    let clock = Arc::new(SystemClock::new());
    let settings = SharedSettings { lease_ms: 1, retries_max: 5 };
    SharedStudy::open(Arc::new(store), clock, study(), "worker", settings).await.unwrap()
}

/// The child: asks, reports and tells until it is killed. Does nothing when run as a test.
#[test]
#[allow(clippy::disallowed_methods, reason = "a parent tells its child where to work")]
fn child() {
    let Ok(home) = std::env::var(HOME) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut worker = open(Path::new(&home)).await;
        loop {
            let trial = worker.ask().await.unwrap();
            worker.report(trial.number, 1, 2.0).await.unwrap();
            worker.tell(trial.number, value(&trial)).await.unwrap();
            acknowledge(trial.number as u64);
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_study_outlives_its_workers() {
    let home = tempfile::tempdir().unwrap();
    let random = SplitMix64::new(20_261_126);
    for round in 0..4 {
        let acks = 1 + usize::try_from(random.bits(round) % 12).unwrap();
        let envs = [(HOME, home.path().to_str().unwrap())];
        let last = run_and_kill("shared_study::child", &envs, acks, random.bits(round + 50) % 20_000).unwrap();
        let shared = open(home.path()).await;
        let trials = shared.study().trials();
        assert!(trials.iter().enumerate().all(|(number, trial)| trial.number == number));
        assert_eq!(trials[last as usize].state, TrialState::Complete, "what was acknowledged is there");
        let running = trials.iter().filter(|trial| trial.state == TrialState::Running).count();
        assert!(running <= 1, "round {round}: {running} running");
    }
    let mut shared = open(home.path()).await;
    std::thread::sleep(Duration::from_millis(5));
    let open = shared.study().trials().iter().find(|trial| trial.state == TrialState::Running).cloned();
    let next = shared.ask().await.unwrap();
    if let Some(open) = open {
        assert_eq!(next.params, open.params, "the last one's parameters are tried again");
    }
}

#[tokio::test]
async fn a_study_goes_to_optuna_and_back() {
    let space = SearchSpace::new()
        .with_categorical("kernel", ["linear", "rbf"])
        .with_log_float("gamma", 1e-3, 1.0)
        .with_condition("gamma", "kernel", ["rbf"])
        .with_stepped_float("s", 0.0, 1.0, 0.25)
        .with_log_int("k", 1, 64);
    let mut study = Study::builder(space, Direction::Maximize).with_name("there and back").build().unwrap();
    for number in 0..30 {
        let trial = study.ask().unwrap();
        study.report(number, 1, number as f64 / 3.0).unwrap();
        study.set_user_attribute(number, "größe", serde_json::json!({"trees": number, "of": [1.5, null]})).unwrap();
        match number % 5 {
            3 => study.prune(number).unwrap(),
            4 => study.fail(number).unwrap(),
            _ => {
                let values = vec![trial.params.number("s").unwrap() + number as f64 / 7.0];
                study.tell_outcome(number, Outcome::Complete { values, constraints: vec![-0.5, 0.1] }).unwrap();
            }
        }
    }
    let store = SqliteMetaStore::in_memory().await.unwrap();
    export_optuna(&study, &store, Timestamp::from_micros(1_700_000_000_123_456)).await.unwrap();
    assert!(export_optuna(&study, &store, Timestamp::from_micros(0)).await.is_err(), "one study of a name");
    let back = import_optuna(&store, "there and back", SamplerSettings::default(), 0).await.unwrap();
    assert_eq!(back.space(), study.space());
    assert_eq!(back.trials(), study.trials());
    let error = import_optuna(&store, "absent", SamplerSettings::default(), 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    // As versions before 3.0 keep infinities.
    let of = |number: i64| format!("(SELECT trial_id FROM trials WHERE number = {number})");
    store.execute(&format!("UPDATE trial_values SET value = 9e999 WHERE trial_id = {}", of(0)), &[]).await.unwrap();
    let sql = format!("UPDATE trial_intermediate_values SET intermediate_value = -9e999 WHERE trial_id = {}", of(1));
    store.execute(&sql, &[]).await.unwrap();
    let back = import_optuna(&store, "there and back", SamplerSettings::default(), 0).await.unwrap();
    assert_eq!((back.trials()[0].state, back.trials()[1].state), (TrialState::Failed, TrialState::Complete));
    assert!(back.trials()[1].reports.is_empty() && !study.trials()[1].reports.is_empty());
    assert_eq!(back.trials()[2..], study.trials()[2..]);
}

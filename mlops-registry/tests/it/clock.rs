//! A clock that is set back, again and again: nothing is lost, nothing ends before it began, pages go on, orders that are
//! promised hold, and nobody waits for the time that was.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use mlops_core::{
    Alias, AuditEntry, Clock, ErrorKind, Metric, ModelName, Principal, Result, RunLogger as _, RunStatus, Timestamp,
    Version,
    testing::{ManualClock, SplitMix64},
};
use mlops_registry::{
    Actor, ApprovalTarget, Approvals as _, ArtifactStore, CollectGarbage, CreateExperiment, CreateModel, CreateRun,
    CreateVersion, Decide, Decision, ExperimentId, GarbageCollector as _, ModelRegistry as _, MoveAlias, PageRequest,
    RequestApproval, Search, SqlModelRegistry, SqlTrackingStore, Tracker, TrackingStore as _,
    tracking::offline::{OfflineLogger, OfflineSettings},
};
use mlops_store::{BlobStore, MetaStore, MetaStoreExt as _, Transaction, TransactionalAudit, params};

use crate::{in_memory, package};

const DAY: Duration = Duration::from_secs(86_400);

fn start() -> Timestamp {
    "2026-03-29T12:00:00Z".parse().unwrap()
}

/// A clock that is set to any time of a day whenever [`Unsteady::jump`] says so.
struct Unsteady {
    clock: Arc<ManualClock>,
    random: SplitMix64,
    jumps: Mutex<u64>,
}

impl Unsteady {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::at(start()));
        Self { clock, random: SplitMix64::new(seed), jumps: Mutex::default() }
    }

    fn jump(&self) {
        let mut jumps = self.jumps.lock().unwrap();
        *jumps += 1;
        let seconds = self.random.bits(*jumps) % DAY.as_secs();
        self.clock.set(start() - Duration::from_secs(seconds));
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::<ManualClock>::clone(&self.clock)
    }
}

async fn tracking(meta: Arc<dyn MetaStore>, time: &Unsteady) -> SqlTrackingStore {
    SqlTrackingStore::builder(meta).with_clock(time.clock()).build().await.unwrap()
}

#[tokio::test]
async fn no_run_ends_before_it_began() {
    let time = Unsteady::new(1);
    let store = Arc::new(tracking(in_memory().await, &time).await);
    let tracker =
        Tracker::new(Arc::<SqlTrackingStore>::clone(&store), ArtifactStore::in_memory()).with_clock(time.clock());
    let directory = tempfile::tempdir().unwrap();
    let offline = OfflineLogger::open(directory.path().join("runs"), OfflineSettings::default()).await.unwrap();
    let offline = offline.with_clock(time.clock());
    for number in 0..20 {
        let run = tracker.start("e", &format!("a{number}")).await.unwrap();
        let buffered = offline.start("e", &format!("b{number}")).await.unwrap();
        time.jump();
        run.finish(RunStatus::Finished).await.unwrap();
        buffered.finish(RunStatus::Finished).await.unwrap();
        time.jump();
    }
    offline.replay(store.as_ref(), None).await.unwrap();
    let experiment = store.experiment_by_name("e").await.unwrap().unwrap().id;
    let runs = store.search_runs(&[experiment], &Search::new()).await.unwrap().items;
    assert_eq!(runs.len(), 40);
    for run in runs {
        assert!(run.started <= run.ended.unwrap(), "{}: {} to {:?}", run.name, run.started, run.ended);
    }
}

#[tokio::test]
async fn pages_of_runs_go_on_and_histories_are_whole() {
    let time = Unsteady::new(2);
    let store = tracking(in_memory().await, &time).await;
    let mut before = BTreeSet::new();
    for _ in 0..30 {
        time.jump();
        before.insert(store.create_run(CreateRun::new(ExperimentId(0))).await.unwrap().id);
    }
    let (mut found, mut search) = (Vec::new(), Search::new().with_max_results(4));
    loop {
        let page = store.search_runs(&[ExperimentId(0)], &search).await.unwrap();
        found.extend(page.items.into_iter().map(|run| run.id.clone()));
        search.page.token = page.next_page_token;
        if search.page.token.is_none() {
            break;
        }
        // Newer ones with earlier times come in between.
        time.jump();
        store.create_run(CreateRun::new(ExperimentId(0))).await.unwrap();
    }
    let seen: BTreeSet<_> = found.iter().cloned().collect();
    assert_eq!(seen.len(), found.len(), "none is repeated");
    assert!(before.is_subset(&seen), "none is skipped");

    let run = found.first().unwrap();
    for step in 0..50 {
        time.jump();
        let metric = Metric { key: "loss".into(), value: step as f64, timestamp: time.clock.now(), step };
        let batch = mlops_registry::Batch { metrics: vec![metric], ..Default::default() };
        store.log_batch(run, &batch).await.unwrap();
    }
    let history = store.metric_history(run, "loss", &PageRequest::default()).await.unwrap().items;
    let steps: BTreeSet<i64> = history.iter().map(|point| point.step).collect();
    assert_eq!((history.len(), steps.len()), (50, 50));
    assert_eq!(store.run(run).await.unwrap().metrics["loss"].step, 49, "the last step, whatever the clock said");
}

#[tokio::test]
async fn what_was_updated_last_is_never_said_to_be_older() {
    let time = Unsteady::new(3);
    let (meta, actor) = (in_memory().await, Actor::default());
    let store = tracking(Arc::clone(&meta), &time).await;
    let registry =
        SqlModelRegistry::builder(meta, BlobStore::in_memory()).with_clock(time.clock()).build().await.unwrap();
    let experiment = store.create_experiment("e", CreateExperiment::default()).await.unwrap();
    let fraud = ModelName::new("fraud").unwrap();
    registry.create_model(&fraud, CreateModel::default()).await.unwrap();
    registry.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap();
    let (mut experiment_last, mut model_last, mut version_last) = Default::default();
    for number in 0..30 {
        time.jump();
        let tags = [("k".to_owned(), number.to_string())];
        store.set_experiment_tags(experiment, &tags).await.unwrap();
        registry.describe_model(&fraud, &number.to_string(), &actor).await.unwrap();
        registry.describe_version(&fraud, Version(1), &number.to_string(), &actor).await.unwrap();
        let found = store.experiment(experiment).await.unwrap();
        let (model, version) =
            (registry.model(&fraud).await.unwrap(), registry.version(&fraud, Version(1)).await.unwrap());
        for (created, updated, last) in [
            (found.created, found.updated, &mut experiment_last),
            (model.created, model.updated, &mut model_last),
            (version.created, version.updated, &mut version_last),
        ] {
            assert!(created <= updated && *last <= updated, "{created} {last} {updated}");
            *last = updated;
        }
    }
}

/// Keeps the entries in the order in which they were committed.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<AuditEntry>>);

#[async_trait]
impl TransactionalAudit for Kept {
    async fn append_in(&self, _: &mut dyn Transaction, entry: &AuditEntry) -> Result<()> {
        self.0.lock().unwrap().push(entry.clone());
        Ok(())
    }
}

#[tokio::test]
async fn versions_moves_and_audit_rows_keep_the_order_in_which_they_happened() {
    let (time, audit) = (Unsteady::new(4), Arc::new(Kept::default()));
    let registry = SqlModelRegistry::builder(in_memory().await, BlobStore::in_memory())
        .with_clock(time.clock())
        .with_audit(Arc::<Kept>::clone(&audit))
        .build()
        .await
        .unwrap();
    let (fraud, champion) = (ModelName::new("fraud").unwrap(), Alias::new("champion").unwrap());
    registry.create_model(&fraud, CreateModel::default()).await.unwrap();
    for number in 1..=20 {
        time.jump();
        registry.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap();
        time.jump();
        registry.set_alias(&fraud, &champion, Version(number), MoveAlias::default()).await.unwrap();
    }
    let (mut request, mut moves, mut versions) =
        (PageRequest { max_results: Some(3), token: None }, Vec::new(), Vec::new());
    loop {
        let page = registry.alias_history(&fraud, &request).await.unwrap();
        moves.extend(page.items.into_iter().map(|moved| moved.to.unwrap().0));
        request.token = page.next_page_token;
        if request.token.is_none() {
            break;
        }
        time.jump();
    }
    let mut search = Search::new().with_order("last_updated_timestamp DESC").with_max_results(3);
    loop {
        let page = registry.search_versions(&search).await.unwrap();
        versions.extend(page.items.into_iter().map(|version| version.version.0));
        search.page.token = page.next_page_token;
        if search.page.token.is_none() {
            break;
        }
    }
    let all: Vec<u64> = (1..=20).collect();
    assert_eq!(moves, all);
    versions.sort_unstable();
    assert_eq!(versions, all, "each on one page");
    assert_eq!(audit.0.lock().unwrap().len(), 40);
}

#[tokio::test]
async fn nobody_decides_or_uses_an_approval_before_it_was_asked_for() {
    let time = Unsteady::new(5);
    let registry = SqlModelRegistry::builder(in_memory().await, BlobStore::in_memory())
        .with_clock(time.clock())
        .build()
        .await
        .unwrap();
    let fraud = ModelName::new("fraud").unwrap();
    registry.create_model(&fraud, CreateModel::default()).await.unwrap();
    registry.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap();
    let actor = |name: &str| Actor(Principal::new(name));
    let target = ApprovalTarget::Environment("production".into());
    let request = RequestApproval::new(target, actor("ann")).with_valid_for(2 * DAY);
    let asked = registry.request_approval(&fraud, Version(1), request).await.unwrap();
    time.clock.set(start() - DAY);
    let options = Decide { actor: actor("bob"), ..Decide::default() };
    let decided = registry.decide(asked.id, Decision::Approve, options).await.unwrap();
    let used = registry.use_approval(&fraud, Version(1), "production", &actor("ann")).await.unwrap();
    assert!(asked.requested <= decided.decided.unwrap() && decided.decided <= used.used);
    assert_eq!(asked.requested, decided.requested);
}

#[tokio::test]
async fn a_lease_of_a_time_that_was_ends_soon() {
    let time = Unsteady::new(6);
    let meta = in_memory().await;
    let registry = SqlModelRegistry::builder(Arc::clone(&meta), BlobStore::in_memory())
        .with_clock(time.clock())
        .build()
        .await
        .unwrap();
    // A collector that was cut off, whose clock was a day ahead.
    let sql = "INSERT INTO registry_collector (id, run, until) VALUES (1, 7, $1)";
    meta.execute(sql, params![start() + DAY]).await.unwrap();
    let collect = async || registry.collect_garbage(&CollectGarbage::default()).await;
    assert_eq!(collect().await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    time.clock.advance(Duration::from_secs(599));
    assert_eq!(collect().await.unwrap_err().kind(), ErrorKind::FailedPrecondition, "it may still be at work");
    time.clock.advance(Duration::from_secs(1));
    collect().await.unwrap();
}

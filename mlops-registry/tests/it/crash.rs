//! A process that is killed at any moment: what it acknowledged is there, once; a batch is there whole or not at all.

use std::{path::Path, sync::Arc};

use mlops_core::{
    Alias, DataType, Metric, ModelName, ModelPackage, ModelSource as _, RunId, Signature, TensorSpec, Timestamp,
    Version,
    testing::{SplitMix64, acknowledge, run_and_kill},
};
use mlops_registry::{
    Batch, CreateModel, CreateRun, CreateVersion, ExperimentId, ModelRegistry as _, ModelRegistryExt as _, MoveAlias,
    PageRequest, Search, SqlModelRegistry, SqlTrackingStore, TrackingStore as _,
};
use mlops_store::{BlobStore, SqliteMetaStore, SqliteSettings};

const HOME: &str = "MLOPS_REGISTRY_CRASH_HOME";
const FIRST: &str = "MLOPS_REGISTRY_CRASH_FIRST";
const WRITER: &str = "MLOPS_REGISTRY_CRASH_WRITER";

pub(crate) struct Stores {
    pub(crate) tracking: SqlTrackingStore,
    registry: SqlModelRegistry,
    fraud: ModelName,
    champion: Alias,
}

pub(crate) async fn open(home: &Path) -> Stores {
    let meta = Arc::new(SqliteMetaStore::open(&home.join("meta.db"), SqliteSettings::default()).await.unwrap());
    let blobs = BlobStore::local(&home.join("blobs")).unwrap();
    let registry = SqlModelRegistry::builder(Arc::clone(&meta) as _, blobs).build().await.unwrap();
    let fraud = ModelName::new("fraud").unwrap();
    registry.ensure_model(&fraud, CreateModel::default()).await.unwrap();
    let tracking = SqlTrackingStore::builder(meta).build().await.unwrap();
    Stores { tracking, registry, fraud, champion: Alias::new("champion").unwrap() }
}

impl Stores {
    /// The run that all children log to.
    pub(crate) async fn run(&self) -> RunId {
        let found = self.tracking.search_runs(&[ExperimentId(0)], &Search::new()).await.unwrap();
        match found.items.into_iter().next() {
            Some(run) => run.id.clone(),
            None => self.tracking.create_run(CreateRun::new(ExperimentId(0))).await.unwrap().id,
        }
    }
}

fn package(number: u64) -> ModelPackage {
    let signature = Signature::new([], [TensorSpec::column("score", DataType::Float64)]).unwrap();
    ModelPackage::new("constant", signature).with_file("model.json", format!("{{\"value\":{number}}}"))
}

fn batch(number: u64) -> Batch {
    let metric = |key: &str| Metric {
        key: key.to_owned(),
        value: number as f64,
        timestamp: Timestamp::from_millis(1),
        step: i64::try_from(number).unwrap(),
    };
    Batch {
        metrics: vec![metric("a"), metric("b")],
        params: vec![(format!("p{number}"), number.to_string())],
        tags: vec![("last".to_owned(), number.to_string())],
        ..Batch::default()
    }
}

/// The child: registers, promotes and logs, number after number, and says so, until it is killed. Does nothing when run
/// as a test.
#[test]
fn child() {
    let (Ok(home), Ok(first)) = (std::env::var(HOME), std::env::var(FIRST)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stores = open(Path::new(&home)).await;
        let run = stores.run().await;
        for number in first.parse::<u64>().unwrap()..10_000 {
            let key = Some(format!("k{number}"));
            let options = CreateVersion { idempotency_key: key, ..CreateVersion::default() };
            let version = stores.registry.create_version(&stores.fraud, &package(number), options).await.unwrap();
            let (model, champion) = (&stores.fraud, &stores.champion);
            stores.registry.set_alias(model, champion, version.version, MoveAlias::default()).await.unwrap();
            stores.tracking.log_batch(&run, &batch(number)).await.unwrap();
            acknowledge(number);
        }
    });
}

#[tokio::test]
async fn acknowledged_versions_moves_and_batches_survive_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let random = SplitMix64::new(20_261_124);
    let mut acknowledged = 0_u64;
    for round in 0..8 {
        // The last few again: a repeated registration gives the version of the first.
        let first = (acknowledged + 1).saturating_sub(3).max(1);
        let (acks, spins) =
            (1 + usize::try_from(random.bits(2 * round) % 8).unwrap(), random.bits(2 * round + 1) % 40_000);
        let envs = [(HOME, home.path().to_str().unwrap()), (FIRST, &first.to_string())];
        let last = run_and_kill("crash::child", &envs, acks, spins).expect("the child acknowledged something");
        acknowledged = acknowledged.max(last);
    }

    let stores = open(home.path()).await;
    let all = PageRequest { max_results: Some(50_000), token: None };
    let versions = stores.registry.list_versions(&stores.fraud, &all).await.unwrap().items;
    let numbers: Vec<u64> = versions.iter().rev().map(|version| version.version.0).collect();
    assert_eq!(numbers, (1..=versions.len() as u64).collect::<Vec<_>>(), "without gaps, and each once");
    // One more may have been registered than was acknowledged in any of the rounds, never fewer or doubles.
    assert!(numbers.len() as u64 >= acknowledged && numbers.len() as u64 <= acknowledged + 8, "{acknowledged}");
    for number in &numbers {
        let found = stores.registry.resolve(&format!("fraud/{number}").parse().unwrap()).await.unwrap();
        assert_eq!(stores.registry.fetch(&found).await.unwrap(), package(*number));
    }

    let moves = stores.registry.alias_history(&stores.fraud, &all).await.unwrap().items;
    let mut at: Option<Version> = None;
    for step in &moves {
        assert_eq!(step.from, at, "each move begins where the one before ended");
        at = step.to;
    }
    assert_eq!(stores.registry.alias(&stores.fraud, &stores.champion).await.unwrap(), at.unwrap());

    let run = stores.run().await;
    let record = stores.tracking.run(&run).await.unwrap();
    let steps = async |key: &str| -> Vec<i64> {
        let points = stores.tracking.metric_history(&run, key, &all).await.unwrap().items;
        points.iter().map(|point| point.step).collect()
    };
    let (a, b) = (steps("a").await, steps("b").await);
    assert_eq!(a, b, "both metrics of a batch or none");
    assert_eq!(a.len(), record.params.len(), "with its param");
    assert_eq!(a, (1..=i64::try_from(a.len()).unwrap()).collect::<Vec<_>>());
    assert!(a.len() as u64 >= acknowledged, "nothing acknowledged is lost");
    assert!(record.tags["last"].parse::<u64>().unwrap() <= a.len() as u64);
}

/// How many processes log to one run of one file at a time.
const WRITERS: usize = 3;
/// Points of every seventh batch: enough for a segment of its own.
const MANY: i64 = 200;

/// What a writer logs under a number: one point or many of its own metric and as many of another, in one batch.
fn points(writer: usize, number: u64) -> Batch {
    let number = i64::try_from(number).unwrap();
    let count = if number % 7 == 0 { MANY } else { 1 };
    let metric = |key: &str, i: i64| Metric {
        key: format!("{key}{writer}"),
        value: number as f64,
        // A clock that goes back and forth.
        timestamp: Timestamp::from_millis(1_000_000 - number % 11),
        step: number * MANY + i,
    };
    let metrics = (0..count).flat_map(|i| [metric("a", i), metric("b", i)]).collect();
    Batch { metrics, tags: vec![(format!("last{writer}"), number.to_string())], ..Batch::default() }
}

/// The child of [`kill_loggers`]: logs number after number until it is killed. Does nothing when run as a test.
#[test]
fn logger() {
    let (Ok(home), Ok(first), Ok(writer)) = (std::env::var(HOME), std::env::var(FIRST), std::env::var(WRITER)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stores = open(Path::new(&home)).await;
        let run = stores.run().await;
        let writer = writer.parse().unwrap();
        for number in first.parse::<u64>().unwrap()..1_000_000 {
            stores.tracking.log_batch(&run, &points(writer, number)).await.unwrap();
            acknowledge(number);
        }
    });
}

/// Kills `rounds` times [`WRITERS`] processes while they log, and checks that all they acknowledged is there, and whole.
async fn kill_loggers(rounds: u64) {
    let home = tempfile::tempdir().unwrap();
    let run = open(home.path()).await.run().await;
    let random = SplitMix64::new(20_261_125);
    let mut acknowledged = [0_u64; WRITERS];
    for round in 0..rounds {
        let kill = |writer: usize, acknowledged: u64| {
            // The last few again, as a client does that heard no answer.
            let (home, first) = (home.path().to_owned(), (acknowledged + 1).saturating_sub(3).max(1).to_string());
            let bits = random.bits(round * WRITERS as u64 + writer as u64);
            let (acks, spins) = (1 + usize::try_from(bits % 40).unwrap(), (bits >> 32) % 20_000);
            tokio::task::spawn_blocking(move || {
                let envs = [(HOME, home.to_str().unwrap()), (FIRST, &first), (WRITER, &writer.to_string())];
                run_and_kill("crash::logger", &envs, acks, spins).unwrap()
            })
        };
        let kills: Vec<_> = acknowledged.iter().enumerate().map(|(writer, &last)| kill(writer, last)).collect();
        for (last, kill) in acknowledged.iter_mut().zip(kills) {
            *last = kill.await.unwrap().max(*last);
        }
    }
    let stores = open(home.path()).await;
    let record = stores.tracking.run(&run).await.unwrap();
    for (writer, acknowledged) in acknowledged.into_iter().enumerate() {
        let last: u64 = record.tags[&format!("last{writer}")].parse().unwrap();
        let mut expected = Vec::new();
        let mut number = 0;
        let found = history(&stores, &run, &format!("a{writer}")).await;
        // More may have been logged than was acknowledged, but nothing in part, and the tag came along.
        while expected.len() < found.len() {
            number += 1;
            expected.extend(points(writer, number).metrics.into_iter().filter(|m| m.key.starts_with('a')));
        }
        expected.sort_by_key(|m| (m.timestamp, m.step));
        assert_eq!(found, expected);
        assert!(number >= acknowledged && last <= number, "{last} {number} {acknowledged}");
        let others = history(&stores, &run, &format!("b{writer}")).await;
        assert!(others.iter().map(|m| m.step).eq(found.iter().map(|m| m.step)), "both metrics of a batch or none");
        let latest = found.iter().max_by_key(|m| m.step).unwrap();
        assert_eq!(record.metrics[&format!("a{writer}")], *latest);
    }
}

pub(crate) async fn history(stores: &Stores, run: &RunId, key: &str) -> Vec<Metric> {
    let (mut request, mut found) = (PageRequest { max_results: Some(1_000), token: None }, Vec::new());
    loop {
        let page = stores.tracking.metric_history(run, key, &request).await.unwrap();
        found.extend(page.items);
        request.token = page.next_page_token;
        if request.token.is_none() {
            return found;
        }
    }
}

#[tokio::test]
async fn points_of_several_processes_survive_kill_9() {
    kill_loggers(4).await;
}

/// More than 100 kills: `cargo test -p mlops-registry --test it -- --ignored hundred`.
#[tokio::test]
#[ignore = "the test above with more kills, which take a minute"]
async fn points_survive_a_hundred_kills() {
    kill_loggers(34).await;
}

//! A process that logs offline or sends what it logged is killed at any moment: the server ends with every acknowledged
//! point, each once, in one run.

use std::{path::Path, sync::Arc};

use mlops_core::{
    Metric, RunId, RunLogger as _, RunStatus, Timestamp,
    testing::{SplitMix64, acknowledge, run_and_kill},
};
use mlops_registry::{
    ArtifactStore, MlflowRemote, MlflowServer, PageRequest, Search, TrackingStore, TrackingStoreExt as _,
    tracking::offline::{OfflineLogger, OfflineSettings},
};
use tokio::net::TcpListener;

use super::{in_memory, registry, tracking};

const HOME: &str = "MLOPS_OFFLINE_CRASH_HOME";
const FIRST: &str = "MLOPS_OFFLINE_CRASH_FIRST";
const SERVER: &str = "MLOPS_OFFLINE_CRASH_SERVER";

async fn open(home: &Path) -> OfflineLogger {
    OfflineLogger::open(home.join("runs.journal"), OfflineSettings::default()).await.unwrap()
}

fn point(number: u64) -> Metric {
    let step = i64::try_from(number).unwrap();
    Metric { key: "loss".into(), value: 1.0 / number as f64, timestamp: Timestamp::from_millis(step), step }
}

/// The child that logs: a run of its own with one point after the other, until it is killed. Does nothing when run as a
/// test.
#[test]
fn logger() {
    let (Ok(home), Ok(first)) = (std::env::var(HOME), std::env::var(FIRST)) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let run = open(Path::new(&home)).await.start("offline", &format!("from {first}")).await.unwrap();
        for number in first.parse::<u64>().unwrap()..1_000_000 {
            run.log_metrics(&[point(number)]).await.unwrap();
            acknowledge(number);
        }
    });
}

/// The child that sends, and says so after each call, until it is killed or done. Does nothing when run as a test.
#[test]
fn sender() {
    let (Ok(home), Ok(server)) = (std::env::var(HOME), std::env::var(SERVER)) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = MlflowRemote::builder(server).build().unwrap();
        let offline = open(Path::new(&home)).await;
        offline.replay_with(&store, None, |report| acknowledge(report.entries)).await.unwrap();
    });
}

async fn killed(test: &'static str, envs: Vec<(&'static str, String)>, acks: usize, spins: u64) -> Option<u64> {
    let kill = move || {
        let envs: Vec<_> = envs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        run_and_kill(test, &envs, acks, spins)
    };
    tokio::task::spawn_blocking(kill).await.unwrap()
}

async fn steps(store: &dyn TrackingStore, run: &RunId) -> Vec<u64> {
    let (mut request, mut found) = (PageRequest { max_results: Some(1_000), token: None }, Vec::new());
    loop {
        let page = store.metric_history(run, "loss", &request).await.unwrap();
        for metric in page.items {
            let number = u64::try_from(metric.step).unwrap();
            assert_eq!(metric, point(number), "bit by bit");
            found.push(number);
        }
        request.token = page.next_page_token;
        if request.token.is_none() {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_points_reach_the_server_once_after_kill_9() {
    let meta = in_memory().await;
    let (store, models) = (Arc::new(tracking(Arc::clone(&meta)).await), registry(meta).await);
    let router = MlflowServer::new(Arc::clone(&store) as _, Arc::new(models), ArtifactStore::in_memory()).router();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async { axum::serve(listener, router).await });

    let (home, random) = (tempfile::tempdir().unwrap(), SplitMix64::new(20_261_126));
    let path = home.path().to_str().unwrap().to_owned();
    let mut acknowledged = Vec::new();
    for round in 0..4_u64 {
        let first = round * 100_000 + 1;
        let (acks, spins) =
            (20 + usize::try_from(random.bits(2 * round) % 60).unwrap(), random.bits(2 * round + 1) % 9_000);
        let envs = vec![(HOME, path.clone()), (FIRST, first.to_string())];
        let last = killed("offline::logger", envs, acks, spins).await.expect("the child acknowledged something");
        acknowledged.push((first, last));
        // Twice in the middle of sending, once before the first call was noted.
        for attempt in 0..2 {
            let envs = vec![(HOME, path.clone()), (SERVER, url.clone())];
            killed("offline::sender", envs, 1, random.bits(64 + 2 * round + attempt) % 3_000).await;
        }
    }
    let offline = open(home.path()).await;
    offline.replay(&MlflowRemote::builder(url).build().unwrap(), None).await.unwrap();
    assert_eq!(offline.waiting_bytes().await.unwrap(), 0);

    let experiment = store.ensure_experiment("offline").await.unwrap();
    let order = Search::new().with_order("attributes.start_time ASC");
    let found = store.search_runs(&[experiment], &order).await.unwrap().items;
    let names: Vec<_> = found.iter().map(|run| run.name.clone()).collect();
    assert_eq!(names, acknowledged.iter().map(|(first, _)| format!("from {first}")).collect::<Vec<_>>());
    for (run, (first, last)) in found.iter().zip(acknowledged) {
        assert_eq!(run.status, RunStatus::Running, "nobody finished it");
        let steps = steps(&*store, &run.id).await;
        assert_eq!(steps, (first..first + steps.len() as u64).collect::<Vec<_>>(), "each once, none left out");
        assert!(steps.len() as u64 > last - first, "{} of {}", steps.len(), last - first + 1);
    }
    server.abort();
}

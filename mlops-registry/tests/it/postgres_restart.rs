//! PostgreSQL is killed and started again while several writers log: what was acknowledged is there once, what was not is
//! there whole or not at all, and the same store goes on.
//!
//! `MLOPS_TEST_POSTGRES` names the server, and `MLOPS_TEST_POSTGRES_RESTART` a program that kills it (`kill`) or starts it
//! (`start`, and waits until it answers). Tests that share the server would fail beside this one.

use std::{
    collections::BTreeSet,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mlops_core::{ErrorKind, Metric, RunId, Timestamp};
use mlops_registry::{Batch, CreateRun, ExperimentId, PageRequest, SqlTrackingStore, TrackingStore as _};
use mlops_store::{MetaStoreExt as _, PostgresMetaStore};
use tokio::task::JoinHandle;

const WRITERS: usize = 6;
const KILLS: u64 = 3;

fn batch(writer: usize, number: i64) -> Batch {
    let metric = |key: &str, i: i64| Metric {
        key: format!("{key}{writer}"),
        value: number as f64,
        timestamp: Timestamp::from_millis(number),
        step: 100 * number + i,
    };
    Batch {
        metrics: (0..50).flat_map(|i| [metric("a", i), metric("b", i)]).collect(),
        params: vec![(format!("p{writer}-{number}"), number.to_string())],
        tags: vec![(format!("t{writer}-{number}"), String::new())],
        ..Batch::default()
    }
}

/// What became of the batches of a writer.
#[derive(Debug, Default)]
struct Outcomes {
    acknowledged: Vec<i64>,
    unknown: Vec<i64>,
}

/// Logs number after number, each once, until it is told to stop.
async fn log(store: SqlTrackingStore, run: RunId, writer: usize, stop: Arc<AtomicBool>) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for number in 1.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        match store.log_batch(&run, &batch(writer, number)).await {
            Ok(()) => outcomes.acknowledged.push(number),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                outcomes.unknown.push(number);
            }
        }
    }
    outcomes
}

fn server(program: &str, verb: &str) {
    assert!(Command::new(program).arg(verb).status().unwrap().success(), "{program} {verb}");
}

async fn steps(store: &SqlTrackingStore, run: &RunId, key: &str) -> Vec<i64> {
    let page = PageRequest { max_results: Some(50_000), token: None };
    let points = store.metric_history(run, key, &page).await.unwrap();
    assert_eq!(points.next_page_token, None);
    points.items.iter().map(|point| point.step).collect()
}

/// Waits until so much is logged.
async fn all_log(store: &SqlTrackingStore, run: &RunId, writers: &[JoinHandle<Outcomes>], count: usize) {
    let logged = async {
        while store.run(run).await.map_or(0, |run| run.params.len()) < count {
            assert!(!writers.iter().any(JoinHandle::is_finished), "a writer has failed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), logged).await.expect("they log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_server_takes_nothing_that_was_acknowledged() {
    let (Ok(url), Ok(program)) = (std::env::var("MLOPS_TEST_POSTGRES"), std::env::var("MLOPS_TEST_POSTGRES_RESTART"))
    else {
        println!("skipped: MLOPS_TEST_POSTGRES and MLOPS_TEST_POSTGRES_RESTART name no server that can be killed");
        return;
    };
    let schema = format!("restart_{}", std::process::id());
    let admin = PostgresMetaStore::connect(&url, 1).await.unwrap();
    admin.execute(&format!("CREATE SCHEMA {schema}"), &[]).await.unwrap();
    let join = if url.contains('?') { '&' } else { '?' };
    let meta = PostgresMetaStore::connect(&format!("{url}{join}options=-csearch_path%3D{schema}"), 4).await.unwrap();
    let store = SqlTrackingStore::builder(Arc::new(meta)).build().await.unwrap();
    let run = store.create_run(CreateRun::new(ExperimentId(0))).await.unwrap().id;

    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(log(store.clone(), run.clone(), writer, Arc::clone(&stop)))).collect();
    for kill in 1..=KILLS {
        // All log again, or still, before it is killed once more.
        all_log(&store, &run, &writers, usize::try_from(kill).unwrap() * 20 * WRITERS).await;
        let program = program.clone();
        let killed = tokio::task::spawn_blocking(move || {
            server(&program, "kill");
            server(&program, "start");
        });
        killed.await.unwrap();
    }
    let logged = store.run(&run).await.unwrap().params.len();
    all_log(&store, &run, &writers, logged + 20 * WRITERS).await;
    stop.store(true, Ordering::SeqCst);

    let mut outcomes = Vec::new();
    for writer in writers {
        outcomes.push(writer.await.unwrap());
    }
    let record = store.run(&run).await.unwrap();
    let mut lost = 0;
    for (writer, Outcomes { acknowledged, unknown }) in outcomes.iter().enumerate() {
        let found: BTreeSet<i64> =
            record.params.keys().filter_map(|key| key.strip_prefix(&format!("p{writer}-"))?.parse().ok()).collect();
        assert!(acknowledged.iter().all(|number| found.contains(number)), "writer {writer} lost what was acknowledged");
        lost += unknown.iter().filter(|number| !found.contains(number)).count();
        assert!(found.iter().all(|number| record.tags.contains_key(&format!("t{writer}-{number}"))));
        assert_eq!(found.len(), record.tags.keys().filter(|key| key.starts_with(&format!("t{writer}-"))).count());
        // Every point of every batch that is there, once.
        let expected: Vec<i64> = found.iter().flat_map(|number| (0..50).map(move |i| 100 * number + i)).collect();
        for key in ["a", "b"] {
            assert_eq!(steps(&store, &run, &format!("{key}{writer}")).await, expected);
        }
        assert!(acknowledged.last() > unknown.last(), "it logs again");
    }
    let refused: usize = outcomes.iter().map(|outcomes| outcomes.unknown.len()).sum();
    assert!(0 < refused, "no batch was on its way when the server was killed");
    println!("{refused} batches were refused, {lost} of which are absent");
}

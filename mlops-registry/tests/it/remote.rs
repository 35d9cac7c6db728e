//! The client half: a server of ours on a socket keeps the promises of a tracking store.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use mlops_core::ErrorKind;
use mlops_registry::{
    ArtifactStore, CreateRun, ExperimentId, MlflowRemote, MlflowServer, TrackingStore as _, conformance,
    import::{ImportSource as _, MlflowApi},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{in_memory, registry, tracking};

/// The URL of a new, empty server; it ends with the test's runtime.
async fn server() -> String {
    let router = open_router().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_remote_server_keeps_the_promises() {
    conformance::tracking_store(async || MlflowRemote::builder(server().await).build().unwrap()).await;
}

#[tokio::test]
async fn a_server_out_of_reach_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let store = MlflowRemote::builder(url).with_retries(1).build().unwrap();
    assert_eq!(store.experiment_by_name("x").await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let store = MlflowRemote::builder(url).with_retries(0).with_timeout(Duration::from_millis(50)).build().unwrap();
    assert_eq!(store.experiment_by_name("x").await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
}

#[tokio::test]
async fn a_file_that_stops_half_way_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 4_096]).await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await.unwrap();
        // It stays open.
        std::future::pending::<()>().await;
    });
    let run = tracking(in_memory().await).await.create_run(CreateRun::new(ExperimentId(0))).await.unwrap();
    let source = MlflowApi::new(MlflowRemote::builder(url).with_timeout(Duration::from_millis(50)).build().unwrap());
    let mut pieces = source.open(&run, "a.txt").await.unwrap();
    assert_eq!(pieces.try_next().await.unwrap().unwrap(), "hello");
    assert_eq!(pieces.try_next().await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
}

/// Many programs append to one tag at a time, of a run of this router.
async fn append_from_many(router: axum::Router) -> Vec<u64> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    let store = MlflowRemote::builder(&url).build().unwrap();
    let run = store.create_run(CreateRun::new(ExperimentId(0))).await.unwrap().id;
    let append = |item: u64| {
        let (store, run) = (MlflowRemote::builder(&url).build().unwrap(), run.clone());
        tokio::spawn(async move { store.append_run_tag(&run, "list", &item.into()).await.unwrap() })
    };
    let appends: Vec<_> = (0..24).map(append).collect();
    for append in appends {
        append.await.unwrap();
    }
    let unknown = "0".repeat(32).parse().unwrap();
    assert_eq!(store.append_run_tag(&unknown, "list", &1.into()).await.unwrap_err().kind(), ErrorKind::NotFound);
    let mut items: Vec<u64> = serde_json::from_str(&store.run(&run).await.unwrap().tags["list"]).unwrap();
    items.sort_unstable();
    items
}

async fn open_router() -> axum::Router {
    let meta = in_memory().await;
    let stores = (tracking(Arc::clone(&meta)).await, registry(meta).await);
    MlflowServer::new(Arc::new(stores.0), Arc::new(stores.1), ArtifactStore::in_memory()).router()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn items_that_many_append_to_a_tag_of_our_server_are_all_there() {
    assert_eq!(append_from_many(open_router().await).await, (0..24).collect::<Vec<_>>());
}

/// MLflow answers a route it does not know with a page.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_without_a_call_for_appending_is_read_and_written() {
    use axum::{extract::Request, http::StatusCode, middleware::Next, response::IntoResponse as _};

    let without_ours = axum::middleware::from_fn(async |request: Request, next: Next| {
        if request.uri().path().starts_with("/api/3.0/mlops") {
            return (StatusCode::NOT_FOUND, "<!doctype html><title>404 Not Found</title>").into_response();
        }
        next.run(request).await
    });
    let items = append_from_many(open_router().await.layer(without_ours)).await;
    assert!(!items.is_empty() && items.iter().all(|item| *item < 24), "{items:?}");
}

/// What holds on MLflow's own server as well: it commits the parts of a batch one by one and clamps infinities, so the
/// whole suite does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mlflows_own_server_is_a_tracking_store() {
    use mlops_core::{Metric, RunLogger as _, RunStatus, Timestamp};
    use mlops_registry::{Search, Tracker, TrackingStoreExt as _};

    let Ok(url) = std::env::var("MLOPS_TEST_MLFLOW") else {
        println!("skipped: MLOPS_TEST_MLFLOW names no server");
        return;
    };
    let store = Arc::new(MlflowRemote::builder(url).build().unwrap());
    let experiment = store.ensure_experiment("from rust").await.unwrap();
    let tracker = Tracker::new(Arc::<MlflowRemote>::clone(&store), ArtifactStore::in_memory());
    let run = tracker.start("from rust", "first").await.unwrap();
    run.log_params(&[("lr".into(), "0.1".into())]).await.unwrap();
    let point = |step: i64| Metric { key: "auc".into(), value: 0.5, timestamp: Timestamp::from_millis(step), step };
    run.log_metrics(&[point(1), point(2)]).await.unwrap();
    let changed = run.log_params(&[("lr".into(), "0.2".into())]).await.unwrap_err();
    assert_eq!(changed.kind(), ErrorKind::InvalidArgument);
    run.finish(RunStatus::Finished).await.unwrap();
    let found = store.search_runs(&[experiment], &Search::new().with_filter("metrics.auc = 0.5")).await.unwrap();
    let found = found.items.iter().find(|found| found.id == *run.run_id()).unwrap();
    assert_eq!((found.status, found.params["lr"].as_str(), found.metrics["auc"].step), (RunStatus::Finished, "0.1", 2));
    let history = store.metric_history(run.run_id(), "auc", &mlops_registry::PageRequest::default()).await.unwrap();
    assert_eq!(history.items, [point(1), point(2)]);
    store.delete_run(run.run_id()).await.unwrap();
    let late = run.log_metrics(&[point(3)]).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::FailedPrecondition, "{late}");
}

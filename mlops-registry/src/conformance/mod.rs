//! The promises of [`TrackingStore`], [`ModelRegistry`] and [`crate::LoggedModelStore`], one function each, for every
//! back end.
//!
//! Each function takes a fresh, empty store.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken promise is reported by a panic that names it"
)]

mod evaluation;
#[cfg(feature = "mlflow")]
mod gateway;
mod governance;
mod logged_models;
mod traces;
mod transfer;

use std::{collections::BTreeMap, sync::Arc};

use mlops_core::{
    Alias, DataType, ErrorKind, Metric, ModelName, ModelPackage, Signature, TensorSpec, Timestamp, Version,
};

use crate::{
    Actor, Batch, CreateExperiment, CreateModel, CreateRun, CreateVersion, DatasetInput, ExperimentId, LoggedDataset,
    ModelRegistry, MoveAlias, PageRequest, RunHome, Search, TrackingStore, TrackingStoreExt as _, access::EVERY,
};

pub use evaluation::evaluation_store;
#[cfg(feature = "mlflow")]
pub use gateway::gateway_store;
pub use governance::{approvals, trash};
pub use logged_models::logged_model_store;
pub use traces::trace_store;
pub use transfer::{Transfer, transfer};

const WRITERS: u64 = 8;

/// Runs every promise of [`TrackingStore`]; `fresh` gives an empty store each time.
///
/// # Panics
/// When a promise is broken.
pub async fn tracking_store<S: TrackingStore>(fresh: impl AsyncFn() -> S) {
    names_stay_taken(fresh().await).await;
    a_run_is_created_as_it_is_read(fresh().await).await;
    items_are_appended_to_a_tag(fresh().await).await;
    deletion_takes_the_runs_along(fresh().await).await;
    a_batch_is_all_or_nothing(fresh().await).await;
    repeated_points_count_once_and_values_keep_their_bits(fresh().await).await;
    latest_is_by_step_then_time(fresh().await).await;
    pages_join_to_the_whole(fresh().await).await;
    one_of_several_creators_wins(fresh().await).await;
    a_dataset_keeps_to_its_limits(fresh().await).await;
    homes_are_known_of_runs_that_exist(fresh().await).await;
}

/// Runs every promise of [`ModelRegistry`]; `fresh` gives an empty registry each time.
///
/// # Panics
/// When a promise is broken.
pub async fn model_registry<R: ModelRegistry>(fresh: impl AsyncFn() -> R) {
    packages_come_back_as_they_were(fresh().await).await;
    concurrent_versions_leave_no_gap(fresh().await).await;
    repeated_registrations_give_one_version(fresh().await).await;
    one_of_several_alias_movers_wins(fresh().await).await;
    alias_moves_are_kept_in_order(fresh().await).await;
    a_described_version_leaves_the_model_alone(fresh().await).await;
    no_model_has_the_name_of_all_of_them(fresh().await).await;
    governance::stages_move_at_once(fresh().await).await;
    governance::the_past_of_an_alias_is_known(fresh().await).await;
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn point(value: f64, at_ms: i64, step: i64) -> Metric {
    Metric { key: "m".to_owned(), value, timestamp: Timestamp::from_millis(at_ms), step }
}

fn points(metrics: Vec<Metric>) -> Batch {
    Batch { metrics, ..Batch::default() }
}

async fn a_run_is_created_as_it_is_read<S: TrackingStore>(store: S) {
    let long = "x".repeat(9_000);
    let tags = [("a".to_owned(), long), ("b".to_owned(), "ü".to_owned())].into();
    let named =
        CreateRun { name: Some("first".to_owned()), user: "ann".to_owned(), tags, ..CreateRun::new(ExperimentId(0)) };
    for run in [named, CreateRun::new(ExperimentId(0))] {
        let created = store.create_run(run).await.expect("creates");
        assert_eq!(store.run(&created.id).await.expect("reads"), created);
    }
}

async fn items_are_appended_to_a_tag<S: TrackingStore>(store: S) {
    let run = store.create_run(CreateRun::new(ExperimentId(0))).await.expect("starts").id;
    let item = |size: usize| serde_json::Value::from("x".repeat(size));
    let length = async || {
        let record = store.run(&run).await.expect("reads");
        serde_json::from_str::<Vec<String>>(&record.tags["list"]).expect("a list").len()
    };
    store.set_run_tags(&run, &[("list".to_owned(), "no list".to_owned())]).await.expect("sets");
    for (size, expected) in [(10, 1), (10, 2), (4_000, 3), (3_990, 2), (7_000, 1)] {
        store.append_run_tag(&run, "list", &item(size)).await.expect("appends");
        assert_eq!(length().await, expected, "after {size}");
    }
    let error = store.append_run_tag(&run, "list", &item(9_000)).await.expect_err("too long for a tag");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(length().await, 1);
}

async fn names_stay_taken<S: TrackingStore>(store: S) {
    let id = store.create_experiment("a", CreateExperiment::default()).await.expect("creates");
    store.delete_experiment(id).await.expect("deletes");
    let error = store.create_experiment("a", CreateExperiment::default()).await.expect_err("name of a deleted one");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(store.experiment(id).await.expect("is still there").deleted);
}

async fn deletion_takes_the_runs_along<S: TrackingStore>(store: S) {
    let id = store.create_experiment("a", CreateExperiment::default()).await.expect("creates");
    let run = store.create_run(CreateRun::new(id)).await.expect("starts").id;
    store.delete_experiment(id).await.expect("deletes");
    assert!(store.run(&run).await.expect("reads").deleted);
    let error = store.create_run(CreateRun::new(id)).await.expect_err("run in a deleted experiment");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let error = store.log_batch(&run, &points(vec![point(1.0, 1, 1)])).await.expect_err("write to a deleted run");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    store.restore_experiment(id).await.expect("restores");
    assert!(!store.run(&run).await.expect("reads").deleted);
}

async fn a_batch_is_all_or_nothing<S: TrackingStore>(store: S) {
    let id = store.create_experiment("a", CreateExperiment::default()).await.expect("creates");
    let run = store.create_run(CreateRun::new(id)).await.expect("starts").id;
    let first = Batch { params: vec![pair("lr", "1")], ..Batch::default() };
    store.log_batch(&run, &first).await.expect("sets");
    store.log_batch(&run, &first).await.expect("sets the same again");
    let conflicting = Batch {
        metrics: vec![point(1.0, 1, 1)],
        params: vec![pair("fresh", "1"), pair("lr", "2")],
        tags: vec![pair("t", "1")],
        ..Batch::default()
    };
    let error = store.log_batch(&run, &conflicting).await.expect_err("a param changes");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let record = store.run(&run).await.expect("reads");
    assert_eq!(record.params, BTreeMap::from([pair("lr", "1")]));
    assert!(record.metrics.is_empty() && !record.tags.contains_key("t"), "a refused batch left something");
}

async fn repeated_points_count_once_and_values_keep_their_bits<S: TrackingStore>(store: S) {
    let id = store.create_experiment("a", CreateExperiment::default()).await.expect("creates");
    let run = store.create_run(CreateRun::new(id)).await.expect("starts").id;
    let values = [0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE];
    let batch = points(values.iter().zip(1..).map(|(&value, at)| point(value, at, 0)).collect());
    store.log_batch(&run, &batch).await.expect("logs");
    store.log_batch(&run, &batch).await.expect("logs again");
    let history = store.metric_history(&run, "m", &PageRequest::default()).await.expect("reads").items;
    let bits = |value: f64| value.to_bits();
    assert_eq!(history.iter().map(|m| bits(m.value)).collect::<Vec<_>>(), values.map(bits));
}

async fn latest_is_by_step_then_time<S: TrackingStore>(store: S) {
    let id = store.create_experiment("a", CreateExperiment::default()).await.expect("creates");
    let run = store.create_run(CreateRun::new(id)).await.expect("starts").id;
    for (metric, latest) in [(point(1.0, 10, 3), 1.0), (point(2.0, 99, 2), 1.0), (point(3.0, 11, 3), 3.0)] {
        store.log_batch(&run, &points(vec![metric])).await.expect("logs");
        let found = store.run(&run).await.expect("reads").metrics.get("m").map(|m| m.value.to_bits());
        assert_eq!(found, Some(f64::to_bits(latest)));
    }
}

async fn pages_join_to_the_whole<S: TrackingStore>(store: S) {
    let id = store.create_experiment("a", CreateExperiment::default()).await.expect("creates");
    let mut expected = Vec::new();
    for step in 0..5_i32 {
        let run = store.create_run(CreateRun::new(id)).await.expect("starts").id;
        store.log_batch(&run, &points(vec![point(f64::from(step), 1, 0)])).await.expect("logs");
        expected.push(run);
    }
    let mut search = Search::new().with_filter("metrics.m >= 0").with_order("metrics.m ASC").with_max_results(2);
    let (mut sizes, mut seen) = (Vec::new(), Vec::new());
    loop {
        let page = store.search_runs(&[id], &search).await.expect("searches");
        sizes.push(page.items.len());
        seen.extend(page.items.into_iter().map(|run| run.id.clone()));
        search.page.token = page.next_page_token;
        if search.page.token.is_none() {
            break;
        }
    }
    assert_eq!((sizes, seen), (vec![2, 2, 1], expected));
    let other = Search { filter: "metrics.m > 0".to_owned(), ..search };
    let first = store.search_runs(&[id], &other).await.expect("searches");
    let foreign = Search {
        filter: String::new(),
        page: PageRequest { max_results: Some(2), token: first.next_page_token },
        ..other
    };
    let error = store.search_runs(&[id], &foreign).await.expect_err("token of another search");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

async fn one_of_several_creators_wins<S: TrackingStore>(store: S) {
    let store = Arc::new(store);
    let create = |store: Arc<S>| async move { store.create_experiment("race", CreateExperiment::default()).await };
    let tasks: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(create(Arc::clone(&store)))).collect();
    let mut won = 0;
    for task in tasks {
        match task.await.expect("no creator panics") {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    }
    assert_eq!(won, 1);
}

fn package(content: &str) -> ModelPackage {
    let signature = Signature::new([], [TensorSpec::column("score", DataType::Float64)]).expect("a signature");
    ModelPackage::new("constant", signature).with_file("model.json", content.to_owned())
}

async fn model<R: ModelRegistry>(registry: &R) -> ModelName {
    let name = ModelName::new("fraud").expect("a name");
    registry.create_model(&name, CreateModel::default()).await.expect("creates");
    name
}

async fn a_dataset_keeps_to_its_limits<S: TrackingStore>(store: S) {
    let id = store.create_experiment("a", CreateExperiment::default()).await.expect("creates");
    let run = store.create_run(CreateRun::new(id)).await.expect("starts").id;
    let input = |name: usize, source: usize, tag: usize| {
        let dataset = LoggedDataset {
            name: "n".repeat(name),
            digest: "d".to_owned(),
            source_type: "local".to_owned(),
            source: "s".repeat(source),
            ..LoggedDataset::default()
        };
        DatasetInput { dataset, tags: [pair("k", &"v".repeat(tag))].into() }
    };
    store.log_inputs(&run, &[input(500, 65_535, 500)]).await.expect("all as long as may be");
    for long in [input(501, 1, 1), input(1, 65_536, 1), input(1, 1, 501), input(0, 1, 1)] {
        let error = store.log_inputs(&run, &[input(2, 1, 1), long]).await.expect_err("over a limit");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(store.run(&run).await.expect("reads").datasets, [input(500, 65_535, 500)]);
}

async fn homes_are_known_of_runs_that_exist<S: TrackingStore>(store: S) {
    let (mut ids, mut want) = (vec!["none".parse().expect("an id")], Vec::new());
    for name in ["a", "b"] {
        let experiment = store.create_experiment(name, CreateExperiment::default()).await.expect("creates");
        let run = store.create_run(CreateRun::new(experiment)).await.expect("starts");
        store.delete_run(&run.id).await.expect("deletes");
        ids.push(run.id.clone());
        want.push(RunHome { id: run.id, experiment, artifact_uri: run.artifact_uri });
    }
    let mut found = store.homes(&ids).await.expect("reads");
    found.sort_by_key(|home| home.experiment);
    assert_eq!(found, want);
    assert_eq!(store.homes(&[]).await.expect("reads"), []);
}

async fn a_described_version_leaves_the_model_alone<R: ModelRegistry>(registry: R) {
    let name = model(&registry).await;
    let made = registry.create_version(&name, &package("1"), CreateVersion::default()).await.expect("registers");
    let before = registry.model(&name).await.expect("reads").updated;
    let actor = Actor::default();
    let described = registry.describe_version(&name, made.version, "better", &actor).await.expect("describes");
    assert!(described.description == "better" && described.updated >= made.updated);
    assert_eq!(registry.model(&name).await.expect("reads").updated, before);
}

async fn no_model_has_the_name_of_all_of_them<R: ModelRegistry>(registry: R) {
    let (name, every) = (model(&registry).await, ModelName::new(EVERY).expect("a name"));
    let created = registry.create_model(&every, CreateModel::default()).await.expect_err("means every model");
    let renamed = registry.rename_model(&name, &every, &Actor::default()).await.expect_err("means every model");
    assert_eq!([created.kind(), renamed.kind()], [ErrorKind::InvalidArgument; 2]);
    assert_eq!(registry.model(&every).await.expect_err("is not there").kind(), ErrorKind::NotFound);
}

async fn packages_come_back_as_they_were<R: ModelRegistry>(registry: R) {
    let name = model(&registry).await;
    let made = registry.create_version(&name, &package("1"), CreateVersion::default()).await.expect("registers");
    let found = registry.resolve(&format!("{name}/1").parse().expect("a reference")).await.expect("resolves");
    assert_eq!(Some(found.digest), made.source.digest());
    assert_eq!(registry.fetch(&found).await.expect("fetches"), package("1"));
}

async fn concurrent_versions_leave_no_gap<R: ModelRegistry>(registry: R) {
    let name = model(&registry).await;
    let registry = Arc::new(registry);
    let register = |registry: Arc<R>, name: ModelName, n: u64| async move {
        registry.create_version(&name, &package(&n.to_string()), CreateVersion::default()).await
    };
    let tasks: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(register(Arc::clone(&registry), name.clone(), n))).collect();
    let mut given = Vec::new();
    for task in tasks {
        given.push(task.await.expect("no writer panics").expect("registers").version.0);
    }
    given.sort_unstable();
    assert_eq!(given, (1..=WRITERS).collect::<Vec<_>>());
}

async fn repeated_registrations_give_one_version<R: ModelRegistry>(registry: R) {
    let name = model(&registry).await;
    let options = CreateVersion { idempotency_key: Some("job-1".to_owned()), ..CreateVersion::default() };
    let registry = Arc::new(registry);
    let register = |registry: Arc<R>, name: ModelName, options: CreateVersion| async move {
        registry.create_version(&name, &package("1"), options).await
    };
    let tasks: Vec<_> =
        (0..WRITERS).map(|_| tokio::spawn(register(Arc::clone(&registry), name.clone(), options.clone()))).collect();
    for task in tasks {
        assert_eq!(task.await.expect("no writer panics").expect("registers").version, Version(1));
    }
    let error = registry.create_version(&name, &package("2"), options).await.expect_err("same key, other package");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(registry.model(&name).await.expect("reads").last_version, 1);
}

async fn versions<R: ModelRegistry>(registry: &R, name: &ModelName, count: u64) {
    for n in 0..count {
        let package = package(&n.to_string());
        registry.create_version(name, &package, CreateVersion::default()).await.expect("registers");
    }
}

async fn one_of_several_alias_movers_wins<R: ModelRegistry>(registry: R) {
    let name = model(&registry).await;
    versions(&registry, &name, WRITERS).await;
    let champion = Alias::new("champion").expect("an alias");
    let registry = Arc::new(registry);
    let mover = |registry: Arc<R>, name: ModelName, alias: Alias, to: u64| async move {
        let absent = MoveAlias { expected: Some(None), ..MoveAlias::default() };
        registry.set_alias(&name, &alias, Version(to), absent).await
    };
    let tasks: Vec<_> = (1..=WRITERS)
        .map(|to| tokio::spawn(mover(Arc::clone(&registry), name.clone(), champion.clone(), to)))
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.expect("no mover panics") {
            Ok(moved) => winners.extend(moved.to),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
        }
    }
    assert_eq!(winners, [registry.alias(&name, &champion).await.expect("points somewhere")]);
}

async fn alias_moves_are_kept_in_order<R: ModelRegistry>(registry: R) {
    let name = model(&registry).await;
    versions(&registry, &name, 2).await;
    let champion = Alias::new("champion").expect("an alias");
    for to in [1, 2, 2] {
        registry.set_alias(&name, &champion, Version(to), MoveAlias::default()).await.expect("moves");
    }
    registry.delete_alias(&name, &champion, MoveAlias::default()).await.expect("deletes");
    let history = registry.alias_history(&name, &PageRequest::default()).await.expect("reads").items;
    let moves: Vec<_> = history.iter().map(|m| (m.from.map(|v| v.0), m.to.map(|v| v.0))).collect();
    assert_eq!(moves, [(None, Some(1)), (Some(1), Some(2)), (Some(2), None)]);
    let error = registry.alias(&name, &champion).await.expect_err("the alias is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

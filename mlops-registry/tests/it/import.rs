//! Imports from MLflow's files, database and server, from another store and from Weights & Biases: once, again, and with
//! damage.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use mlops_core::{Alias, ErrorKind, ModelName, RunStatus, Version};
use mlops_registry::{
    ArtifactStore, CreateExperiment, CreateRun, ExperimentId, MlflowRemote, MlflowServer, ModelRegistry, PageRequest,
    RunRecord, Search, SqlModelRegistry, SqlTrackingStore, TrackingStore, View,
    import::{
        IMPORTED_FROM_TAG, ImportOptions, ImportReport, ImportSource as _, Importer, MlflowApi, MlflowFiles,
        MlflowSqlite, StoreSource, WandbRuns,
    },
};
use mlops_store::{BlobStore, MetaStoreExt as _, SqliteMetaStore, SqliteSettings};
use tokio::net::TcpListener;

use super::{in_memory, registry, tracking};

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn run_files(root: &Path, id: &str, name: &str, stage: &str) {
    let meta = format!(
        "artifact_uri: file:///elsewhere/{id}/artifacts\nend_time: 1700000009000\nexperiment_id: '7'\n\
         lifecycle_stage: {stage}\nrun_id: {id}\nrun_name: {name}\nstart_time: 1700000000000\nstatus: 3\ntags: []\n\
         user_id: ann\n"
    );
    write(root, &format!("7/{id}/meta.yaml"), &meta);
    fs::create_dir_all(root.join(format!("7/{id}/artifacts"))).unwrap();
    write(root, &format!("7/{id}/tags/mlflow.runName"), name);
}

/// The child comes before its parent by name.
fn fixture(root: &Path) {
    write(root, "7/meta.yaml", "experiment_id: '7'\nlifecycle_stage: active\nname: 'risk: #1'\n");
    write(root, "7/tags/team", "risk");
    run_files(root, "bbb", "parent", "active");
    write(root, "7/bbb/params/lr", "0.1");
    write(root, "7/bbb/params/model/depth", "3\n4");
    write(root, "7/bbb/metrics/loss", "1700000000001 0.5 0\nbroken\n1700000000002 nan 1\n1700000000003 -inf 2\n");
    write(root, "7/bbb/metrics/val/auc", "1700000000001 0.9\n");
    write(root, "7/bbb/artifacts/d/e.txt", "hello");
    write(
        root,
        "7/bbb/inputs/i1/meta.yaml",
        "source_id: d1\nsource_type: DATASET\ntags:\n  mlflow.data.context: training\n",
    );
    write(root, "7/datasets/d1/meta.yaml", "digest: abc\nname: nums\nschema: null\nsource: '{}'\nsource_type: code\n");
    write(root, "7/bbb/inputs/i2/meta.yaml", "source_id: ../../../secret\nsource_type: DATASET\n");
    run_files(root, "aaa", "child", "deleted");
    write(root, "7/aaa/tags/mlflow.parentRunId", "bbb");
    write(root, "7/ccc/meta.yaml", "run_id: ccc\nstatus: [3]\n");
    write(root, ".trash/9/meta.yaml", "experiment_id: '9'\nlifecycle_stage: deleted\nname: gone\n");
    write(root, "models/fraud/meta.yaml", "name: fraud\ndescription: finds fraud\n");
    write(root, "models/fraud/aliases/champion", "3");
    let version = "current_stage: Production\nrun_id: bbb\nsource: file:///x/bbb/artifacts/d\nversion: 3\n";
    write(root, "models/fraud/version-3/meta.yaml", version);
    write(root, "models/fraud/version-3/tags/q", "w");
}

async fn store() -> Arc<dyn TrackingStore> {
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    Arc::new(SqlTrackingStore::builder(meta).build().await.unwrap())
}

async fn runs(store: &dyn TrackingStore) -> BTreeMap<String, RunRecord> {
    let experiment = store.experiment_by_name("risk: #1").await.unwrap().unwrap();
    assert_eq!(experiment.tags["team"], "risk");
    let search = Search::new().with_view(View::All);
    let found = store.search_runs(&[experiment.id], &search).await.unwrap().items;
    found.into_iter().map(|run| (run.name.clone(), Arc::unwrap_or_clone(run))).collect()
}

#[tokio::test]
async fn a_file_store_is_imported_once_with_what_is_wrong_named() {
    let directory = tempfile::tempdir().unwrap();
    fixture(directory.path());
    let tracking = store().await;
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let registry: Arc<dyn ModelRegistry> =
        Arc::new(SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await.unwrap());
    let files = ArtifactStore::in_memory();
    let source = MlflowFiles::open(directory.path()).unwrap();
    let importer =
        Importer::new(Arc::clone(&tracking)).with_artifacts(files.clone()).with_registry(Arc::clone(&registry));

    let dry = importer.clone().with_options(ImportOptions { dry_run: true, ..ImportOptions::default() });
    let foreseen = dry.import(&source).await.unwrap();
    assert!(tracking.experiment_by_name("risk: #1").await.unwrap().is_none(), "a dry run wrote something");

    let report = importer.import(&source).await.unwrap();
    assert_eq!(foreseen.counts, report.counts);
    assert_eq!((report.counts.runs, report.counts.points, report.counts.files), (2, 4, 1));
    let places: Vec<&str> = report.notes.iter().map(|note| note.place.as_str()).collect();
    assert!(places.iter().any(|place| place.ends_with("metrics/loss:2")), "{places:?}");
    assert!(places.iter().any(|place| place.ends_with("inputs/i2")), "{places:?}");
    assert!(places.iter().any(|place| place.ends_with("ccc/meta.yaml:2")), "{places:?}");
    assert_eq!(places.len(), 3, "{places:?}");

    let found = runs(tracking.as_ref()).await;
    let (parent, child) = (&found["parent"], &found["child"]);
    assert_eq!((parent.status, parent.user.as_str()), (RunStatus::Finished, "ann"));
    assert_eq!(parent.started.as_millis(), 1_700_000_000_000);
    assert_eq!(parent.params["model/depth"], "3\n4");
    assert_eq!(parent.datasets[0].tags["mlflow.data.context"], "training");
    assert!(child.deleted && !parent.deleted);
    assert_eq!(child.tags["mlflow.parentRunId"], parent.id.to_string());
    let history = tracking.metric_history(&parent.id, "loss", &PageRequest::default()).await.unwrap().items;
    let values: Vec<f64> = history.iter().map(|point| point.value).collect();
    assert!(values[0] == 0.5 && values[1].is_nan() && values[2] == f64::NEG_INFINITY, "{values:?}");
    let path = files.path_of(&parent.artifact_uri).unwrap();
    assert_eq!(files.get(&format!("{path}/d/e.txt")).await.unwrap(), "hello");
    assert!(tracking.experiment_by_name("gone").await.unwrap().unwrap().deleted);

    let fraud = ModelName::new("fraud").unwrap();
    let version = registry.version(&fraud, Version(3)).await.unwrap();
    assert_eq!(version.run_id.as_ref(), Some(&parent.id));
    assert_eq!(version.source.to_uri(), format!("{}/d", parent.artifact_uri));
    assert_eq!(registry.alias(&fraud, &Alias::new("champion").unwrap()).await.unwrap(), Version(3));

    let again = importer.import(&source).await.unwrap().counts;
    assert_eq!((again.runs, again.runs_present, again.versions, again.versions_present), (0, 2, 0, 1));
    assert_eq!(runs(tracking.as_ref()).await, found);
}

#[tokio::test]
async fn a_tag_whose_key_is_not_taken_keeps_nothing_else_out() {
    let directory = tempfile::tempdir().unwrap();
    fixture(directory.path());
    for place in ["7/tags", "7/bbb/tags", "models/fraud/tags", "models/fraud/version-3/tags"] {
        write(directory.path(), &format!("{place}/a,b"), "x");
        write(directory.path(), &format!("{place}/kept"), "y");
    }
    let tracking = store().await;
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let registry: Arc<dyn ModelRegistry> =
        Arc::new(SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await.unwrap());
    let importer = Importer::new(Arc::clone(&tracking)).with_registry(Arc::clone(&registry));
    let source = MlflowFiles::open(directory.path()).unwrap();
    let report = importer.import(&source).await.unwrap();
    for place in ["experiment \"risk: #1\"", "run bbb", "model \"fraud\"", "model \"fraud\" version 3"] {
        let told = report.notes.iter().filter(|note| note.place == format!("tag \"a,b\" of {place}")).count();
        assert_eq!(told, 1, "{place}: {:?}", report.notes);
    }
    let experiment = tracking.experiment_by_name("risk: #1").await.unwrap().unwrap();
    let fraud = ModelName::new("fraud").unwrap();
    let version = registry.version(&fraud, Version(3)).await.unwrap();
    for tags in [
        experiment.tags,
        runs(tracking.as_ref()).await["parent"].tags.clone(),
        registry.model(&fraud).await.unwrap().tags,
        version.tags,
    ] {
        assert_eq!((tags.get("kept").map(String::as_str), tags.get("a,b")), (Some("y"), None));
    }
    // One that was here before takes what it lacks, too.
    let other = store().await;
    other.create_experiment("risk: #1", CreateExperiment::default()).await.unwrap();
    Importer::new(Arc::clone(&other)).import(&source).await.unwrap();
    assert_eq!(other.experiment_by_name("risk: #1").await.unwrap().unwrap().tags["kept"], "y");
}

#[tokio::test]
async fn an_experiment_that_the_import_did_not_make_is_not_deleted() {
    let directory = tempfile::tempdir().unwrap();
    fixture(directory.path());
    write(directory.path(), ".trash/0/meta.yaml", "experiment_id: '0'\nlifecycle_stage: deleted\nname: Default\n");
    let tracking = store().await;
    let own = tracking.create_experiment("gone", CreateExperiment::default()).await.unwrap();
    let run = tracking.create_run(CreateRun::new(own)).await.unwrap().id;
    let source = MlflowFiles::open(directory.path()).unwrap();
    for _ in 0..2 {
        let report = Importer::new(Arc::clone(&tracking)).import(&source).await.unwrap();
        let told = report.notes.iter().filter(|note| note.reason.contains("not of this import")).count();
        assert_eq!(told, 2, "{:?}", report.notes);
        for name in ["gone", "Default"] {
            let own = tracking.experiment_by_name(name).await.unwrap().unwrap();
            assert!(!own.deleted && own.tags.is_empty(), "{own:?}");
        }
        assert!(!tracking.run(&run).await.unwrap().deleted);
    }
    // What the import made goes when the source deletes it.
    let meta = "experiment_id: '7'\nlifecycle_stage: deleted\nname: 'risk: #1'\n";
    write(directory.path(), "7/meta.yaml", meta);
    Importer::new(Arc::clone(&tracking)).import(&source).await.unwrap();
    assert!(tracking.experiment_by_name("risk: #1").await.unwrap().unwrap().deleted);
}

/// A server whose experiments, runs and models were imported themselves.
#[tokio::test]
async fn an_import_of_an_import_tells_of_itself_alone() {
    let directory = tempfile::tempdir().unwrap();
    fixture(directory.path());
    let meta = in_memory().await;
    let first = (tracking(Arc::clone(&meta)).await, registry(meta).await);
    let importer = Importer::new(Arc::new(first.0.clone())).with_registry(Arc::new(first.1.clone()));
    importer.import(&MlflowFiles::open(directory.path()).unwrap()).await.unwrap();
    let router = MlflowServer::new(Arc::new(first.0), Arc::new(first.1), ArtifactStore::in_memory()).router();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });

    let meta = in_memory().await;
    let second = (tracking(Arc::clone(&meta)).await, registry(meta).await);
    let own = second.0.create_experiment("risk: #1", CreateExperiment::default()).await.unwrap();
    let importer = Importer::new(Arc::new(second.0.clone())).with_registry(Arc::new(second.1.clone()));
    let source = MlflowApi::new(MlflowRemote::builder(&url).build().unwrap());
    importer.import(&source).await.unwrap();

    let experiment = second.0.experiment(own).await.unwrap();
    assert_eq!(experiment.tags, [("team".to_owned(), "risk".to_owned())].into());
    let from = |tags: &BTreeMap<String, String>| tags[IMPORTED_FROM_TAG].clone();
    for run in runs(&second.0).await.values() {
        assert!(from(&run.tags).starts_with(&url), "{:?}", run.tags);
    }
    let fraud = ModelName::new("fraud").unwrap();
    let model = second.1.model(&fraud).await.unwrap();
    assert_eq!(from(&model.tags), format!("{url}#fraud"));
    assert_eq!(model.aliases, [(Alias::new("champion").unwrap(), Version(3))].into(), "it was not complete before");
    let version = second.1.version(&fraud, Version(3)).await.unwrap();
    assert_eq!(from(&version.tags), format!("{url}#fraud/3"));
}

#[tokio::test]
async fn a_store_is_copied_into_another_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..25_001).map(|step| format!("{} {step} {step}\n", 1_700_000_000_000_i64 + step)).collect();
    fixture(directory.path());
    write(directory.path(), "7/bbb/metrics/long", &lines);
    let (first, second) = (store().await, store().await);
    Importer::new(Arc::clone(&first)).import(&MlflowFiles::open(directory.path()).unwrap()).await.unwrap();
    let source = StoreSource::new(Arc::clone(&first), "it's a store");
    let report = Importer::new(Arc::clone(&second)).import(&source).await.unwrap();
    assert_eq!((report.counts.runs, report.counts.points, report.notes.len()), (2, 25_005, 0));
    let (theirs, ours) = (runs(first.as_ref()).await, runs(second.as_ref()).await);
    assert_eq!(ours["parent"].params, theirs["parent"].params);
    assert_eq!(ours["parent"].metrics["long"], theirs["parent"].metrics["long"]);
    assert_eq!(ours["child"].tags["mlflow.parentRunId"], ours["parent"].id.to_string());
    assert_eq!(Importer::new(second).import(&source).await.unwrap().counts.runs_present, 2);
}

/// The columns that MLflow 3.17 has and the import reads.
const TABLES: [&str; 14] = [
    "CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, artifact_location TEXT, \
     lifecycle_stage TEXT, creation_time BIGINT, last_update_time BIGINT)",
    "CREATE TABLE experiment_tags (key TEXT, value TEXT, experiment_id INTEGER)",
    "CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, name TEXT, user_id TEXT, status TEXT, start_time BIGINT, \
     end_time BIGINT, lifecycle_stage TEXT, artifact_uri TEXT, experiment_id INTEGER)",
    "CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT)",
    "CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT)",
    "CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT, step BIGINT, is_nan BOOLEAN)",
    "CREATE TABLE latest_metrics (key TEXT)",
    "CREATE TABLE datasets (dataset_uuid TEXT, name TEXT, digest TEXT, dataset_source_type TEXT, dataset_source TEXT, \
     dataset_schema TEXT, dataset_profile TEXT)",
    "CREATE TABLE inputs (input_uuid TEXT, source_type TEXT, source_id TEXT, destination_type TEXT, destination_id TEXT)",
    "CREATE TABLE input_tags (input_uuid TEXT, name TEXT, value TEXT)",
    "CREATE TABLE registered_models (name TEXT, creation_time BIGINT, last_updated_time BIGINT, description TEXT)",
    "CREATE TABLE registered_model_tags (key TEXT, value TEXT, name TEXT)",
    "CREATE TABLE registered_model_aliases (alias TEXT, version INTEGER, name TEXT)",
    "CREATE TABLE model_version_tags (key TEXT, value TEXT, name TEXT, version INTEGER)",
];

const ROWS: [&str; 8] = [
    "CREATE TABLE model_versions (name TEXT, version INTEGER, creation_time BIGINT, last_updated_time BIGINT, \
     description TEXT, user_id TEXT, current_stage TEXT, source TEXT, run_id TEXT, run_link TEXT)",
    "INSERT INTO experiments VALUES (1, 'risk: #1', '/a', 'active', 1, 1)",
    "INSERT INTO experiment_tags VALUES ('team', 'risk', 1)",
    "INSERT INTO runs VALUES ('r1', 'one', 'ann', 'FINISHED', 1700000000000, 1700000009000, 'active', 's3://b/r1', 1), \
     ('r2', 'two', 'ann', 'LOST', 1700000000000, NULL, 'active', 's3://b/r2', 1)",
    "INSERT INTO params VALUES ('lr', '0.1', 'r1')",
    "INSERT INTO metrics VALUES ('loss', 0.5, 5, 'r1', 0, 0), ('loss', 0, 6, 'r1', 1, 1), \
     ('loss', 1.7976931348623157e308, 7, 'r1', 2, 0)",
    "INSERT INTO registered_models VALUES ('fraud', 1, 1, 'd')",
    "INSERT INTO model_versions VALUES ('fraud', 2, 1, 1, 'v', NULL, 'None', 's3://b/m', 'r1', NULL)",
];

#[tokio::test]
async fn a_database_of_mlflow_is_imported_and_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mlflow.db");
    let theirs = SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap();
    for sql in TABLES.iter().chain(&ROWS) {
        theirs.execute(sql, &[]).await.unwrap();
    }
    theirs.close().await;
    let tracking = store().await;
    let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
    let registry: Arc<dyn ModelRegistry> =
        Arc::new(SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await.unwrap());
    let source = MlflowSqlite::open(&path).await.unwrap();
    let importer = Importer::new(Arc::clone(&tracking)).with_registry(Arc::clone(&registry));
    let report = importer.import(&source).await.unwrap();
    assert_eq!((report.counts.runs, report.counts.points, report.counts.versions), (1, 3, 1));
    assert_eq!(report.notes.len(), 1);
    assert_eq!(report.notes[0].place, "runs: r2");
    let found = runs(tracking.as_ref()).await;
    let history = tracking.metric_history(&found["one"].id, "loss", &PageRequest::default()).await.unwrap().items;
    let values: Vec<f64> = history.iter().map(|point| point.value).collect();
    assert!(values[0] == 0.5 && values[1].is_nan() && values[2] == f64::INFINITY, "{values:?}");
    let version = registry.version(&ModelName::new("fraud").unwrap(), Version(2)).await.unwrap();
    assert_eq!(version.source.to_uri(), "s3://b/m");
    let again = importer.import(&source).await.unwrap().counts;
    assert_eq!((again.runs, again.runs_present, again.versions_present), (0, 1, 1));

    let read_only = SqliteMetaStore::open_read_only(&path, SqliteSettings::default()).await.unwrap();
    assert!(read_only.execute("DELETE FROM runs", &[]).await.is_err());
    assert!(SqliteMetaStore::open_read_only(&directory.path().join("none"), SqliteSettings::default()).await.is_err());
}

/// More than are held at once are refused, and not cut off in silence.
#[tokio::test]
async fn a_database_with_too_many_records_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mlflow.db");
    let theirs = SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap();
    for sql in TABLES.iter().chain(&ROWS) {
        theirs.execute(sql, &[]).await.unwrap();
    }
    let source = MlflowSqlite::open(&path).await.unwrap();
    let mut report = ImportReport::default();
    let fraud = source.models(&mut report).await.unwrap().remove(0);
    assert_eq!(source.versions(&fraud, &mut report).await.unwrap().len(), 1);
    let many = "WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 100003) SELECT";
    for sql in [
        format!("INSERT INTO model_versions {many} 'fraud', i, 1, 1, '', NULL, 'None', 's3://b/m', NULL, NULL FROM n"),
        format!("INSERT INTO registered_models {many} 'm' || i, 1, 1, '' FROM n"),
    ] {
        theirs.execute(&sql, &[]).await.unwrap();
    }
    let refused =
        [source.versions(&fraud, &mut report).await.unwrap_err(), source.models(&mut report).await.unwrap_err()];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    }
}

/// Directories are listed once for all pages, so what a page begins with does not move while runs come and go.
#[tokio::test]
async fn the_runs_of_a_directory_are_those_of_its_first_page() {
    let directory = tempfile::tempdir().unwrap();
    let run = |number: usize| run_files(directory.path(), &format!("run{number:03}"), "r", "active");
    fixture(directory.path());
    (0..150).for_each(run);
    let source = MlflowFiles::open(directory.path()).unwrap();
    let mut report = ImportReport::default();
    let first = source.runs(ExperimentId(7), None, &mut report).await.unwrap();
    run(150);
    let second = source.runs(ExperimentId(7), first.next_page_token, &mut report).await.unwrap();
    assert_eq!((first.items.len() + second.items.len(), second.next_page_token), (152, None));
    let anew = source.runs(ExperimentId(7), None, &mut report).await.unwrap();
    let rest = source.runs(ExperimentId(7), anew.next_page_token, &mut report).await.unwrap();
    assert_eq!(anew.items.len() + rest.items.len(), 153);
}

fn wandb_run(root: &Path, folder: &str, about: &str, history: &str) {
    write(root, &format!("{folder}/run.json"), about);
    write(root, &format!("{folder}/history.jsonl"), history);
    write(
        root,
        &format!("{folder}/config.json"),
        r#"{"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}, "_wandb": {}}"#,
    );
    write(
        root,
        &format!("{folder}/summary.json"),
        r#"{"loss": 0.5, "best": {"auc": 0.75}, "verdict": "good", "_step": 1}"#,
    );
    write(root, &format!("{folder}/files/{}.txt", folder.replace('/', "-")), "hello");
}

/// One run is spread over two folders, as one that was taken up again is; one has not ended.
#[tokio::test]
async fn runs_of_weights_and_biases_are_imported_from_an_export() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let about = r#"{"id": "abc", "name": "plain", "project": "risk: #1", "state": "finished", "tags": ["x", "y"], "group": null,
        "created_at": "2024-05-05T00:30:00Z", "notes": "n", "user": "ann", "extra": 1}"#;
    let first = "{\"_step\": 0, \"_timestamp\": 1714869001.5, \"_runtime\": 1.5, \"loss\": NaN, \"a\": {\"b\": true}}\n\
                 {\"_step\": 1, \"_timestamp\": 1714869002, \"loss\": \"-Infinity\", \"hist\": {\"_type\": \"histogram\", \"bins\": [1]}}\n\
                 broken\n";
    let lines: String = (2..25_000)
        .map(|step| {
            format!(
                "{{\"_step\": {step}, \"_timestamp\": {}, \"loss\": {step}, \"none\": null}}\n",
                1_714_869_002 + step
            )
        })
        .collect();
    wandb_run(root, "p/1-abc", about, first);
    wandb_run(root, "p/2-abc", about, &lines);
    wandb_run(root, "q/open", r#"{"id": "def", "project": "risk: #1", "state": "running"}"#, "");
    write(root, "q/other/readme", "not a run");
    let tracking = store().await;
    tracking.create_experiment("risk: #1", Default::default()).await.unwrap();
    tracking
        .set_experiment_tags(
            tracking.experiment_by_name("risk: #1").await.unwrap().unwrap().id,
            &[("team".to_owned(), "risk".to_owned())],
        )
        .await
        .unwrap();
    let files = ArtifactStore::in_memory();
    let importer = Importer::new(Arc::clone(&tracking)).with_artifacts(files.clone());
    let source = WandbRuns::open(root).unwrap();
    let report = importer.import(&source).await.unwrap();
    assert_eq!((report.counts.runs, report.counts.runs_open, report.counts.files), (2, 1, 3));
    // 25,000 losses, a.b, and best.auc of each run; the run without a history has its loss from the summary.
    assert_eq!(report.counts.points, 25_000 + 1 + 2 + 1);
    let reasons: Vec<&str> = report.notes.iter().map(|note| note.reason.as_str()).collect();
    assert!(reasons.len() == 2 && reasons.iter().any(|reason| reason.contains("hist")), "{reasons:?}");

    let found = runs(tracking.as_ref()).await;
    let run = &found["plain"];
    assert_eq!((run.status, run.user.as_str()), (RunStatus::Finished, "ann"));
    assert_eq!(run.started, "2024-05-05T00:30:00Z".parse().unwrap());
    assert_eq!(run.ended.unwrap().as_millis(), (1_714_869_002 + 24_999) * 1000);
    assert_eq!((run.params["opt.name"].as_str(), run.params["opt.betas"].as_str()), ("adam", "[0.9,0.99]"));
    assert_eq!(run.params.len(), 3);
    assert_eq!(
        (run.tags["wandb.tags"].as_str(), run.tags["wandb.summary.verdict"].as_str()),
        ("[\"x\",\"y\"]", "good")
    );
    assert_eq!(
        (run.metrics["a.b"].value, run.metrics["best.auc"].value, run.metrics["loss"].step),
        (1.0, 0.75, 24_999)
    );
    let history = tracking.metric_history(&run.id, "loss", &PageRequest::default()).await.unwrap().items;
    assert!(history[0].value.is_nan() && history[1].value == f64::NEG_INFINITY && history[2].value == 2.0);
    let path = files.path_of(&run.artifact_uri).unwrap();
    assert_eq!(files.files(&path).await.unwrap().len(), 2);
    assert_eq!(found["def"].status, RunStatus::Running);

    wandb_run(root, "q/open", r#"{"id": "def", "project": "risk: #1", "state": "crashed"}"#, "");
    let again = importer.import(&source).await.unwrap().counts;
    assert_eq!((again.runs, again.runs_open, again.runs_present), (1, 0, 1));
    let after = runs(tracking.as_ref()).await;
    assert_eq!((after.len(), after["def"].status), (2, RunStatus::Failed));
}

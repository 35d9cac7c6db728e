//! The pages of experiments and models over a store in memory that has something to show.
//!
//! ```text
//! cargo run -p mlops-registry --features mlflow --example registry_ui -- [PORT [RUNS [POINTS]]]
//! ```
//!
//! RUNS more runs and one run with POINTS points are added, to see that the pages do not care.

use std::sync::Arc;

use mlops_core::{
    Alias, DataType, Error, Metric, ModelName, ModelPackage, Result, RunId, RunLogger as _, RunStatus, Signature,
    TensorSpec, Timestamp, Version,
};
use mlops_registry::{
    ArtifactStore, Batch, CreateExperiment, CreateModel, CreateRun, CreateVersion, DatasetInput, ExperimentId,
    LoggedDataset, MlflowServer, ModelRegistry as _, MoveAlias, MoveStage, Run, RunUpdate, SqlLoggedModelStore,
    SqlModelRegistry, SqlTrackingStore, Stage, Tracker, TrackingStore as _,
};
use mlops_store::{BlobStore, MetaStore, SqliteMetaStore};

const START: i64 = 1_780_000_000_000;
/// Points in one batch.
const BATCH: usize = 1_000;

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| {
        text.parse::<u32>().map_err(|_| Error::invalid_argument(format!("{text:?} is no whole number from 0")))
    });
    let mut next = |default| numbers.next().unwrap_or(Ok(default));
    let (port, runs, points) = (next(5055)?, next(0)?, next(0)?);
    let meta: Arc<dyn MetaStore> = Arc::new(SqliteMetaStore::in_memory().await?);
    let tracking = Arc::new(SqlTrackingStore::builder(Arc::clone(&meta)).build().await?);
    let store: Arc<SqlTrackingStore> = Arc::clone(&tracking);
    let models =
        SqlLoggedModelStore::builder(Arc::clone(&meta), Arc::<SqlTrackingStore>::clone(&store)).build().await?;
    let registry = Arc::new(SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await?);
    let files = ArtifactStore::in_memory();
    let made = fill_fraud(&Tracker::new(Arc::<SqlTrackingStore>::clone(&store), files.clone()), &tracking).await?;
    fill_models(&registry, &made).await?;
    fill_images(&Tracker::new(store, files.clone())).await?;
    fill_many(&tracking, runs, points).await?;

    let router = MlflowServer::new(tracking, Arc::<SqlModelRegistry>::clone(&registry), files)
        .with_logged_models(Arc::new(models))
        .with_packages(registry)
        .with_ui()
        .router();
    let failed = |error: std::io::Error| Error::unavailable(format!("port {port}: {error}")).with_source(error);
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.map_err(failed)?;
    println!("http://127.0.0.1:{port}/ui");
    axum::serve(listener, router).await.map_err(failed)
}

/// A number from 0 to 1 that looks like chance.
fn chance(place: u64) -> f64 {
    let mixed = place.wrapping_add(0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40) as f64 / (1_u64 << 24) as f64
}

fn metric(key: &str, value: f64, step: i64) -> Metric {
    Metric { key: key.into(), value, timestamp: Timestamp::from_millis(START + step * 1_500), step }
}

/// Six runs of a classifier, each with curves, files and a dataset.
async fn fill_fraud(tracker: &Tracker, tracking: &SqlTrackingStore) -> Result<Vec<RunId>> {
    let mut made = Vec::new();
    let settings = [
        ("gbdt", "0.10", 6),
        ("gbdt", "0.05", 8),
        ("gbdt", "0.30", 4),
        ("mlp", "0.01", 3),
        ("mlp", "0.003", 4),
        ("linear", "0.10", 1),
    ];
    for (place, (model, rate, depth)) in (0_u64..).zip(settings) {
        let run = tracker.start("fraud", &format!("{model}, rate {rate}, depth {depth}")).await?;
        let params = [("model", model), ("learning_rate", rate), ("depth", &depth.to_string()), ("seed", "7")];
        run.log_params(&params.map(|(key, value)| (key.to_owned(), value.to_owned()))).await?;
        run.set_tags(&[("team".into(), "risk".into())]).await?;
        log_curves(&run, place).await?;
        let notes = format!("# Run {place}\n\nThe rate {rate} was chosen by hand.\n");
        run.log_artifact("notes.md", notes.into_bytes().into()).await?;
        run.log_artifact("report/importance.csv", "feature,gain\namount,0.41\ncountry,0.22\nhour,0.12\n".into())
            .await?;
        run.log_artifact("report/summary.json", "{\"rows\":120000,\"fraud\":0.013}".into()).await?;
        run.log_artifact("report/page.html", "<h1>Report</h1><script>document.title='ran'</script>".into()).await?;
        let dataset = LoggedDataset {
            name: "payments".into(),
            digest: "d41f9a".into(),
            source_type: "delta".into(),
            source: "{}".into(),
            ..LoggedDataset::default()
        };
        let tags = [("mlflow.data.context".to_owned(), "training".to_owned())].into();
        tracking.log_inputs(run.run_id(), &[DatasetInput { dataset, tags }]).await?;
        run.finish(if place == 2 { RunStatus::Failed } else { RunStatus::Finished }).await?;
        made.push(run.run_id().clone());
    }
    Ok(made)
}

async fn log_curves(run: &Run, place: u64) -> Result<()> {
    let (pace, floor) = (120.0 + 60.0 * place as f64, 0.12 + 0.02 * place as f64);
    for start in (0..2_000).step_by(BATCH / 4) {
        let points = (start..start + 250_i64).flat_map(|step| {
            let noise = chance(place * 10_000 + step as u64) - 0.5;
            let fallen = (-(step as f64) / pace).exp();
            [
                metric("loss", floor + 0.6 * fallen + 0.03 * noise, step),
                metric("auc", 0.94 - floor / 4.0 - 0.4 * fallen + 0.01 * noise, step),
                metric("gradient_norm", 10_f64.powf(1.0 - step as f64 / 700.0 + noise / 2.0), step),
            ]
        });
        run.log_metrics(&points.take(BATCH).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Three versions of a model, and aliases that moved.
async fn fill_models(registry: &SqlModelRegistry, runs: &[RunId]) -> Result<()> {
    let fraud = ModelName::new("fraud")?;
    let options = CreateModel { description: "Scores card payments.".into(), ..CreateModel::default() };
    registry.create_model(&fraud, options).await?;
    for (number, run) in (1_u64..).zip(runs.iter().take(3)) {
        let mut inputs =
            vec![TensorSpec::column("amount", DataType::Float64), TensorSpec::column("country", DataType::String)];
        if number == 3 {
            inputs.push(TensorSpec::tensor("embedding", DataType::Float32, [4]));
        }
        let signature = Signature::new(inputs, [TensorSpec::column("score", DataType::Float64)])?;
        let model = format!("{{\"trees\":{}}}", number * 50);
        let mut package = ModelPackage::new("mlops.gbdt", signature).with_file("model.json", model);
        package.manifest.metrics.insert("auc".into(), 0.90 + 0.01 * number as f64);
        package.manifest.data_versions.insert("payments".into(), format!("delta-{}", 40 + number));
        let options = CreateVersion {
            run_id: Some(run.clone()),
            description: format!("Trained on {} months.", number * 6),
            ..CreateVersion::default()
        };
        registry.create_version(&fraud, &package, options).await?;
    }
    for (alias, version, why) in [
        ("champion", 1, "first"),
        ("champion", 2, "0.01 better, agreed on Monday"),
        ("challenger", 3, "on trial for a week"),
    ] {
        let options = MoveAlias { reason: why.into(), ..MoveAlias::default() };
        registry.set_alias(&fraud, &Alias::new(alias)?, Version(version), options).await?;
    }
    for (version, stage) in [(1, Stage::Archived), (2, Stage::Production), (3, Stage::Staging)] {
        registry.transition_stage(&fraud, Version(version), stage, MoveStage::default()).await?;
    }
    registry.create_model(&ModelName::new("image-tagger")?, CreateModel::default()).await?;
    Ok(())
}

async fn fill_images(tracker: &Tracker) -> Result<()> {
    let run = tracker.start("images", "resnet, first try").await?;
    run.log_params(&[("epochs".into(), "90".into())]).await?;
    run.log_metrics(&(0..90).map(|step| metric("accuracy", 0.3 + 0.006 * step as f64, step)).collect::<Vec<_>>()).await
}

/// More runs than a page holds, and one history that is longer than a chart.
async fn fill_many(tracking: &SqlTrackingStore, runs: u32, points: u32) -> Result<()> {
    if runs == 0 && points == 0 {
        return Ok(());
    }
    let many: ExperimentId = tracking.create_experiment("many", CreateExperiment::default()).await?;
    for place in 0..u64::from(runs) {
        let options = CreateRun { name: Some(format!("run {place}")), ..CreateRun::new(many) };
        let run = tracking.create_run(options).await?;
        let metrics = ["auc", "loss", "recall"].map(|key| metric(key, chance(place * 7 + key.len() as u64), 0));
        let params = vec![("depth".into(), (place % 9).to_string()), ("model".into(), format!("kind {}", place % 4))];
        tracking.log_batch(&run.id, &Batch { metrics: metrics.to_vec(), params, ..Batch::default() }).await?;
        let ended = RunUpdate { status: Some(RunStatus::Finished), ..RunUpdate::default() };
        tracking.update_run(&run.id, ended).await?;
    }
    let long = tracking.create_run(CreateRun { name: Some("long".into()), ..CreateRun::new(many) }).await?;
    for start in (0..i64::from(points)).step_by(BATCH) {
        let end = (start + BATCH as i64).min(i64::from(points));
        let metrics = (start..end).map(|step| metric("signal", (step as f64 / 5e4).sin() + chance(step as u64), step));
        tracking.log_batch(&long.id, &Batch { metrics: metrics.collect(), ..Batch::default() }).await?;
    }
    println!("long run: {}", long.id);
    Ok(())
}

//! From tables to a registered version: the DAG that trains, judges and registers one model.
//!
//! Its tasks hand each other small facts through the journal; the data itself is read again, as
//! it was known at the same moment, so a resumed run sees exactly what the interrupted one saw.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use mlops::{
    core::{ModelPackage, Result, Timestamp, Version},
    features::OfflineStore as _,
    monitor::{ProfileSettings, ReferenceProfile},
    pipeline::{Dag, Task, TaskContext},
    registry::{
        CreateRun, CreateVersion, ModelRegistry as _, RunUpdate, Search, TrackingStore as _, TrackingStoreExt as _,
    },
    train::{
        CrossValidation, Direction, FitContext, Gate, GateInput, GbdtTrainer, Metric, MlpTrainer, Params, Study,
        TableDataset, TimeSeriesSplit, TrainedModel, Trainer, Verdict, load_package, scores,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    stream::{EVENT_ID, EVENT_TIMESTAMP, LABEL},
    views::{Definitions, SERVICE},
    world::{World, actor},
};

/// File of the reference profile within a model package.
pub const PROFILE_FILE: &str = "reference_profile.json";
/// By this, hyper-parameters and folds are compared; it works for rare and for common classes.
const SEARCH_METRIC: Metric = Metric::RocAuc;
const FOLDS: usize = 3;
/// Share of the most recent rows on which the challenger must prove itself.
const HOLDOUT_SHARE: f64 = 0.1;
/// Share that the holdout grows to when the rarer class has fewer rows in it than [`HOLDOUT_CLASS_MIN`].
const HOLDOUT_SHARE_MAX: f64 = 0.3;
const HOLDOUT_CLASS_MIN: usize = 10;

/// What to train on.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct TrainingRequest {
    /// Labels known before this time count.
    pub until: Timestamp,
    /// How far back events go.
    pub span: Duration,
    /// The version to beat, and the time up to which it has seen labels; none for the first model.
    pub champion: Option<(u64, Timestamp)>,
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrainingOutcome {
    /// The registered version; none when the gate refused.
    pub version: Option<u64>,
    pub gate: String,
    pub trainer: String,
    pub rows: u64,
    pub until: Timestamp,
    pub cv_mean: f64,
    pub cv_std: f64,
    pub digest: String,
    pub run_id: String,
    pub data_versions: BTreeMap<String, String>,
}

/// The best of a search.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Best {
    trainer: String,
    params: Params,
    cv_mean: f64,
    cv_std: f64,
    trials: usize,
}

/// A training set with its data versions.
#[derive(Debug)]
pub struct Frame {
    data: TableDataset,
    data_versions: BTreeMap<String, String>,
}

/// The last training set, shared by the tasks of one run.
#[derive(Debug, Default)]
pub struct FrameCache(Mutex<Option<(String, Arc<Frame>)>>);

/// Trains, judges and registers; resumes when it was interrupted.
pub async fn train(world: &Arc<World>, key: &str, request: TrainingRequest) -> Result<TrainingOutcome> {
    let task = |name: &str, body: fn(Arc<World>, TrainingRequest, TaskContext) -> BodyFuture| {
        let world = Arc::clone(world);
        Task::new(name, move |context: TaskContext| body(Arc::clone(&world), request, context))
    };
    let dag = Dag::builder("train")
        .with_task(task("search", |world, request, context| Box::pin(search(world, request, context))))
        .with_task(task("gate", |world, request, context| Box::pin(gate(world, request, context))).after(["search"]))
        .with_task(
            task("register", |world, request, context| Box::pin(register(world, request, context)))
                .after(["search", "gate"]),
        )
        .build()?;
    let report = world.run(&dag, key, json!(request)).await?;
    read(report.output("register"))
}

type BodyFuture = std::pin::Pin<Box<dyn Future<Output = Result<Value>> + Send>>;

/// Reads what a task returned.
pub fn read<T: serde::de::DeserializeOwned>(output: Option<&Value>) -> Result<T> {
    let output = output.cloned().unwrap_or_default();
    serde_json::from_value(output)
        .map_err(|error| mlops::Error::data_loss(format!("the journal holds another form of result: {error}")))
}

fn trainers() -> [Arc<dyn Trainer>; 2] {
    [Arc::new(GbdtTrainer), Arc::new(MlpTrainer)]
}

fn trainer_named(name: &str) -> Result<Arc<dyn Trainer>> {
    let found = trainers().into_iter().find(|trainer| trainer.name() == name);
    found.ok_or_else(|| mlops::Error::not_found(format!("no trainer is called {name:?}")))
}

/// Runs computation off the async threads.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| mlops::Error::internal("a computation panicked").with_source(error))?
}

fn context(world: &World) -> FitContext {
    FitContext::new(world.seed).with_cancel(world.console.stop_flag())
}

async fn search(world: Arc<World>, request: TrainingRequest, _: TaskContext) -> Result<Value> {
    let frame = frame(&world, request).await?;
    // A retraining starts from what is known of the problem: it keeps to the champion's kind of model and searches
    // half as long.
    let known = match request.champion {
        Some((version, _)) => Some(world.package(Version(version)).await?.manifest.flavor),
        None => None,
    };
    let best = compute(move || {
        let mut best: Option<Best> = None;
        for trainer in
            trainers().into_iter().filter(|trainer| known.as_deref().is_none_or(|name| name == trainer.name()))
        {
            // A network costs many times what trees cost; it gets a third of the trials.
            let trials = if trainer.name() == GbdtTrainer.name() { world.trials } else { world.trials.div_ceil(3) };
            let trials = if known.is_some() { trials.div_ceil(2) } else { trials };
            let found = search_one(&world, trainer.as_ref(), &frame.data, trials)?;
            if best.as_ref().is_none_or(|best| found.cv_mean > best.cv_mean) {
                best = Some(found);
            }
        }
        best.ok_or_else(|| mlops::Error::internal("there is no trainer"))
    })
    .await?;
    Ok(json!(best))
}

fn search_one(world: &World, trainer: &dyn Trainer, data: &TableDataset, trials: usize) -> Result<Best> {
    let bar = world.console.bar(&format!("search {}", trainer.name()), trials as u64);
    let validation = CrossValidation::new(TimeSeriesSplit::new(FOLDS), SEARCH_METRIC).with_threads(world.threads);
    let mut study = Study::builder(trainer.search_space(), Direction::Maximize).with_seed(world.seed).build()?;
    let mut results = BTreeMap::new();
    study.optimize(
        trials,
        |trial| {
            let result = validation.run(trainer, data, &trial.params, &context(world))?;
            let mean = result.mean;
            results.insert(trial.number, result);
            Ok(mean)
        },
        |study, _| {
            let best = study.best().and_then(|trial| trial.value()).unwrap_or_default();
            bar.step(&format!("best {} {best:.4}", SEARCH_METRIC.name()));
        },
    )?;
    let best = study
        .best()
        .ok_or_else(|| mlops::Error::failed_precondition(format!("no trial of {} succeeded", trainer.name())))?;
    let result = &results[&best.number];
    Ok(Best {
        trainer: trainer.name().to_owned(),
        params: best.params.clone(),
        cv_mean: result.mean,
        cv_std: result.std,
        trials,
    })
}

/// The most recent rows are held out: a challenger trained on the rest must beat the champion there.
async fn gate(world: Arc<World>, request: TrainingRequest, task: TaskContext) -> Result<Value> {
    let best: Best = task.output_as("search")?;
    let frame = frame(&world, request).await?;
    let champion = match request.champion {
        Some((version, _)) => Some(load_package(&world.package(Version(version)).await?)?),
        None => None,
    };
    let verdict = compute(move || {
        let rows = frame.data.rows();
        let split = holdout_start(&frame.data, request.champion.map(|(_, seen_until)| seen_until));
        let past = frame.data.take(&(0..split).collect::<Vec<_>>())?;
        let recent = frame.data.take(&(split..rows).collect::<Vec<_>>())?;
        let challenger = trainer_named(&best.trainer)?.fit(&past, &best.params, &context(&world))?;
        let challenger_scores = scores(challenger.as_ref(), recent.batch())?;
        let champion_scores = champion.map(|champion| scores(champion.as_ref(), recent.batch())).transpose()?;
        let mut gate = Gate::builder().require(Metric::RocAuc, 0.6);
        if champion_scores.is_some() {
            gate = gate.beat_champion(Metric::RocAuc, 0.0, 0.8);
        }
        let mut input = GateInput::new(recent.labels(), &challenger_scores);
        if let Some(champion_scores) = &champion_scores {
            input = input.with_champion(champion_scores);
        }
        Ok(gate.build()?.judge(&input))
    })
    .await?;
    Ok(json!(verdict))
}

/// The first row of the holdout: the most recent share, and as much more as it takes to see the rarer class, less what
/// the champion was trained on, so that neither model has seen it.
fn holdout_start(data: &TableDataset, champion_seen_until: Option<Timestamp>) -> usize {
    let rows = data.rows();
    let recent = rows - (rows as f64 * HOLDOUT_SHARE) as usize;
    let earliest = rows - (rows as f64 * HOLDOUT_SHARE_MAX) as usize;
    let seen = champion_seen_until
        .zip(data.times_us())
        .map_or(0, |(until, times)| times.partition_point(|&time| time < until.as_micros()));
    let enough = |start: usize| {
        let positives = data.labels()[start..].iter().filter(|&&label| label > 0.5).count();
        positives.min(rows - start - positives) >= HOLDOUT_CLASS_MIN
    };
    let step = (rows / 100).max(1);
    let start = (earliest..=recent).rev().step_by(step).find(|&start| enough(start)).unwrap_or(earliest);
    start.max(seen).min(rows)
}

/// Trains on all rows and registers, unless the gate refused.
async fn register(world: Arc<World>, request: TrainingRequest, task: TaskContext) -> Result<Value> {
    let (best, verdict): (Best, Verdict) = (task.output_as("search")?, task.output_as("gate")?);
    let frame = frame(&world, request).await?;
    let mut outcome = TrainingOutcome {
        version: None,
        gate: describe(&verdict),
        trainer: best.trainer.clone(),
        rows: frame.data.rows() as u64,
        until: request.until,
        cv_mean: best.cv_mean,
        cv_std: best.cv_std,
        digest: String::new(),
        run_id: String::new(),
        data_versions: frame.data_versions.clone(),
    };
    if verdict.passed {
        let key = task.idempotency_key();
        let run_id = log_run(&world, &key, &best, &verdict).await?;
        let package = build_package(&world, frame, &best, run_id.clone()).await?;
        let options = CreateVersion { idempotency_key: Some(key), actor: actor(), ..CreateVersion::default() };
        let version = world.registry.create_version(&world.model, &package, options).await?;
        outcome.version = Some(version.version.0);
        outcome.digest = package.digest()?.to_string();
        outcome.run_id = run_id.to_string();
    }
    Ok(json!(outcome))
}

fn describe(verdict: &Verdict) -> String {
    let checks: Vec<_> = verdict.checks.iter().map(|check| format!("{}: {}", check.name, check.detail)).collect();
    format!("{}; {}", if verdict.passed { "passed" } else { "refused" }, checks.join("; "))
}

async fn build_package(
    world: &Arc<World>,
    frame: Arc<Frame>,
    best: &Best,
    run_id: mlops::core::RunId,
) -> Result<ModelPackage> {
    let (inner, best) = (Arc::clone(world), best.clone());
    let mut package = compute(move || {
        let model: Arc<dyn TrainedModel> =
            trainer_named(&best.trainer)?.fit(&frame.data, &best.params, &context(&inner))?;
        // Drift is watched where it enters, in the raw columns. Window means follow from them, and as neighbouring rows
        // share most of their window, a test that takes rows for independent would raise alarms without end.
        let raw: Vec<usize> = Definitions::raw_inputs(&inner.stream)
            .iter()
            .filter_map(|name| frame.data.batch().schema().index_of(name).ok())
            .collect();
        let inputs = frame.data.batch().project(&raw)?;
        let profile = ReferenceProfile::from_batch(&inputs, &ProfileSettings::default())?;
        let mut package = model.to_package()?.with_file(PROFILE_FILE, profile.to_bytes()?);
        package.manifest.metrics.insert(format!("cv_{}", SEARCH_METRIC.name()), best.cv_mean);
        package.manifest.data_versions = frame.data_versions.clone();
        Ok(package)
    })
    .await?;
    package.manifest.run_id = Some(run_id);
    package.manifest.features = world.definitions.service.features().to_vec();
    Ok(package)
}

/// Tag that makes logging a run repeatable.
const KEY_TAG: &str = "lifecycle.key";

/// Records the training as a tracked run, once per `key`.
async fn log_run(world: &World, key: &str, best: &Best, verdict: &Verdict) -> Result<mlops::core::RunId> {
    let experiment = world.tracking.ensure_experiment(&world.stream.name).await?;
    let search = Search::new().with_filter(format!("tags.`{KEY_TAG}` = '{key}'"));
    let known = world.tracking.search_runs(&[experiment], &search).await?;
    let run_id = match known.items.into_iter().next() {
        Some(run) => run.id.clone(),
        None => {
            let mut create = CreateRun::new(experiment);
            create.name = Some(key.to_owned());
            create.tags.insert(KEY_TAG.to_owned(), key.to_owned());
            world.tracking.create_run(create).await?.id
        }
    };
    let mut params: Vec<_> = best.params.iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
    params.push(("trainer".to_owned(), best.trainer.clone()));
    world.tracking.log_params(&run_id, &params).await?;
    let metric = |name: &str, value: f64| mlops::core::Metric {
        key: name.to_owned(),
        value,
        timestamp: Timestamp::default(),
        step: 0,
    };
    let metrics = vec![
        metric("cv_roc_auc_mean", best.cv_mean),
        metric("cv_roc_auc_std", best.cv_std),
        metric("trials", best.trials as f64),
    ];
    world.tracking.log_batch(&run_id, &mlops::registry::Batch { metrics, ..Default::default() }).await?;
    world.tracking.set_run_tags(&run_id, &[("gate".to_owned(), describe(verdict))]).await?;
    let update = RunUpdate { status: Some(mlops::core::RunStatus::Finished), ..RunUpdate::default() };
    world.tracking.update_run(&run_id, update).await?;
    Ok(run_id)
}

/// The training set of a request, from the cache when the last task had the same.
async fn frame(world: &Arc<World>, request: TrainingRequest) -> Result<Arc<Frame>> {
    let key = json!(request).to_string();
    if let Some((cached, frame)) = world.frames.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
        && *cached == key
    {
        return Ok(Arc::clone(frame));
    }
    let frame = Arc::new(build_frame(world, request).await?);
    *world.frames.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, Arc::clone(&frame)));
    Ok(frame)
}

async fn build_frame(world: &World, request: TrainingRequest) -> Result<Frame> {
    let spine = spine(world, request)?;
    let training_set = world.features.offline().get_historical(&spine, world.features.service(SERVICE)?).await?;
    let mut inputs = Definitions::raw_inputs(&world.stream);
    inputs.extend(world.definitions.service.features().iter().map(|feature| feature.feature().to_owned()));
    let data = TableDataset::classification(training_set.batch, LABEL)
        .with_features(inputs)
        .with_time(EVENT_TIMESTAMP)
        .build()?;
    let data_versions = training_set
        .data_versions
        .into_iter()
        .map(|(table, version)| (table, format!("{} {}", version.version, version.digest.short())))
        .collect();
    Ok(Frame { data, data_versions })
}

/// The labelled events of the request, each at the moment just before it happened: a model is
/// asked before the event itself can count.
fn spine(world: &World, request: TrainingRequest) -> Result<RecordBatch> {
    let stream = &world.stream;
    let known_until = request.until - stream.label_delay;
    let (from, to) = (stream.row_at(request.until - request.span), stream.row_at(known_until));
    let rows = stream.batch.slice(from, to.saturating_sub(from));
    let times = stream.times().slice(from, rows.num_rows());
    let before: TimestampMicrosecondArray = times.unary(|time| time - 1);
    let before: ArrayRef = Arc::new(before.with_timezone("UTC"));
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns()).filter(|(field, _)| field.name() != EVENT_ID).map(
        |(field, column)| {
            let column = if field.name() == EVENT_TIMESTAMP { Arc::clone(&before) } else { Arc::clone(column) };
            (field.name().clone(), column)
        },
    );
    Ok(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))?)
}

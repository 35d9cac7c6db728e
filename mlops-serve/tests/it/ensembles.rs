//! Ensembles through the public API: built, refused, reloaded under, failing, and read from directories.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::channel,
    },
    time::Duration,
};

use mlops_core::{
    DataType, ErrorKind, Model, ModelName, ModelRef, Result, Selector, Signature, TensorSpec, Version,
    arrow_array::{ArrayRef, Float64Array, RecordBatch, cast::AsArray, types::Float64Type},
    testing::ManualClock,
};
use mlops_serve::{
    ClosureModel, Combination, DirectorySource, ENSEMBLE_FILE, Ensemble, EnsembleBuilder, EnsembleRuntime,
    IdentityModel, InferOptions, ModelConfig, ModelRepository, Runtimes, Server, Step, TensorType,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::client::{call, post};

fn column(name: &str) -> TensorSpec {
    TensorSpec::column(name, DataType::Float64)
}

fn name(name: &str) -> ModelName {
    name.parse().unwrap()
}

/// `x` to `y` by a function of numbers.
fn scalar(function: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Arc<dyn Model> {
    fallible(move |x| Ok(function(x)))
}

fn fallible(function: impl Fn(f64) -> Result<f64> + Send + Sync + 'static) -> Arc<dyn Model> {
    let signature = Signature::new([column("x")], [column("y")]).unwrap();
    Arc::new(ClosureModel::new(signature, move |batch: &RecordBatch| {
        let x = batch["x"].as_primitive::<Float64Type>();
        let y = x.values().iter().map(|&x| function(x)).collect::<Result<Vec<f64>>>()?;
        Ok(RecordBatch::try_from_iter([("y", Arc::new(Float64Array::from(y)) as ArrayRef)])?)
    }))
}

fn batch(values: &[f64]) -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(values.to_vec())) as ArrayRef)]).unwrap()
}

fn values(batch: &RecordBatch, column: &str) -> Vec<f64> {
    batch[column].as_primitive::<Float64Type>().values().to_vec()
}

fn builder(outputs: &[&str]) -> EnsembleBuilder {
    Ensemble::builder(Signature::new([column("x")], outputs.iter().map(|name| column(name))).unwrap())
}

/// `double` (version 1 doubles, version 2 trebles) and `plus` (adds one).
fn repository() -> Arc<ModelRepository> {
    let repository = Arc::new(ModelRepository::new());
    repository.register(&name("double"), Version(1), scalar(|x| 2.0 * x)).unwrap();
    repository.register(&name("double"), Version(2), scalar(|x| 3.0 * x)).unwrap();
    repository.register(&name("plus"), Version(1), scalar(|x| x + 1.0)).unwrap();
    repository
}

fn double(step: &str, from: &str, to: &str) -> Step {
    Step::served(step, name("double"), None).with_input("x", from).with_output("y", to)
}

#[tokio::test]
async fn a_pipeline_answers_over_the_protocol_and_its_models_are_counted() {
    let repository = repository();
    let ensemble = builder(&["score"])
        .with_step(Step::model("scale", scalar(|x| x / 10.0)).with_output("y", "scaled"))
        .with_step(Step::served("plus", name("plus"), Some(Version(1))).with_input("x", "scaled").with_output("y", "a"))
        .with_step(double("double", "scaled", "b"))
        .with_step(Step::combine("blend", Combination::Mean { weights: vec![1.0, 3.0] }, ["a", "b"], "score"))
        .build(&repository.peers())
        .unwrap();
    let ensemble = Arc::new(ensemble);
    repository.register_ensemble(&name("pipe"), Version(1), Arc::clone(&ensemble)).unwrap();
    let before = ensemble.statistics();
    let router = Server::builder(repository).build().unwrap().into_router();
    let body = r#"{"inputs": [{"name": "x", "shape": [2], "datatype": "FP64", "data": [10, 20]}]}"#;
    let answer = post(&router, "/v2/models/pipe/infer", body).await;
    assert_eq!(answer["outputs"][0]["name"], "score");
    // ((1 + 1) + 3 * 2) / 4, ((2 + 1) + 3 * 4) / 4
    assert_eq!(answer["outputs"][0]["data"], json!([2.0, 3.75]));
    let (_, metadata) = call(&router, "GET", "/v2/models/pipe", "").await;
    assert_eq!((&metadata["platform"], &metadata["inputs"][0]["datatype"]), (&json!("ensemble"), &json!("FP64")));
    let (_, stats) = call(&router, "GET", "/v2/models/plus/stats", "").await;
    // One row of the warm-up, two of the request.
    assert_eq!(stats["model_stats"][0]["inference_count"], 3);
    let after = ensemble.statistics();
    assert_eq!(after.iter().map(|step| step.step.as_str()).collect::<Vec<_>>(), ["scale", "plus", "double", "blend"]);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((after.success - before.success, after.rows - before.rows, after.failure), (1, 2, 0));
    }
}

/// What is wrong with an ensemble of `x` to `score`, with the step and tensor that the error's context names.
fn refused(steps: impl IntoIterator<Item = Step>, text: &str, step: Option<&str>, tensor: Option<&str>) {
    let built = steps.into_iter().fold(builder(&["score"]), EnsembleBuilder::with_step);
    let error = built.build(&repository().peers()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert!(error.message().contains(text), "{error}");
    let named = |key: &str| error.context().iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str());
    assert_eq!((named("step"), named("tensor")), (step, tensor), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_when_it_is_built_and_named() {
    let good = || double("a", "x", "score");
    refused([], "has 0 steps", None, None);
    refused([double("a", "z", "score")], "reads tensor \"z\", which nothing gives", Some("a"), Some("z"));
    refused([good().with_input("w", "x")], "step \"a\" has no input \"w\"; it has x", Some("a"), Some("w"));
    refused([good().with_output("w", "v")], "step \"a\" has no output \"w\"", Some("a"), Some("w"));
    refused([double("a", "x", "other")], "output \"score\" of the ensemble is given by no step", None, Some("score"));
    refused([good(), good()], "two steps are called \"a\"", Some("a"), None);
    refused([good(), double("b", "x", "score")], "by step \"b\" and by step \"a\"", Some("b"), Some("score"));
    refused([double("a", "x", "x")], "by step \"a\" and by an input of the ensemble", Some("a"), Some("x"));
    refused([double("a", "q", "p"), double("b", "p", "q"), double("c", "x", "score")], "a circle: ", Some("b"), None);
    let text = Signature::new([TensorSpec::column("x", DataType::String)], [column("y")]).unwrap();
    let reader: Arc<dyn Model> = Arc::new(ClosureModel::new(text, |batch: &RecordBatch| Ok(batch.clone())));
    let mixed = Step::model("a", reader).with_output("y", "score");
    refused([mixed], "input \"x\" of step \"a\" must be String, tensor \"x\" is Float64", Some("a"), Some("x"));
    let wide = Signature::new([column("x")], [TensorSpec::tensor("y", DataType::Float64, [2])]).unwrap();
    let wide: Arc<dyn Model> = Arc::new(ClosureModel::new(wide, |batch: &RecordBatch| Ok(batch.clone())));
    let shaped = Step::model("a", wide).with_output("y", "score");
    refused(
        [shaped],
        "output \"score\" of the ensemble has row shape [], tensor \"score\" has [2]",
        Some("a"),
        Some("score"),
    );
    refused([Step::combine("a", Combination::vote(), ["x"], "score")], "step \"a\": a vote is of", Some("a"), None);
    // All of it at once.
    let error = builder(&["score", "more"]).with_step(double("a", "z", "v")).build(&repository().peers()).unwrap_err();
    for part in ["\"z\"", "\"score\"", "\"more\"", "input \"x\" of the ensemble is read by no step"] {
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn what_is_not_in_service_may_come() {
    let missing = Step::served("a", name("nobody"), None).with_output("y", "score");
    let error = builder(&["score"]).with_step(missing).build(&repository().peers()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("step \"a\": model \"nobody\" is not served here"), "{error}");
    let tensors = ModelRepository::new();
    tensors.register_tensors(&name("raw"), Version(1), Arc::new(IdentityModel::new(TensorType::Fp64))).unwrap();
    let varying = builder(&["score"]).with_step(Step::served("a", name("raw"), None)).build(&tensors.peers());
    assert!(varying.unwrap_err().message().contains("the rows, and only they, may vary"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_sees_one_version_of_a_model_whatever_is_swapped_meanwhile() {
    let repository = repository();
    let ensemble = builder(&["left", "right"])
        .with_step(double("a", "x", "left"))
        // A step between them, so that they run at different moments.
        .with_step(
            Step::model("wait", scalar(|x| (0..200).fold(x, |x, _| std::hint::black_box(x)))).with_output("y", "w"),
        )
        .with_step(double("b", "w", "right"))
        .build(&repository.peers())
        .unwrap();
    repository.register_ensemble(&name("pair"), Version(1), Arc::new(ensemble)).unwrap();
    let server = Server::builder(Arc::clone(&repository)).build().unwrap();
    let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, swapped, swapping) = (Arc::clone(&stop), Arc::clone(&swaps), Arc::clone(&repository));
    let swapper = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            for version in [2, 1] {
                swapping.set_default(&name("double"), Version(version)).unwrap();
                swapped.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut seen = [false, false];
    let mut asked = 0;
    while asked < 2_000 || (!(seen[0] && seen[1]) && asked < 1_000_000) {
        let reply = server.infer(&name("pair"), batch(&[1.0]), InferOptions::default()).await.unwrap();
        let (left, right) = (values(&reply.outputs, "left"), values(&reply.outputs, "right"));
        assert_eq!(left, right, "two versions in one answer");
        seen[usize::from(left == [3.0])] = true;
        asked += 1;
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(seen[0] && seen[1] && swaps.load(Ordering::Relaxed) > 0, "both versions answered");
}

#[test]
fn a_failure_names_its_step_and_a_version_that_no_longer_fits_says_so() {
    let repository = repository();
    let failing = fallible(|x| if x < 0.0 { Err(mlops_core::Error::invalid_argument("below zero")) } else { Ok(x) });
    let panicking = scalar(|x| if x > 100.0 { panic!("too large") } else { x });
    let ensemble = builder(&["score"])
        .with_step(Step::model("first", failing).with_output("y", "a"))
        .with_step(Step::model("second", panicking).with_input("x", "a").with_output("y", "b"))
        .with_step(double("third", "b", "score"))
        .build(&repository.peers())
        .unwrap();
    assert_eq!(values(&ensemble.predict(&batch(&[1.0])).unwrap(), "score"), [2.0]);
    let error = ensemble.predict(&batch(&[-1.0])).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidArgument, "step \"first\": below zero"));
    let error = ensemble.predict(&batch(&[1e3])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.message().starts_with("step \"second\": the model panicked"), "{error}");
    let failures: Vec<u64> = ensemble.statistics().iter().map(|step| step.failure).collect();
    assert_eq!(failures, [1, 1, 0]);

    let other = Signature::new([column("x"), column("z")], [column("y")]).unwrap();
    let other = ClosureModel::new(other, |batch: &RecordBatch| {
        Ok(RecordBatch::try_from_iter([("y", Arc::clone(batch.column(0)))])?)
    });
    repository.register(&name("double"), Version(3), Arc::new(other)).unwrap();
    assert_eq!(values(&ensemble.predict(&batch(&[1.0])).unwrap(), "score"), [2.0], "it is not in service yet");
    repository.set_default(&name("double"), Version(3)).unwrap();
    let error = ensemble.predict(&batch(&[1.0])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().contains("step \"third\": version 3 has another input \"z\""), "{error}");
    repository.set_default(&name("double"), Version(2)).unwrap();
    assert_eq!(values(&ensemble.predict(&batch(&[1.0])).unwrap(), "score"), [3.0]);
    repository.unload(&name("double")).unwrap();
    let error = ensemble.predict(&batch(&[1.0])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("step \"third\": model \"double\" is not in service"), "{error}");
}

#[test]
fn ensembles_that_ask_each_other_end_in_an_error() {
    let repository = repository();
    let ask = |model: &str| Step::served("ask", name(model), None).with_output("y", "score");
    let outer = builder(&["score"]).with_step(ask("plus")).build(&repository.peers()).unwrap();
    repository.register_ensemble(&name("outer"), Version(1), Arc::new(outer)).unwrap();
    let inner = Ensemble::builder(Signature::new([column("x")], [column("y")]).unwrap())
        .with_step(Step::served("ask", name("outer"), None).with_output("score", "y"))
        .build(&repository.peers())
        .unwrap();
    let inner = Arc::new(inner);
    repository.register_ensemble(&name("plus"), Version(2), Arc::clone(&inner)).unwrap();
    assert_eq!(values(&inner.predict(&batch(&[1.0])).unwrap(), "y"), [2.0]);
    repository.set_default(&name("plus"), Version(2)).unwrap();
    let error = inner.predict(&batch(&[1.0])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().contains("more than 16 deep"), "{error}");
}

/// Each of two steps waits for the other, once it is known that they take long enough for a thread.
#[test]
fn steps_that_take_their_time_run_side_by_side() {
    let clock = Arc::new(ManualClock::at("2024-01-01".parse().unwrap()));
    let together = Arc::new(AtomicBool::new(false));
    let side = |send: std::sync::mpsc::Sender<()>, receive: std::sync::mpsc::Receiver<()>| {
        let (clock, together, receive) = (Arc::clone(&clock), Arc::clone(&together), std::sync::Mutex::new(receive));
        scalar(move |x| {
            clock.advance(Duration::from_millis(1));
            if together.load(Ordering::Relaxed) {
                send.send(()).unwrap();
                receive
                    .lock()
                    .unwrap()
                    .recv_timeout(Duration::from_secs(60))
                    .expect("the other step did not run beside");
            }
            x
        })
    };
    let ((to_a, from_b), (to_b, from_a)) = (channel(), channel());
    let shared: Arc<dyn mlops_core::Clock> = Arc::<ManualClock>::clone(&clock);
    let ensemble = builder(&["mean"])
        .with_step(Step::model("a", side(to_b, from_b)).with_output("y", "left"))
        .with_step(Step::model("b", side(to_a, from_a)).with_output("y", "right"))
        .with_step(Step::combine("mean", Combination::mean(), ["left", "right"], "mean"))
        .with_clock(shared)
        .build(&ModelRepository::new().peers())
        .unwrap();
    ensemble.predict(&batch(&[1.0])).unwrap();
    together.store(true, Ordering::Relaxed);
    assert_eq!(values(&ensemble.predict(&batch(&[1.0])).unwrap(), "mean"), [1.0]);
}

fn write(root: &std::path::Path, model: &str, version: u64, description: &Value) {
    let directory = root.join(model).join(version.to_string());
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(ENSEMBLE_FILE), description.to_string()).unwrap();
}

fn column_json(name: &str) -> Value {
    json!({ "name": name, "data_type": "float64" })
}

/// The directory holds ensembles alone: of a function, and of each other.
fn from_directory(root: &std::path::Path) -> Arc<ModelRepository> {
    let source = DirectorySource::new(root);
    let runtime = EnsembleRuntime::default().with_function("plus_one", scalar(|x| x + 1.0));
    let names = source.models().unwrap();
    let runtimes = Runtimes::new().with_runtime(Arc::new(runtime));
    let repository = Arc::new(ModelRepository::with_source(Arc::new(source), runtimes));
    for name in names {
        repository.add(ModelConfig::new(ModelRef { name, selector: Selector::Latest })).unwrap();
    }
    repository
}

#[tokio::test]
async fn ensembles_in_a_directory_are_loaded_behind_the_models_they_ask() {
    let root = tempfile::tempdir().unwrap();
    let twice = json!({
        "inputs": [column_json("x")], "outputs": [column_json("score")],
        "steps": [
            {"name": "one", "model": "z_last", "outputs": {"y": "once"}},
            {"name": "two", "model": "z_last", "inputs": {"x": "once"}, "outputs": {"y": "score"}}
        ]
    });
    // In the order of names it comes before what it asks.
    write(root.path(), "a_first", 1, &twice);
    let plus = json!({
        "inputs": [column_json("x")], "outputs": [column_json("y")],
        "steps": [{"name": "plus", "function": "plus_one"}]
    });
    write(root.path(), "z_last", 1, &plus);
    let triton = json!({
        "name": "triton", "platform": "ensemble", "max_batch_size": 8,
        "input": [{"name": "x", "data_type": "TYPE_FP64", "dims": []}],
        "output": [{"name": "OUT", "data_type": "TYPE_FP64", "dims": []}],
        "ensemble_scheduling": {"step": [
            {"model_name": "a_first", "model_version": -1, "input_map": {"x": "x"}, "output_map": {"score": "OUT"}}
        ]}
    });
    write(root.path(), "triton", 1, &triton);
    let repository = from_directory(root.path());
    let report = repository.sync().await;
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let server = Server::builder(Arc::clone(&repository)).build().unwrap();
    let ask = async |model: &str, output: &str| {
        let reply = server.infer(&name(model), batch(&[1.0]), InferOptions::default()).await.unwrap();
        values(&reply.outputs, output)[0]
    };
    assert_eq!((ask("a_first", "score").await, ask("triton", "OUT").await), (3.0, 3.0));

    // A model that it asks gets a new version: the ensemble follows without being loaded again.
    let plus_two = json!({
        "inputs": [column_json("x")], "outputs": [column_json("y")],
        "steps": [
            {"name": "plus", "function": "plus_one", "outputs": {"y": "more"}},
            {"name": "again", "function": "plus_one", "inputs": {"x": "more"}}
        ]
    });
    write(root.path(), "z_last", 2, &plus_two);
    let swapped = repository.sync().await.into_result().unwrap();
    assert_eq!(swapped, [(name("z_last"), Version(2))]);
    assert_eq!((ask("a_first", "score").await, ask("triton", "OUT").await), (5.0, 5.0));
}

#[tokio::test]
async fn a_step_that_names_a_version_keeps_it_when_a_newer_one_comes() {
    let root = tempfile::tempdir().unwrap();
    let outer = json!({
        "inputs": [column_json("x")], "outputs": [column_json("y")],
        "steps": [{"name": "ask", "model": "plus/1"}]
    });
    let plus = json!({
        "inputs": [column_json("x")], "outputs": [column_json("y")],
        "steps": [{"name": "plus", "function": "plus_one"}]
    });
    let plus_two = json!({
        "inputs": [column_json("x")], "outputs": [column_json("y")],
        "steps": [
            {"name": "plus", "function": "plus_one", "outputs": {"y": "more"}},
            {"name": "again", "function": "plus_one", "inputs": {"x": "more"}}
        ]
    });
    write(root.path(), "outer", 1, &outer);
    write(root.path(), "plus", 1, &plus);
    let repository = from_directory(root.path());
    repository.sync().await.into_result().unwrap();
    write(root.path(), "plus", 2, &plus_two);
    assert_eq!(repository.sync().await.into_result().unwrap(), [(name("plus"), Version(2))]);
    let server = Server::builder(Arc::clone(&repository)).build().unwrap();
    let ask = async |model: &str| {
        let reply = server.infer(&name(model), batch(&[1.0]), InferOptions::default()).await?;
        Ok::<_, mlops_core::Error>(values(&reply.outputs, "y")[0])
    };
    assert_eq!((ask("outer").await.unwrap(), ask("plus").await.unwrap()), (2.0, 3.0));
    server.check_readiness().await.unwrap();
    repository.unload(&name("plus")).unwrap();
    assert_eq!(ask("outer").await.unwrap_err().kind(), ErrorKind::Unavailable, "who unloads it means it");
}

#[test]
fn ensembles_of_ensembles_do_not_multiply_their_work_beyond_a_bound() {
    let repository = repository();
    let mut below = name("plus");
    // Ten steps each, four deep: 11,110 steps for one prediction.
    for depth in 0..4 {
        let steps = (0..10).map(|step| {
            let from = if step == 0 { "x".to_owned() } else { format!("t{step}") };
            let to = if step == 9 { "y".to_owned() } else { format!("t{}", step + 1) };
            Step::served(format!("s{step}"), below.clone(), None).with_input("x", from).with_output("y", to)
        });
        let ensemble = steps.fold(builder(&["y"]), EnsembleBuilder::with_step).build(&repository.peers()).unwrap();
        let outcome = ensemble.predict(&batch(&[1.0]));
        if depth < 2 {
            assert_eq!(values(&outcome.unwrap(), "y"), [1.0 + 10.0_f64.powi(depth + 1)]);
        } else {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
            assert!(error.message().contains("more than 1024 steps"), "{error}");
            break;
        }
        below = name(&format!("e{depth}"));
        repository.register_ensemble(&below, Version(1), Arc::new(ensemble)).unwrap();
    }
}

#[tokio::test]
async fn an_ensemble_that_cannot_be_built_is_told_and_served_once_it_can() {
    let root = tempfile::tempdir().unwrap();
    let alone = json!({
        "inputs": [column_json("x")], "outputs": [column_json("y")],
        "steps": [{"name": "ask", "model": "late"}]
    });
    write(root.path(), "alone", 1, &alone);
    write(root.path(), "bad", 1, &json!({"inputs": [], "outputs": [column_json("y")], "steps": []}));
    let repository = from_directory(root.path());
    let failed = repository.sync().await.failed;
    let of = |model: &str| failed.iter().find(|(failed, _)| *failed == name(model)).map(|(_, error)| error).unwrap();
    assert_eq!(of("alone").kind(), ErrorKind::Unavailable);
    assert!(of("alone").message().contains("step \"ask\": model \"late\" is not served here"), "{}", of("alone"));
    assert!(of("bad").message().contains("has 0 steps"), "{}", of("bad"));
    repository.register(&name("late"), Version(1), scalar(|x| -x)).unwrap();
    assert_eq!(repository.sync().await.swapped, [(name("alone"), Version(1))]);
    let server = Server::builder(repository).build().unwrap();
    let reply = server.infer(&name("alone"), batch(&[4.0]), InferOptions::default()).await.unwrap();
    assert_eq!(values(&reply.outputs, "y"), [-4.0]);
}

proptest! {
    /// Every step is the mean of tensors before it, in whatever order the steps are given.
    #[test]
    fn any_graph_computes_what_its_steps_say_in_any_order(
        parts in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..4), 1..12),
        order in any::<u64>(),
        x in prop::collection::vec(-100.0..100.0_f64, 1..5),
    ) {
        let tensor = |index: usize| if index == 0 { "x".to_owned() } else { format!("t{index}") };
        let mut expected = vec![x.clone()];
        let mut steps = Vec::new();
        let mut read = false;
        for (step, parts) in parts.iter().enumerate() {
            let chosen: Vec<usize> = parts.iter().map(|part| part.index(step + 1)).collect();
            read |= chosen.contains(&0);
            let mean = |row: usize| chosen.iter().map(|&part| expected[part][row]).sum::<f64>() / chosen.len() as f64;
            let made: Vec<f64> = (0..x.len()).map(mean).collect();
            steps.push(Step::combine(
                format!("s{step}"), Combination::mean(), chosen.iter().map(|&part| tensor(part)), tensor(step + 1),
            ));
            expected.push(made);
        }
        prop_assume!(read);
        let random = mlops_core::testing::SplitMix64::new(order);
        for place in (1..steps.len()).rev() {
            steps.swap(place, (random.bits(place as u64) % (place as u64 + 1)) as usize);
        }
        let last = tensor(parts.len());
        let built = steps.into_iter().fold(builder(&[&last]), EnsembleBuilder::with_step);
        let ensemble = built.build(&ModelRepository::new().peers()).unwrap();
        let found = ensemble.predict(&batch(&x)).unwrap();
        prop_assert_eq!(&values(&found, &last), expected.last().unwrap());
    }
}

//! Models that share a bounded memory.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
};

use mlops_core::{
    DataType, ErrorKind, Model, ModelName, ModelPackage, Result, Signature, TensorSpec, Version,
    arrow_array::{RecordBatch, record_batch},
};
use mlops_serve::{DirectorySource, InferOptions, ModelConfig, ModelRepository, Runtimes, Server};
use serde_json::{Value, json};

use crate::{client::call, support::settings};

/// Answers its input, says it takes some bytes, and can be made to wait.
#[derive(Debug)]
struct Heavy {
    signature: Signature,
    bytes: u64,
    gate: Option<Arc<Gate>>,
}

#[derive(Debug)]
struct Gate {
    entered: Mutex<Sender<()>>,
    leave: Mutex<Receiver<()>>,
}

impl Model for Heavy {
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        // The row of the warm-up is zero.
        let waits = self.gate.as_ref().filter(|_| inputs == &row());
        if let Some(gate) = waits {
            gate.entered.lock().unwrap().send(()).unwrap();
            gate.leave.lock().unwrap().recv().unwrap();
        }
        Ok(inputs.clone())
    }
    fn memory_bytes(&self) -> u64 {
        self.bytes
    }
}

fn signature() -> Signature {
    let column = TensorSpec::column("x", DataType::Int64);
    Signature::new([column.clone()], [column]).unwrap()
}

fn row() -> RecordBatch {
    let columns = vec![Arc::clone(record_batch!(("x", Int64, [7])).unwrap().column(0))];
    RecordBatch::try_new(signature().input_schema(), columns).unwrap()
}

fn name(name: &str) -> ModelName {
    name.parse().unwrap()
}

/// Loads of each model, and the gate of `slow`.
type Loads = Arc<Mutex<BTreeMap<String, usize>>>;

/// A server of models in `root` that take the bytes that are said, under a budget of 100.
async fn server(root: &Path, models: &[(&str, u64)], gate: Option<Arc<Gate>>) -> (Server, Loads) {
    let source = DirectorySource::new(root);
    let loads = Loads::default();
    let count = Arc::clone(&loads);
    let runtimes = Runtimes::new().with("heavy", move |package: &ModelPackage| {
        let (own, bytes) = (&package.manifest.notes["name"], package.manifest.notes["bytes"].parse().unwrap());
        *count.lock().unwrap().entry(own.clone()).or_default() += 1;
        let gate = gate.clone().filter(|_| own == "slow");
        Ok(Arc::new(Heavy { signature: package.manifest.signature.clone(), bytes, gate }))
    });
    for (model, bytes) in models {
        let mut package = ModelPackage::new("heavy", signature());
        package.manifest.notes = [("name", (*model).to_owned()), ("bytes", bytes.to_string())]
            .map(|(key, value)| (key.to_owned(), value))
            .into();
        source.write(&name(model), Version(1), &package).unwrap();
    }
    let repository = ModelRepository::with_source(Arc::new(source), runtimes).with_memory_budget(100);
    for (model, _) in models {
        repository.add(ModelConfig::new(model.parse().unwrap())).unwrap();
    }
    let repository = Arc::new(repository);
    for (model, error) in repository.sync().await.failed {
        assert_eq!((model, error.kind()), (name("whale"), ErrorKind::ResourceExhausted));
    }
    let settings = settings(json!({"repository_api": true}));
    (Server::builder(repository).with_settings(settings).build().unwrap(), loads)
}

async fn ask(server: &Server, model: &str) -> Result<usize> {
    let reply = server.infer(&name(model), row(), InferOptions::default()).await?;
    Ok(reply.outputs.num_rows())
}

fn ready(server: &Server) -> Vec<String> {
    let index = server.repository().index();
    index.iter().filter(|line| line.state == "READY").map(|line| line.name.to_string()).collect()
}

#[tokio::test]
async fn the_least_recently_used_model_makes_room() {
    let root = tempfile::tempdir().unwrap();
    let (server, loads) = server(root.path(), &[("a", 40), ("b", 40), ("c", 40)], None).await;
    assert_eq!((ready(&server), server.repository().memory_bytes()), (vec!["a".into(), "b".into()], 80));
    assert!(server.is_ready(), "a model that sleeps is as ready as it needs to be");
    for model in ["a", "b", "a"] {
        ask(&server, model).await.unwrap();
    }
    assert_eq!(ask(&server, "c").await.unwrap(), 1);
    assert_eq!((ready(&server), server.repository().memory_bytes()), (vec!["a".into(), "c".into()], 80));
    let _ = server.repository().sync().await;
    assert_eq!(ready(&server), ["a", "c"], "synchronizing wakes nobody");
    let why = server.repository().index().into_iter().find(|line| line.name == name("b")).unwrap().reason.unwrap();
    assert!(why.contains("sleeps"), "{why}");
    ask(&server, "b").await.unwrap();
    assert_eq!(ready(&server), ["b", "c"]);
    assert_eq!(*loads.lock().unwrap(), [("a", 1), ("b", 2), ("c", 2)].map(|(model, n)| (model.to_owned(), n)).into());
}

/// What tells whether a configuration fits is loaded first.
#[tokio::test]
async fn a_model_that_sleeps_or_was_unloaded_is_loaded_with_a_configuration_that_fits() {
    let root = tempfile::tempdir().unwrap();
    let (server, _) = server(root.path(), &[("a", 60), ("b", 60)], None).await;
    let router = server.clone().into_router();
    let config = async |model: &str| call(&router, "GET", &format!("/v2/models/{model}/config"), "").await.1;
    let load = async |config: &Value| {
        let body = json!({"parameters": {"config": config.to_string()}}).to_string();
        call(&router, "POST", "/v2/repository/models/b/load", body).await
    };
    let mut fits = config("a").await;
    (fits["name"], fits["max_batch_size"]) = (json!("b"), json!(4));
    let mut other = fits.clone();
    other["platform"] = json!("other");
    assert_eq!(ready(&server), ["a"], "b sleeps");
    for unloaded in [false, true] {
        if unloaded {
            server.repository().unload(&name("b")).unwrap();
        }
        let (status, answer) = load(&other).await;
        assert_eq!(status, 400, "unloaded {unloaded}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains("\"platform\" of its config"), "{answer}");
        let _ = server.repository().sync().await;
        assert!(!ready(&server).contains(&"b".to_owned()), "unloaded {unloaded}");
        let (status, answer) = load(&fits).await;
        assert_eq!(status, 200, "unloaded {unloaded}: {answer}");
        assert_eq!((ready(&server), &config("b").await["max_batch_size"]), (vec!["b".to_owned()], &json!(4)));
    }
    ask(&server, "a").await.unwrap();
    ask(&server, "b").await.unwrap();
    assert_eq!(config("b").await["max_batch_size"], json!(4), "it slept and was woken, but not loaded by a client");
    server.repository().load(&name("b")).await.unwrap();
    assert_ne!(config("b").await["max_batch_size"], json!(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_for_a_sleeping_model_load_it_once() {
    let root = tempfile::tempdir().unwrap();
    let (server, loads) = server(root.path(), &[("a", 60), ("b", 60)], None).await;
    assert_eq!(
        (ready(&server), loads.lock().unwrap()["b"]),
        (vec!["a".into()], 1),
        "loaded to see that it does not fit"
    );
    let asked = (0..16).map(|_| ask(&server, "b"));
    assert!(futures::future::join_all(asked).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(loads.lock().unwrap()["b"], 2);
}

#[tokio::test]
async fn what_cannot_fit_is_refused_and_nothing_else_has_to_go() {
    let root = tempfile::tempdir().unwrap();
    let (server, _) = server(root.path(), &[("a", 40), ("whale", 101)], None).await;
    assert_eq!(ready(&server), ["a"]);
    assert_eq!(ask(&server, "whale").await.unwrap_err().kind(), ErrorKind::Unavailable);
    let error = server.repository().load(&name("whale")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.message().contains("takes 101 bytes; the memory budget is 100"), "{error}");
    assert_eq!(ready(&server), ["a"]);
}

#[tokio::test]
async fn models_that_were_registered_by_hand_stay() {
    let root = tempfile::tempdir().unwrap();
    let (server, _) = server(root.path(), &[("a", 40)], None).await;
    let own = Heavy { signature: signature(), bytes: 70, gate: None };
    server.repository().register(&name("own"), Version(1), Arc::new(own)).unwrap();
    assert_eq!(server.repository().memory_bytes(), 110, "what the application puts there is its own choice");
    server.repository().unload(&name("a")).unwrap();
    let error = server.repository().load(&name("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.message().contains("70 are taken by what must stay"), "{error}");
    assert_eq!(ready(&server), ["own"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered_before_its_model_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let ((entered, has_entered), (leave, leaves)) = (channel(), channel());
    let gate = Arc::new(Gate { entered: Mutex::new(entered), leave: Mutex::new(leaves) });
    let (server, _) = server(root.path(), &[("slow", 60), ("b", 60)], Some(gate)).await;
    let (asking, answered) = (server.clone(), Arc::new(AtomicUsize::new(0)));
    let order = Arc::clone(&answered);
    let slow = tokio::spawn(async move {
        let answer = ask(&asking, "slow").await;
        order.fetch_add(1, Ordering::SeqCst);
        answer
    });
    tokio::task::spawn_blocking(move || has_entered.recv().unwrap()).await.unwrap();
    let (asking, order) = (server.clone(), Arc::clone(&answered));
    let other = tokio::spawn(async move { (ask(&asking, "b").await, order.load(Ordering::SeqCst)) });
    while server.repository().index().iter().all(|line| line.state != "UNLOADING") {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.repository().memory_bytes(), 60, "what drains still takes its memory");
    leave.send(()).unwrap();
    assert_eq!(slow.await.unwrap().unwrap(), 1);
    assert_eq!(other.await.unwrap().0.unwrap(), 1);
    assert_eq!((ready(&server), server.repository().memory_bytes()), (vec!["b".to_owned()], 60));
}

//! ONNX files in a model directory: bare, in packages, and answered over Open Inference.

use std::{fs, path::PathBuf, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use mlops_core::{
    DataType, ErrorKind, Model, ModelName, ModelPackage, ModelRef, Selector, Signature, TensorSpec, Version,
    arrow_array::{ArrayRef, Float64Array, RecordBatch},
};
use mlops_onnx::Limits;
use mlops_serve::{
    DirectorySource, InferOptions, ModelConfig, ModelRepository, ONNX_FILE, ONNX_FLAVOR, OnnxRuntime, Runtimes, Server,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

fn exported(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../mlops-onnx/tests/data").join(name)
}

async fn served(directory: &std::path::Path) -> Server {
    let source = DirectorySource::new(directory);
    let names = source.models().unwrap();
    let runtimes = Runtimes::new().with_runtime(Arc::new(OnnxRuntime::default()));
    let repository = Arc::new(ModelRepository::with_source(Arc::new(source), runtimes));
    for name in names {
        repository.add(ModelConfig::new(ModelRef { name, selector: Selector::Latest })).unwrap();
    }
    let report = repository.sync().await;
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    Server::builder(repository).build().unwrap()
}

/// The bodies of requests and the answers come from the reference runtime, see `mlops-onnx/tests/it/golden.rs`.
#[tokio::test]
async fn bare_files_answer_open_inference_as_the_reference_runtime() {
    let models =
        ["skl_LogisticRegression", "skl_pipeline_mixed", "xgb_binary_missing", "skl_OneHotEncoder_strict_texts"];
    let root = tempfile::tempdir().unwrap();
    for name in models {
        let directory = root.path().join(name).join("1");
        fs::create_dir_all(&directory).unwrap();
        fs::copy(exported(&format!("{name}.onnx")), directory.join(ONNX_FILE)).unwrap();
    }
    let router = served(root.path()).await.into_router();
    for name in models {
        let golden: Value = serde_json::from_slice(&fs::read(exported(&format!("{name}.json"))).unwrap()).unwrap();
        let body = json!({ "inputs": golden["inputs"] }).to_string();
        if body.contains("null") {
            continue; // Not-a-number has no JSON form; that the model was loaded is what counts.
        }
        let request = Request::post(format!("/v2/models/{name}/infer")).body(Body::from(body)).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let answer: Value = serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap();
        for wanted in golden["outputs"].as_array().unwrap() {
            let found = answer["outputs"].as_array().unwrap().iter().find(|output| output["name"] == wanted["name"]);
            let found = found.unwrap_or_else(|| panic!("{name}: {answer}"));
            assert_eq!((&found["shape"], &found["datatype"]), (&wanted["shape"], &wanted["datatype"]), "{name}");
            let (data, expected) = (found["data"].as_array().unwrap(), wanted["data"].as_array().unwrap());
            assert_eq!(data.len(), expected.len(), "{name}");
            for (a, b) in data.iter().zip(expected) {
                match (a.as_f64(), b.as_f64()) {
                    (Some(a), Some(b)) => assert!((a - b).abs() <= 1e-5, "{name}: {a} is not {b}"),
                    _ => assert_eq!(a, b, "{name}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_package_may_present_a_wide_input_as_columns_and_a_changed_bare_file_is_a_new_model() {
    let bytes = fs::read(exported("skl_LogisticRegression.onnx")).unwrap();
    let outputs = mlops_onnx::OnnxModel::from_bytes(&bytes).unwrap().signature().outputs().to_vec();
    let columns: Vec<TensorSpec> = (0..6).map(|i| TensorSpec::column(format!("c{i}"), DataType::Float64)).collect();
    let package = ModelPackage::new(ONNX_FLAVOR, Signature::new(columns, outputs).unwrap()).with_file(ONNX_FILE, bytes);
    let root = tempfile::tempdir().unwrap();
    let name: ModelName = "churn".parse().unwrap();
    let source = DirectorySource::new(root.path());
    source.write(&name, Version(1), &package).unwrap();
    let server = served(root.path()).await;
    let columns = (0..6).map(|i| (format!("c{i}"), Arc::new(Float64Array::from(vec![0.5; 3])) as ArrayRef));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let reply = server.infer(&name, batch, InferOptions::default()).await.unwrap();
    assert_eq!((reply.version, reply.outputs.num_rows()), (Version(1), 3));

    let bare = root.path().join("churn/2");
    fs::create_dir_all(&bare).unwrap();
    fs::copy(exported("lgbm_binary.onnx"), bare.join(ONNX_FILE)).unwrap();
    let resolve = async || mlops_core::ModelSource::resolve(&source, &"churn".parse().unwrap()).await.unwrap();
    let first = resolve().await;
    assert_eq!((first.version, resolve().await.digest), (Version(2), first.digest));
    fs::copy(exported("skl_LogisticRegression.onnx"), bare.join(ONNX_FILE)).unwrap();
    assert_ne!(resolve().await.digest, first.digest);
    let limits = Limits { items_max: 1, ..Limits::default() };
    let strict = DirectorySource::new(root.path()).with_onnx(OnnxRuntime::new(limits));
    let refused = mlops_core::ModelSource::resolve(&strict, &"churn".parse().unwrap()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ResourceExhausted, "a bare file is read under the runtime's limits");
    fs::write(bare.join(ONNX_FILE), "no model").unwrap();
    assert!(mlops_core::ModelSource::resolve(&source, &"churn".parse().unwrap()).await.is_err());
}

//! Explanations on the wire.

use std::sync::Arc;

use axum::{Router, http::StatusCode};
use mlops_core::{
    DataType, ErrorKind, ModelName, Signature, TensorSpec, Version,
    arrow_array::{ArrayRef, Float64Array, RecordBatch, cast::AsArray, record_batch, types::Float64Type},
};
use mlops_serve::{
    ClosureModel, IdentityModel, ModelConfig, ModelRepository, Server, ServerSettings, ShapleyExplainer,
    ShapleySettings, TensorType,
};
use serde_json::json;

use crate::client::{call, everything, post};

/// `y = slope a - b`, which is explained over two rows of zeros and twos.
fn server(settings: ServerSettings) -> Server {
    let name: ModelName = "line".parse().unwrap();
    let background = record_batch!(("a", Float64, [0.0, 2.0]), ("b", Float64, [0.0, 2.0])).unwrap();
    let explainer = ShapleyExplainer::new(background, ShapleySettings { rows_max: 2, ..Default::default() }).unwrap();
    let repository = Arc::new(ModelRepository::new());
    let config = ModelConfig::new("line".parse().unwrap()).with_explainer(Arc::new(explainer));
    repository.configure(config).unwrap();
    for version in [1, 2] {
        let column = |name: &str| TensorSpec::column(name, DataType::Float64);
        let signature = Signature::new([column("a"), column("b")], [column("y")]).unwrap();
        let slope = if version == 1 { 3.0 } else { 30.0 };
        let model = ClosureModel::new(signature, move |batch: &RecordBatch| {
            let (a, b) = (batch["a"].as_primitive::<Float64Type>(), batch["b"].as_primitive::<Float64Type>());
            let y = a.values().iter().zip(b.values()).map(|(a, b)| slope * a - b);
            Ok(RecordBatch::try_from_iter([("y", Arc::new(Float64Array::from_iter_values(y)) as ArrayRef)])?)
        });
        repository.register(&name, Version(version), Arc::new(model)).unwrap();
    }
    let raw = Arc::new(IdentityModel::new(TensorType::Fp32));
    repository.register_tensors(&"raw".parse().unwrap(), Version(1), raw).unwrap();
    Server::builder(repository).with_settings(settings).build().unwrap()
}

fn router() -> Router {
    server(ServerSettings::default()).into_router()
}

#[tokio::test]
async fn kserve_v1_gives_an_explanation_per_instance() {
    let body = r#"{"instances": [{"a": 5, "b": 1}, {"a": 1, "b": 1}]}"#;
    let explanation = |y: f64, a: f64, b: f64| json!({"base_values": {"y": 2.0}, "predictions": {"y": y}, "attributions": {"y": {"a": a, "b": b}}});
    let expected = json!({"explanations": [explanation(14.0, 12.0, 0.0), explanation(2.0, 0.0, 0.0)]});
    assert_eq!(post(&router(), "/v1/models/line:explain", body).await, expected);
    let second = post(&router(), "/v1/models/line/versions/2:explain", body).await;
    assert_eq!(second["explanations"][0]["attributions"]["y"], json!({"a": 120.0, "b": 0.0}));
    assert_eq!(post(&router(), "/v1/models/line/labels/stable:explain", body).await, expected);
}

#[tokio::test]
async fn torchserve_gives_a_bare_explanation_per_row() {
    let settings = serde_json::from_value(json!({"protocols": {"torchserve": true}})).unwrap();
    let router = server(settings).into_router();
    let expected =
        json!({"base_values": {"y": 2.0}, "predictions": {"y": 14.0}, "attributions": {"y": {"a": 12.0, "b": 0.0}}});
    assert_eq!(post(&router, "/explanations/line", r#"{"a": 5, "b": 1}"#).await, expected);
    let rows = post(&router, "/explanations/line/2", r#"[{"a": 5, "b": 1}, {"a": 1, "b": 1}]"#).await;
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(rows[0]["attributions"]["y"], json!({"a": 120.0, "b": 0.0}));
    for (path, body, code) in
        [("/explanations/raw", "[]", 501), ("/explanations/none", "[]", 404), ("/explanations/line", "{", 400)]
    {
        let (status, answer) = call(&router, "POST", path, body).await;
        assert_eq!((status.as_u16(), &answer["code"]), (code, &json!(code)), "{answer}");
    }
}

#[tokio::test]
async fn open_inference_gives_tensors() {
    let tensor = |name: &str, data: [f64; 2]| json!({"name": name, "shape": [2], "datatype": "FP64", "data": data});
    let body = json!({"id": "7", "inputs": [tensor("b", [1.0, 1.0]), tensor("a", [5.0, 1.0])]}).to_string();
    let answer = post(&router(), "/v2/models/line/explain", &body).await;
    assert_eq!(
        (&answer["model_name"], &answer["model_version"], &answer["id"]),
        (&json!("line"), &json!("1"), &json!("7"))
    );
    let output =
        |name: &str| answer["outputs"].as_array().unwrap().iter().find(|output| output["name"] == name).unwrap();
    assert_eq!(output("attributions")["shape"], json!([2, 1, 2]));
    assert_eq!(output("attributions")["data"], json!([12.0, 0.0, 0.0, 0.0]));
    assert_eq!(output("predictions")["data"], json!([14.0, 2.0]));
    assert_eq!(output("base_values")["data"], json!([2.0]));
    assert_eq!((&output("targets")["data"], &output("features")["data"]), (&json!(["y"]), &json!(["a", "b"])));
    let second = post(&router(), "/v2/models/line/versions/2/explain", &body).await;
    assert_eq!(second["model_version"], "2");
}

#[tokio::test]
async fn what_is_not_explained_is_told_in_the_protocols_words() {
    let instances = r#"{"instances": [{"a": 5, "b": 1}]}"#;
    for (router, path, body, status, text) in [
        (everything("add"), "/v1/models/add:explain", instances, 501, "model \"add\" has no explainer"),
        (everything("add"), "/v2/models/add/explain", "{}", 501, "model \"add\" has no explainer"),
        (router(), "/v2/models/raw/explain", "{}", 501, "raw tensors"),
        (router(), "/v1/models/none:explain", instances, 404, "not served"),
        (router(), "/v1/models/line:explain", r#"{"instances": [{"a": 5}]}"#, 400, "b"),
        (router(), "/v1/models/line:explain", r#"{"instances": [[1,2],[1,2],[1,2]]}"#, 400, ""),
    ] {
        let (found, answer) = call(&router, "POST", path, body).await;
        assert_eq!(found.as_u16(), status, "{path}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(text), "{answer}");
    }
}

#[tokio::test]
async fn in_process_the_version_can_be_chosen() {
    let server = server(ServerSettings::default());
    let (line, rows) = ("line".parse().unwrap(), record_batch!(("a", Float64, [5.0]), ("b", Float64, [1.0])).unwrap());
    let explained = server.explain(&line, rows.clone(), Some(Version(2))).await.unwrap();
    assert_eq!((explained.of(0, 0).unwrap(), explained.base_values[0]), ([120.0, 0.0].as_slice(), 29.0));
    let error = server.explain(&line, rows, Some(Version(3))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(call(&server.into_router(), "POST", "/v1/models/line:none", "{}").await.0, StatusCode::NOT_FOUND);
}

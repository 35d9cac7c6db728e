//! Triton's extensions over REST.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use mlops_core::Version;
use mlops_serve::{ModelRepository, Server, Tensor, TensorInfo, TensorModel, TensorType};
use serde_json::{Value, json};

use crate::{
    client::{call, everything, post, send},
    support::{GATED, Gate, in_time, settings},
};

async fn told(router: &Router, path: &str) -> Value {
    let (status, answer) = call(router, "GET", path, Body::empty()).await;
    assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    answer
}

/// Loads a model with a configuration, which is text where it is no JSON.
async fn load(router: &Router, model: &str, config: &Value) -> (StatusCode, Value) {
    let text = config.as_str().map_or_else(|| config.to_string(), str::to_owned);
    let body = json!({"parameters": {"config": text}}).to_string();
    call(router, "POST", &format!("/v2/repository/models/{model}/load"), body).await
}

async fn batch_size(router: &Router, model: &str) -> u64 {
    told(router, &format!("/v2/models/{model}/config")).await["max_batch_size"].as_u64().unwrap()
}

#[tokio::test]
async fn the_largest_classes_are_told_as_text() {
    let router = everything("add");
    let body = |count: &Value| {
        json!({
            "inputs": [{"name": "X", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 4, 3]}],
            "outputs": [{"name": "scores", "parameters": {"classification": count}}],
        })
        .to_string()
    };
    let answer = post(&router, "/v2/models/pair/infer", &body(&json!(1))).await;
    let expected =
        json!({"name": "scores", "shape": [2, 1], "datatype": "BYTES", "data": ["2.000000:1", "4.000000:0"]});
    assert_eq!(answer["outputs"], json!([expected]));
    for bad in [json!(0), json!(-1), json!("1"), json!(1.5)] {
        let (status, answer) = call(&router, "POST", "/v2/models/pair/infer", body(&bad)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {answer}");
    }
}

#[tokio::test]
async fn generate_takes_and_gives_named_values() {
    let router = everything("add");
    let answer = post(&router, "/v2/models/word/generate", r#"{"text":"hello","max_tokens":7}"#).await;
    assert_eq!(answer, json!({"model_name": "word", "model_version": "1", "text": "hello"}));
    let answer = post(&router, "/v2/models/pair/versions/1/generate", r#"{"X":[1,2]}"#).await;
    assert_eq!(answer, json!({"model_name": "pair", "model_version": "1", "label": 1, "scores": [1.0, 2.0]}));
    for parameters in [r#""parameters":{"n":1}"#, r#""parameters":null,"id":null"#, r#""id":"","n":{"a":[1]}"#] {
        let body = format!(r#"{{"text":"hello",{parameters}}}"#);
        let answer = post(&router, "/v2/models/word/generate", &body).await;
        assert_eq!(answer, json!({"model_name": "word", "model_version": "1", "text": "hello"}), "{body}");
    }
    let answer = post(&router, "/v2/models/word/generate", r#"{"text":"hello","id":"42"}"#).await;
    assert_eq!(answer, json!({"model_name": "word", "model_version": "1", "id": "42", "text": "hello"}));
    for (model, body) in [
        ("word", "{}"),
        ("word", "[]"),
        ("word", r#"{"text":["a","b"]}"#),
        ("word", r#"{"text":"a","text":"b"}"#),
        ("word", r#"{"text":"a","id":1}"#),
        ("word", r#"{"text":"a","parameters":1}"#),
        ("word", r#"{"text":"a"} more"#),
        ("pair", r#"{"X":[1,2,3]}"#),
    ] {
        let path = format!("/v2/models/{model}/generate");
        assert_eq!(call(&router, "POST", &path, body).await.0, StatusCode::BAD_REQUEST, "{model} {body}");
    }
}

#[tokio::test]
async fn a_generated_stream_is_server_sent_events() {
    let router = everything("add");
    let request = Request::post("/v2/models/word/generate_stream").body(Body::from(r#"{"text":"a\nb"}"#)).unwrap();
    let (status, headers, body) = send(&router, request).await;
    assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &"text/event-stream".parse().unwrap()));
    let expected = "data: {\"model_name\":\"word\",\"model_version\":\"1\",\"text\":\"a\\nb\"}\n\n";
    assert_eq!(body, json!(expected));
}

#[tokio::test]
async fn clients_may_forget_shared_memory_that_there_is_not() {
    let router = everything("add");
    for kind in ["system", "cuda"] {
        let base = format!("/v2/{kind}sharedmemory");
        for path in ["unregister", "region/r/unregister"] {
            assert_eq!(call(&router, "POST", &format!("{base}/{path}"), Body::empty()).await.0, StatusCode::OK);
        }
        assert_eq!(call(&router, "GET", &format!("{base}/status"), Body::empty()).await.1, json!([]));
    }
}

#[tokio::test]
async fn tensors_in_shared_memory_are_refused_by_its_name() {
    let router = everything("add");
    let region = json!({"shared_memory_region": "r", "shared_memory_byte_size": 8});
    let given = json!({"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]});
    let mut shared = given.clone();
    shared.as_object_mut().unwrap().remove("data");
    shared["parameters"] = region.clone();
    for body in
        [json!({"inputs": [shared]}), json!({"inputs": [given], "outputs": [{"name": "scores", "parameters": region}]})]
    {
        let (status, answer) = call(&router, "POST", "/v2/models/pair/infer", body.to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains("shared memory region \"r\""), "{body}: {answer}");
    }
}

#[tokio::test]
async fn what_a_load_says_beside_the_model_is_never_passed_over() {
    let router = everything("add");
    for body in ["", "{}", r#"{"parameters":null}"#, r#"{"parameters":{}}"#] {
        let answer = call(&router, "POST", "/v2/repository/models/add/load", Body::from(body)).await;
        assert_eq!(answer.0, StatusCode::OK, "{body}: {}", answer.1);
    }
    let (configured, mut whole) = (batch_size(&router, "add").await, told(&router, "/v2/models/add/config").await);
    whole["max_batch_size"] = json!("24");
    whole["dynamic_batching"] = json!({"max_queue_delay_microseconds": "100"});
    for (config, rows) in [
        (json!({"max_batch_size": 16, "name": "add"}), 16),
        (json!({"max_batch_size": 0}), 1),
        (whole, 24),
        (json!({}), configured),
        (json!({"max_batch_size": 16}), 16),
    ] {
        let answer = load(&router, "add", &config).await;
        assert_eq!((answer.0, batch_size(&router, "add").await), (StatusCode::OK, rows), "{config}: {}", answer.1);
    }
    for config in [
        json!("{{"),
        json!([]),
        json!({"max_batch_size": -1}),
        json!({"max_batch_size": "many"}),
        json!({"max_batch_size": u64::MAX}),
        json!({"name": "other"}),
        json!({"input": []}),
        json!({"max_batch_size": 8, "input": []}),
        json!({"version_policy": {"latest": {"num_versions": 2}}}),
        json!({"dynamic_batching": {"preferred_batch_size": [4]}}),
        json!({"dynamic_batching": {"max_queue_delay_microseconds": -1}}),
    ] {
        let answer = load(&router, "add", &config).await;
        let after = (answer.0, batch_size(&router, "add").await);
        assert_eq!(after, (StatusCode::BAD_REQUEST, 16), "{config}: {}", answer.1);
        assert!(answer.1["error"].as_str().unwrap().contains("failed to load"), "{}", answer.1);
    }
    for (body, status) in [
        (r#"{"parameters":{"config":16}}"#, StatusCode::BAD_REQUEST),
        (r#"{"parameters":{"other":"a"}}"#, StatusCode::BAD_REQUEST),
        (r#"{"parameters":{"file:1/model.onnx":"AAAA"}}"#, StatusCode::NOT_IMPLEMENTED),
        (r#"{"parameters":1}"#, StatusCode::BAD_REQUEST),
        ("no json", StatusCode::BAD_REQUEST),
    ] {
        let answer = call(&router, "POST", "/v2/repository/models/add/load", Body::from(body)).await;
        assert_eq!(answer.0, status, "{body}: {}", answer.1);
    }
    assert_eq!(batch_size(&router, "add").await, 16);
    post(&router, "/v2/repository/models/add/load", "").await;
    assert_eq!(batch_size(&router, "add").await, configured, "a load that says nothing");
}

#[tokio::test]
async fn what_an_unload_says_beside_the_model_is_never_passed_over() {
    let router = everything("add");
    for (body, status) in [
        (r#"{"parameters":{"unload_dependents":true}}"#, StatusCode::NOT_IMPLEMENTED),
        (r#"{"parameters":{"unload_dependents":1}}"#, StatusCode::BAD_REQUEST),
        (r#"{"parameters":{"other":true}}"#, StatusCode::BAD_REQUEST),
        ("no json", StatusCode::BAD_REQUEST),
    ] {
        let answer = call(&router, "POST", "/v2/repository/models/add/unload", body).await;
        assert_eq!(answer.0, status, "{body}: {}", answer.1);
        told(&router, "/v2/models/add/ready").await;
    }
    for body in ["", r#"{"parameters":{"unload_dependents":false}}"#] {
        post(&router, "/v2/repository/models/add/load", "").await;
        post(&router, "/v2/repository/models/add/unload", body).await;
        let ready = call(&router, "GET", "/v2/models/add/ready", Body::empty()).await;
        assert_eq!(ready.0, StatusCode::SERVICE_UNAVAILABLE, "{body}: {}", ready.1);
    }
}

/// As clients do: ask for the configuration, unload, and load with it; protobuf's JSON writes 64-bit numbers as text.
#[tokio::test]
async fn a_model_out_of_service_is_loaded_with_what_the_server_told_of_it() {
    let router = everything("add");
    let mut config = told(&router, "/v2/models/pair/config").await;
    for tensors in ["input", "output"] {
        for tensor in config[tensors].as_array_mut().unwrap() {
            for dim in tensor["dims"].as_array_mut().unwrap() {
                *dim = dim.to_string().into();
            }
        }
    }
    assert_eq!(config["input"][0]["dims"], json!(["2"]));
    config["max_batch_size"] = json!(4);
    let mut other = config.clone();
    other["input"][0]["dims"] = json!(["3"]);
    post(&router, "/v2/repository/models/pair/unload", "").await;
    let answer = load(&router, "pair", &other).await;
    assert_eq!(answer.0, StatusCode::BAD_REQUEST, "{}", answer.1);
    let ready = call(&router, "GET", "/v2/models/pair/ready", Body::empty()).await;
    assert_eq!(ready.0, StatusCode::SERVICE_UNAVAILABLE, "{}", ready.1);
    let answer = load(&router, "pair", &config).await;
    assert_eq!((answer.0, batch_size(&router, "pair").await), (StatusCode::OK, 4), "{}", answer.1);
}

/// Its rows depend on each other.
#[derive(Debug)]
struct Whole([TensorInfo; 1]);

impl TensorModel for Whole {
    fn inputs(&self) -> &[TensorInfo] {
        &self.0
    }
    fn outputs(&self) -> &[TensorInfo] {
        &self.0
    }
    fn infer(&self, inputs: &[Tensor]) -> mlops_core::Result<Vec<Tensor>> {
        Ok(inputs.to_vec())
    }
}

#[tokio::test]
async fn a_model_that_does_not_batch_takes_no_batches() {
    let repository = Arc::new(ModelRepository::new());
    let model = Whole([TensorInfo::new("all", TensorType::Fp32, [-1, 2])]);
    repository.register_tensors(&"whole".parse().unwrap(), Version(1), Arc::new(model)).unwrap();
    let settings = settings(json!({"repository_api": true}));
    let router = Server::builder(repository).with_settings(settings).build().unwrap().into_router();
    let config = told(&router, "/v2/models/whole/config").await;
    assert_eq!((&config["max_batch_size"], &config["input"][0]["dims"]), (&json!(0), &json!([-1, 2])));
    for (config, status) in [
        (config, StatusCode::OK),
        (json!({"max_batch_size": 1, "dynamic_batching": {}}), StatusCode::OK),
        (json!({"max_batch_size": 2}), StatusCode::BAD_REQUEST),
        (json!({"dynamic_batching": {"max_queue_delay_microseconds": 1}}), StatusCode::BAD_REQUEST),
    ] {
        let answer = load(&router, "whole", &config).await;
        assert_eq!((answer.0, batch_size(&router, "whole").await), (status, 0), "{config}: {}", answer.1);
    }
}

/// The model waits, so that what shares a prediction depends on the settings alone.
#[tokio::test(flavor = "multi_thread")]
async fn requests_share_predictions_as_the_load_said() {
    let (gate, repository) = Gate::model();
    let settings = settings(json!({
        "workers": 2, "inline_below_us": 0, "repository_api": true, "timeout_ms": 60_000, "queue_timeout_ms": 60_000,
    }));
    let router = Server::builder(repository).with_settings(settings).build().unwrap().into_router();
    // Far longer than the test takes: only a full batch leaves the queue while another is predicted.
    let delay = u64::try_from(Duration::from_secs(3_600).as_micros()).unwrap();
    let config = json!({"max_batch_size": 2, "dynamic_batching": {"max_queue_delay_microseconds": delay}});
    let (status, answer) = load(&router, "gate", &config).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let ask = || {
        let router = router.clone();
        tokio::spawn(async move { call(&router, "POST", GATED.0, GATED.1).await })
    };
    let mut asked = vec![ask()];
    gate.started().await;
    // The second worker is idle.
    asked.push(ask());
    let page = async || call(&router, "GET", "/metrics", Body::empty()).await.1.to_string();
    in_time(async {
        while !page().await.contains("mlops_serve_queue_entries 1\\n") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    asked.push(ask());
    gate.started().await;
    asked.extend([ask(), ask()]);
    in_time(async {
        while !page().await.contains("mlops_serve_queue_entries 2\\n") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    (0..3).for_each(|_| gate.open());
    for asked in asked {
        let (status, answer) = in_time(asked).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let sizes = told(&router, "/v2/models/gate/stats").await["model_stats"][0]["batch_stats"].clone();
    let count =
        |sizes: &Value| (sizes["batch_size"].as_u64().unwrap(), sizes["compute_infer"]["count"].as_u64().unwrap());
    assert_eq!(sizes.as_array().unwrap().iter().map(count).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
}

#[tokio::test]
async fn fields_that_are_null_are_fields_that_are_not_there() {
    let router = everything("add");
    let index = post(&router, "/v2/repository/index", r#"{"ready":null}"#).await;
    assert_eq!(index, post(&router, "/v2/repository/index", "{}").await);
    assert_eq!((&index[0]["state"], &index[0]["reason"]), (&json!("READY"), &json!("")));
    let request = r#"{"id":null,"parameters":{"headers":null},"outputs":null,
        "inputs":[{"name":"text","shape":[1],"datatype":"BYTES","parameters":null,"data":["a"]}]}"#;
    let (status, answer) = call(&router, "POST", "/v2/models/word/infer", Body::from(request)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

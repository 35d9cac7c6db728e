//! Labels on the wire.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use mlops_core::{
    Action, Authorizer, Error, LabelBatch, LabelReceipt, LabelSink, Principal, Resource, Result, Version,
    arrow_array::{cast::AsArray, types},
};
use mlops_serve::{Access, ApiKeys, IdentityModel, ModelRepository, Server, ServerSettings, TensorType};
use serde_json::{Value, json};

use crate::client::{call, everything, send};

const PATH: &str = "/v2/models/echo/feedback";

/// Keeps the latest label of each row in memory.
#[derive(Debug, Default)]
struct Labels(Mutex<BTreeMap<(String, i64), (i64, i64)>>);

#[async_trait]
impl LabelSink for Labels {
    async fn append(&self, batch: LabelBatch) -> Result<LabelReceipt> {
        assert_eq!(batch.model.as_str(), "echo");
        let (ids, labels) = (batch.labels["request_id"].as_string::<i32>(), &batch.labels["label"]);
        let labels = labels.as_primitive_opt::<types::Int64Type>();
        let labels = labels.ok_or_else(|| Error::invalid_argument("labels must be whole numbers"))?;
        let rows = batch.labels["row"].as_primitive::<types::Int64Type>();
        let times = batch.labels["labeled_at"].as_primitive::<types::TimestampMicrosecondType>();
        let (mut kept, mut receipt) = (self.0.lock().unwrap(), LabelReceipt::default());
        for row in 0..batch.labels.num_rows() {
            let (key, label) = ((ids.value(row).to_owned(), rows.value(row)), (times.value(row), labels.value(row)));
            match kept.get(&key) {
                Some(earlier) if earlier.0 >= label.0 => receipt.duplicates += 1,
                _ => {
                    kept.insert(key, label);
                    receipt.taken += 1;
                }
            }
        }
        Ok(receipt)
    }
}

/// Never answers, or refuses.
#[derive(Debug)]
struct Away {
    hangs: bool,
}

#[async_trait]
impl LabelSink for Away {
    async fn append(&self, _: LabelBatch) -> Result<LabelReceipt> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(Error::unavailable("the label store is away"))
    }
}

fn repository() -> Arc<ModelRepository> {
    let repository = Arc::new(ModelRepository::new());
    let echo = Arc::new(IdentityModel::new(TensorType::Fp32));
    repository.register_tensors(&"echo".parse().unwrap(), Version(1), echo).unwrap();
    repository
}

fn router(sink: Arc<dyn LabelSink>) -> Router {
    let settings = ServerSettings { feedback_labels_max: 3, timeout_ms: 50, ..ServerSettings::default() };
    Server::builder(repository()).with_settings(settings).with_labels(sink).build().unwrap().into_router()
}

async fn tell(router: &Router, body: Value) -> (StatusCode, Value) {
    call(router, "POST", PATH, body.to_string()).await
}

#[tokio::test]
async fn labels_reach_the_sink_and_repetitions_change_nothing() {
    let sink = Arc::new(Labels::default());
    let router = router(Arc::<Labels>::clone(&sink));
    let answer = |taken, duplicates| {
        (StatusCode::OK, json!({"model_name": "echo", "taken": taken, "duplicates": duplicates, "refused": 0}))
    };
    let labels = json!({"labels": [
        {"id": "r-1", "label": 1, "time": 5},
        {"id": "r-1", "row": 1, "label": 0, "time": "1970-01-01T00:00:07Z"},
        {"id": "r-1", "label": 1, "time": 5},
    ]});
    assert_eq!(tell(&router, labels.clone()).await, answer(2, 1));
    assert_eq!(tell(&router, labels).await, answer(0, 3));
    let correction = json!({"labels": [{"id": "r-1", "label": 0, "time": 6}, {"id": "r-2", "label": 1, "time": 6}]});
    assert_eq!(tell(&router, correction).await, answer(2, 0));
    let kept: Vec<_> = sink.0.lock().unwrap().clone().into_iter().collect();
    let key = |id: &str, row| (id.to_owned(), row);
    assert_eq!(kept, [(key("r-1", 0), (6, 0)), (key("r-1", 1), (7_000_000, 0)), (key("r-2", 0), (6, 1))]);
}

#[tokio::test]
async fn what_is_wrong_is_refused_before_any_label_is_taken() {
    let sink = Arc::new(Labels::default());
    let router = router(Arc::<Labels>::clone(&sink));
    let good = json!({"id": "a", "label": 1});
    for (body, text) in [
        (json!({"labels": [good, {"id": "b"}]}), "missing field `label`"),
        (json!({"labels": [good, {"id": "b", "label": [1]}]}), "labels[1]"),
        (
            json!({"labels": [{"id": "a", "label": 1}, {"id": "b", "label": 1}, {"id": "c", "label": 1}, {"id": "d", "label": 1}]}),
            "4 labels; 1 to 3",
        ),
        (json!({"labels": [{"id": "a", "label": 1.5}]}), "whole numbers"),
    ] {
        let (status, answer) = tell(&router, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["error"].as_str().unwrap().contains(text), "{answer}");
    }
    let (status, answer) =
        call(&router, "POST", "/v2/models/none/feedback", json!({"labels": [good]}).to_string()).await;
    let text = "Request for unknown model: \"none\" is not served here";
    assert_eq!((status, answer), (StatusCode::NOT_FOUND, json!({ "error": text })));
    assert!(sink.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_without_a_sink_has_no_such_path() {
    assert_eq!(call(&everything("add"), "POST", "/v2/models/add/feedback", "{}").await.0, StatusCode::NOT_FOUND);
    let (_, document) = call(&router(Arc::new(Labels::default())), "GET", "/openapi.json", Body::empty()).await;
    assert!(document["paths"]["/v2/models/{model}/feedback"]["post"].is_object());
}

#[tokio::test]
async fn a_sink_that_is_away_is_told_as_such() {
    let labels = json!({"labels": [{"id": "a", "label": 1}]}).to_string();
    let request = Request::post(PATH).body(Body::from(labels.clone())).unwrap();
    let (status, headers, answer) = send(&router(Arc::new(Away { hangs: false })), request).await;
    assert_eq!((status, answer), (StatusCode::SERVICE_UNAVAILABLE, json!({"error": "the label store is away"})));
    assert!(headers.contains_key("retry-after"));
    let (status, _) = call(&router(Arc::new(Away { hangs: true })), "POST", PATH, labels).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
}

/// Lets `shop` predict, and nobody else do anything.
#[derive(Debug)]
struct ShopPredicts;

#[async_trait]
impl Authorizer for ShopPredicts {
    async fn authorize(&self, who: &Principal, action: Action, on: &Resource) -> Result<()> {
        if who.name == "shop" && action == Action::Predict && *on == Resource::new("model", "echo") {
            return Ok(());
        }
        Err(Error::permission_denied("no"))
    }
}

#[tokio::test]
async fn whoever_may_ask_a_model_may_tell_labels_of_it() {
    let keys = ApiKeys::new().with_key("a-long-random-key", Principal::new("shop")).unwrap();
    let keys = keys.with_key("another-long-random-key", Principal::new("visitor")).unwrap();
    let access = Access::new(Arc::new(keys), Arc::new(ShopPredicts));
    let server = Server::builder(repository()).with_labels(Arc::new(Labels::default())).with_access(access);
    let router = server.build().unwrap().into_router();
    for (key, status) in [("", 401), ("Bearer another-long-random-key", 403), ("Bearer a-long-random-key", 200)] {
        let request = Request::post(PATH).header("authorization", key);
        let request = request.body(Body::from(json!({"labels": [{"id": "a", "label": 1}]}).to_string())).unwrap();
        assert_eq!(send(&router, request).await.0.as_u16(), status, "{key}");
    }
}

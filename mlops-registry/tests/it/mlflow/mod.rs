//! MLflow's REST API as bytes on the wire; the real client is driven by the checks beside the workspace.

mod files;
mod logged_models;
mod pages;
mod registry;
mod tail;

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use mlops_registry::{ArtifactStore, MlflowServer};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{in_memory, logged};

struct Client {
    router: Router,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Client {
    async fn new() -> Self {
        Self::with(|server| server).await
    }

    async fn with(more: impl FnOnce(MlflowServer) -> MlflowServer) -> Self {
        let meta = in_memory().await;
        let ((tracking, models), registry) = (logged(Arc::clone(&meta)).await, crate::registry(meta).await);
        let server = MlflowServer::new(Arc::new(tracking), Arc::new(registry), ArtifactStore::in_memory());
        Self { router: more(server.with_logged_models(Arc::new(models))).router() }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn raw(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.raw(Method::GET, &format!("/api/2.0/mlflow/{path}"), &[], Vec::new()).await
    }

    async fn write(&self, method: Method, path: &str, body: Value) -> Answer {
        let headers = [("content-type", "application/json; charset=utf-8")];
        self.raw(method, &format!("/api/2.0/mlflow/{path}"), &headers, body.to_string().into_bytes()).await
    }

    /// A POST that must succeed.
    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.write(Method::POST, path, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// A POST that must be refused with this status and code; the message.
    async fn refused(&self, path: &str, body: Value, status: u16, code: &str) -> String {
        let answer = self.write(Method::POST, path, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error_code"].as_str()), (status, Some(code)), "{path}");
        answer.json()["message"].as_str().unwrap().to_owned()
    }

    async fn run(&self) -> String {
        let run = self.post("runs/create", json!({ "experiment_id": "0", "run_name": "first" })).await;
        run["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    }
}

const INVALID: &str = "INVALID_PARAMETER_VALUE";
const FILES: &str = "/api/2.0/mlflow-artifacts/artifacts";

#[tokio::test]
async fn a_run_comes_back_as_it_was_logged() {
    let client = Client::new().await;
    let id = client.run().await;
    let metric = |value: Value, step: i64| json!({ "key": "m", "value": value, "timestamp": "5", "step": step });
    let batch = json!({
        "runId": id,
        "metrics": [metric(json!(0.1), 1), metric(json!("Infinity"), 2), metric(json!("NaN"), 3)],
        "params": [{ "key": "empty", "value": "" }],
        "tags": [{ "key": "team", "value": "risk" }],
    });
    assert_eq!(client.post("runs/log-batch", batch).await, json!({}));
    let run = client.get(&format!("runs/get?run_id={id}")).await.json()["run"].clone();
    assert_eq!(run["data"]["metrics"], json!([{ "key": "m", "value": "NaN", "timestamp": 5, "step": 3 }]));
    assert_eq!(run["data"]["params"], json!([{ "key": "empty", "value": "" }]));
    let tags = json!([{ "key": "mlflow.runName", "value": "first" }, { "key": "team", "value": "risk" }]);
    assert_eq!(run["data"]["tags"], tags);
    assert_eq!(run["inputs"], json!({}));
    let info = &run["info"];
    assert_eq!((&info["status"], &info["run_uuid"], info.get("end_time")), (&json!("RUNNING"), &json!(id), None));
    let history = client.get(&format!("metrics/get-history?run_uuid={id}&metric_key=m")).await.json();
    let values: Vec<&Value> = history["metrics"].as_array().unwrap().iter().map(|point| &point["value"]).collect();
    assert_eq!(values, [&json!(0.1), &json!("Infinity"), &json!("NaN")]);
    assert!(history.get("next_page_token").is_none());

    let updated = client.post("runs/update", json!({ "run_id": id, "status": 3, "end_time": 7 })).await;
    assert_eq!((&updated["run_info"]["status"], &updated["run_info"]["end_time"]), (&json!("FINISHED"), &json!(7)));
    let twin = client.raw(Method::GET, &format!("/ajax-api/2.0/mlflow/runs/get?run_id={id}"), &[], Vec::new()).await;
    assert_eq!(twin.status, 200);
}

#[tokio::test]
async fn a_long_history_is_given_whole_or_in_pages() {
    let client = Client::new().await;
    let id = client.run().await;
    for start in (0..3_000).step_by(1_000) {
        let point = |step: i64| json!({ "key": "loss", "value": 1.5, "timestamp": step, "step": step });
        let metrics: Vec<Value> = (start..start + 1_000).map(point).collect();
        client.post("runs/log-batch", json!({ "run_id": id, "metrics": metrics })).await;
    }
    let whole = client.get(&format!("metrics/get-history?run_id={id}&metric_key=loss")).await.json();
    assert_eq!(whole["metrics"].as_array().unwrap().len(), 3_000);
    let path = format!("metrics/get-history?run_id={id}&metric_key=loss&max_results=2500");
    let first = client.get(&path).await.json();
    let token = first["next_page_token"].as_str().unwrap();
    let second = client.get(&format!("{path}&page_token={token}")).await.json();
    assert_eq!(second["metrics"].as_array().unwrap().len(), 500);
    assert!(second.get("next_page_token").is_none());
}

#[tokio::test]
async fn wrong_requests_say_which_field_and_are_never_retried() {
    let client = Client::new().await;
    let id = client.run().await;
    let missing = client.refused("experiments/create", json!({ "name": "" }), 400, INVALID).await;
    assert_eq!(missing, "Missing value for required parameter 'name'.");
    let wrong = client.refused("experiments/create", json!({ "name": { "b": 1, "a": 2 } }), 400, INVALID).await;
    assert_eq!(wrong, r#"Invalid value {"a":2,"b":1} for parameter 'name' supplied"#);
    client.refused("experiments/create", json!({ "name": "Default" }), 400, "RESOURCE_ALREADY_EXISTS").await;
    let metrics = json!([{ "key": "a", "value": 1, "timestamp": 1 }, { "key": "b", "timestamp": 1 }]);
    let place = client.refused("runs/log-batch", json!({ "run_id": id, "metrics": metrics }), 400, INVALID).await;
    assert!(place.contains("'metrics[1].value'"), "{place}");
    client.refused("runs/log-batch", json!({ "run_id": id, "runId": id }), 400, INVALID).await;
    client.refused("runs/delete", json!({ "run_id": "0".repeat(32) }), 404, "RESOURCE_DOES_NOT_EXIST").await;
    client.post("runs/delete", json!({ "run_id": id })).await;
    client.refused("runs/set-tag", json!({ "run_id": id, "key": "a", "value": "b" }), 400, INVALID).await;

    let path = "/api/2.0/mlflow/experiments/create";
    let form = client.raw(Method::POST, path, &[("content-type", "text/plain")], b"{}".to_vec()).await;
    assert_eq!((form.status.as_u16(), form.json()["error_code"].as_str()), (400, Some(INVALID)));
    let broken = client.raw(Method::POST, path, &[("content-type", "application/json")], b"{bro".to_vec()).await;
    assert!(broken.json()["message"].as_str().unwrap().contains("'name'"));
    assert_eq!(client.get("runs/create").await.status, 405);
    let nowhere = client.get("no/such/route").await;
    assert_eq!((nowhere.status.as_u16(), nowhere.json()["error_code"].is_string()), (404, true));
    let headers =
        [("content-type", "application/json"), ("origin", "https://evil.example"), ("host", "localhost:5000")];
    let foreign = client.raw(Method::POST, path, &headers, br#"{"name":"x"}"#.to_vec()).await;
    assert_eq!((foreign.status.as_u16(), foreign.json()["error_code"].as_str()), (403, Some("PERMISSION_DENIED")));
}

#[tokio::test]
async fn refusals_are_in_the_words_that_clients_look_for() {
    let client = Client::new().await;
    client.post("experiments/create", json!({ "name": "taken" })).await;
    let refused = async |path: &str, body: Value, code: &str| client.refused(path, body, 400, code).await;
    let message = refused("experiments/create", json!({ "name": "taken" }), "RESOURCE_ALREADY_EXISTS").await;
    assert!(message.starts_with("Experiment(name=taken) already exists"), "{message}");
    let below_zero = client.get("experiments/get?experiment_id=-1337").await;
    assert_eq!(
        (below_zero.status.as_u16(), &below_zero.json()["message"]),
        (404, &json!("No Experiment with id=-1337 exists"))
    );
    let run = client.run().await;
    client.post("registered-models/create", json!({ "name": "m" })).await;
    let long = "x".repeat(501);
    for (path, body, words) in [
        ("experiments/create", json!({ "name": long }), "'name' exceeds the maximum length of 500 characters"),
        ("experiments/delete", json!({ "experiment_id": "one" }), "Invalid experiment ID 'one'. Experiment ID must be"),
        ("experiments/search", json!({ "filter": "name IS NULL" }), "IS NULL / IS NOT NULL is only supported for tags"),
        (
            "experiments/search",
            json!({ "max_results": 0 }),
            "Invalid value 0 for parameter 'max_results' supplied. It must",
        ),
        ("experiments/search", json!({ "max_results": 50_001 }), "supplied. It must be at most 50000"),
        ("runs/search", json!({ "experiment_ids": ["0"], "filter": "tags.a == 'b'" }), "Invalid filter"),
        (
            "runs/search",
            json!({ "experiment_ids": ["0"], "filter": "attribute.x = 'b'" }),
            "Invalid attribute key 'x' specified",
        ),
        (
            "runs/search",
            json!({ "experiment_ids": ["0"], "filter": "dataset.source = 'b'" }),
            "Invalid dataset key 'source' specified",
        ),
        ("runs/search", json!({ "experiment_ids": ["0"], "page_token": "x" }), "Invalid page token"),
        (
            "runs/set-tag",
            json!({ "run_id": run, "key": "a;b", "value": "" }),
            r#"Invalid value "a;b" for parameter 'key' supplied"#,
        ),
        (
            "registered-models/set-tag",
            json!({ "name": "m", "key": "../a", "value": "" }),
            "for parameter 'key' supplied",
        ),
        (
            "experiments/set-experiment-tag",
            json!({ "experiment_id": "0", "key": "/a", "value": "" }),
            "for parameter 'key'",
        ),
        (
            "runs/create",
            json!({ "experiment_id": "0", "run_name": "a", "tags": [{ "key": "mlflow.runName", "value": "b" }] }),
            "Both 'run_name' argument and 'mlflow.runName' tag are specified",
        ),
    ] {
        let message = refused(path, body, INVALID).await;
        assert!(message.contains(words), "{path}: {message}");
    }
}

#[tokio::test]
async fn what_is_wrong_in_a_batch_is_named_with_its_place() {
    let client = Client::new().await;
    let run = client.run().await;
    let point = |key: &str, time: i64| json!({ "key": key, "value": 1, "timestamp": time, "step": 0 });
    let pair = |key: &str| json!({ "key": key, "value": "v" });
    let long = "x".repeat(251);
    for (field, items, words) in [
        ("metrics", json!([point("a", 0), point("a;b", 0)]), r#"Invalid value "a;b" for parameter 'metrics[1].name'"#),
        ("metrics", json!([point("../a", 0)]), r#"Invalid value "../a" for parameter 'metrics[0].name'"#),
        ("metrics", json!([point("a", 0), point("b", -1)]), "Invalid value -1 for parameter 'metrics[1].timestamp'"),
        ("metrics", json!([point(&long, 0)]), "'metrics[0].name' exceeds the maximum length of 250 characters"),
        (
            "metrics",
            json!([{ "key": "a", "value": 1 }]),
            "Missing value for required parameter 'metrics[0].timestamp'.",
        ),
        ("metrics", json!([{ "value": 1, "timestamp": 1 }]), "Missing value for required parameter 'metrics[0].key'."),
        (
            "metrics",
            json!([{ "key": "a", "timestamp": 1 }]),
            "Missing value for required parameter 'metrics[0].value'.",
        ),
        (
            "metrics",
            json!([{ "key": "a", "value": "x", "timestamp": 1 }]),
            r#"Invalid value "x" for parameter 'metrics[0].value'"#,
        ),
        (
            "metrics",
            json!([{ "key": 5, "value": 1, "timestamp": 1 }]),
            "Invalid value 5 for parameter 'metrics[0].key'",
        ),
        ("params", json!([pair("a"), pair("/b")]), r#"Invalid value "/b" for parameter 'params[1].key'"#),
        ("params", json!([{ "value": "v" }]), "Missing value for required parameter 'params[0].key'."),
        ("params", json!([pair("a"), pair("a")]), "Duplicate parameter keys have been submitted"),
        ("tags", json!([pair("a,b")]), r#"Invalid value "a,b" for parameter 'tags[0].key'"#),
        ("tags", json!([pair(&long)]), "'tags[0].key' exceeds the maximum length of 250 characters"),
        ("tags", json!([{ "key": "a", "value": 5 }]), "Invalid value 5 for parameter 'tags[0].value'"),
        ("tags", json!("a"), r#"Invalid value "a" for parameter 'tags'"#),
    ] {
        let message = client.refused("runs/log-batch", json!({ "run_id": run, field: items }), 400, INVALID).await;
        assert!(message.contains(words), "{message}");
    }
    // One alone is in no list.
    for (path, body, words) in [
        ("log-metric", point("a;b", 0), r#"Invalid value "a;b" for parameter 'name'"#),
        ("log-metric", point("a", -1), "Invalid value -1 for parameter 'timestamp'"),
        ("log-parameter", pair("a;b"), r#"Invalid value "a;b" for parameter 'key'"#),
        ("set-tag", pair("a;b"), r#"Invalid value "a;b" for parameter 'key'"#),
    ] {
        let mut body = body;
        body["run_id"] = json!(run);
        let message = client.refused(&format!("runs/{path}"), body, 400, INVALID).await;
        assert!(message.contains(words), "{path}: {message}");
    }
}

#[tokio::test]
async fn a_request_to_read_may_say_what_in_its_body() {
    let client = Client::new().await;
    let id = client.run().await;
    let headers = [("content-type", "application/json")];
    let body = || json!({ "run_id": id }).to_string().into_bytes();
    let answer = client.raw(Method::GET, "/api/2.0/mlflow/runs/get", &headers, body()).await;
    assert_eq!(answer.json()["run"]["info"]["run_id"], json!(id));
    let answer = client.raw(Method::GET, "/api/2.0/mlflow/runs/get?run_id=none", &headers, body()).await;
    assert_eq!(answer.status, 404, "the query goes before");
}

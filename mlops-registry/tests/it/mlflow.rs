//! MLflow's REST API as bytes on the wire; the real client is driven by the checks beside the workspace.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use mlops_registry::{ArtifactStore, MlflowServer};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{in_memory, registry, tracking};

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
        let meta = in_memory().await;
        let (tracking, registry) = (tracking(Arc::clone(&meta)).await, registry(meta).await);
        let server = MlflowServer::new(Arc::new(tracking), Arc::new(registry), ArtifactStore::in_memory());
        Self { router: server.router() }
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
async fn files_go_up_and_down_and_never_leave_the_root() {
    let client = Client::new().await;
    let at = format!("{FILES}/0/r/artifacts/pl%C3%B6ts/n%201%25.txt");
    let put = client.raw(Method::PUT, &at, &[("content-type", "text/plain")], b"0123456789".to_vec()).await;
    assert_eq!((put.status.as_u16(), put.body.len()), (200, 0));
    let got = client.raw(Method::GET, &at, &[], Vec::new()).await;
    assert_eq!((got.status.as_u16(), &got.body[..], got.header("content-length")), (200, &b"0123456789"[..], "10"));
    assert_eq!(got.header("content-disposition"), "attachment; filename*=UTF-8''n%201%25%2Etxt");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert_eq!(got.header("content-security-policy"), "sandbox; default-src 'none'");
    let part = client.raw(Method::GET, &at, &[("range", "bytes=2-4")], Vec::new()).await;
    assert_eq!((part.status.as_u16(), part.text(), part.header("content-range")), (206, "234".into(), "bytes 2-4/10"));
    let beyond = client.raw(Method::GET, &at, &[("range", "bytes=10-")], Vec::new()).await;
    assert_eq!(beyond.status, 416);
    let listed = client.raw(Method::GET, &format!("{FILES}?path=0/r/artifacts"), &[], Vec::new()).await.json();
    assert_eq!(listed, json!({ "files": [{ "path": "plöts", "is_dir": true }] }));
    let empty = client.raw(Method::GET, &format!("{FILES}?path=none"), &[], Vec::new()).await.json();
    assert_eq!(empty, json!({}));
    for climb in ["..%2fx", "%2e%2e/x", "..%252f..%252fx", "%2fetc%2fpasswd", "a%5c..%5cx", "a%00"] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = client.raw(method.clone(), &format!("{FILES}/{climb}"), &[], b"x".to_vec()).await;
            assert_eq!((answer.status.as_u16(), answer.json()["error_code"].as_str()), (400, Some(INVALID)), "{climb}");
        }
    }
    assert_eq!(client.raw(Method::DELETE, &format!("{FILES}/0/r"), &[], Vec::new()).await.status, 200);
    let gone = client.raw(Method::GET, &at, &[], Vec::new()).await;
    assert_eq!((gone.status.as_u16(), gone.json()["error_code"].as_str()), (404, Some("RESOURCE_DOES_NOT_EXIST")));
    let (typed, parts) = ([("content-type", "application/json")], json!({ "path": "/home/ann/f", "num_parts": 2 }));
    let parts = parts.to_string().into_bytes();
    let parts = client.raw(Method::POST, "/api/2.0/mlflow-artifacts/mpu/create/x", &typed, parts).await;
    assert_eq!(parts.status, 501);
    assert_eq!(client.raw(Method::GET, "/api/2.0/mlflow-artifacts/presigned/x", &[], Vec::new()).await.status, 501);
    let info = client.raw(Method::GET, "/api/3.0/mlflow/server-info", &[], Vec::new()).await.json();
    assert_eq!(
        (&info["multipart_uploads_enabled"], &info["multipart_downloads_enabled"]),
        (&json!(false), &json!(false))
    );
}

#[tokio::test]
async fn files_of_a_run_are_listed_from_its_root() {
    let client = Client::new().await;
    let id = client.run().await;
    let put = |name: &str| format!("{FILES}/0/{id}/artifacts/{name}");
    client.raw(Method::PUT, &put("a.txt"), &[], b"abc".to_vec()).await;
    client.raw(Method::PUT, &put("sub/b.txt"), &[], b"b".to_vec()).await;
    let root = client.get(&format!("artifacts/list?run_id={id}")).await.json();
    assert_eq!(root["root_uri"], format!("mlflow-artifacts:/0/{id}/artifacts"));
    let files = json!([{ "path": "a.txt", "is_dir": false, "file_size": 3 }, { "path": "sub", "is_dir": true }]);
    assert_eq!(root["files"], files);
    let sub = client.get(&format!("artifacts/list?run_id={id}&path=sub")).await.json();
    assert_eq!(sub["files"], json!([{ "path": "sub/b.txt", "is_dir": false, "file_size": 1 }]));
    assert_eq!(client.get(&format!("artifacts/list?run_id={id}&path=../..")).await.status, 400);
}

#[tokio::test]
async fn versions_have_stages_aliases_and_origins() {
    let client = Client::new().await;
    client.post("registered-models/create", json!({ "name": "m" })).await;
    for number in 1..=3 {
        let version = json!({ "name": "m", "source": format!("s3://b/{number}") });
        let created = client.post("model-versions/create", version).await;
        let version = &created["model_version"];
        assert_eq!((&version["version"], &version["status"]), (&json!(number.to_string()), &json!("READY")));
    }
    let stage = |version: &str, stage: &str, archive: bool| json!({ "name": "m", "version": version, "stage": stage, "archive_existing_versions": archive });
    client.post("model-versions/transition-stage", stage("1", "Production", false)).await;
    let moved = client.post("model-versions/transition-stage", stage("2", "production", true)).await;
    assert_eq!(moved["model_version"]["current_stage"], "Production");
    assert!(moved["model_version"].get("tags").is_none(), "how a stage is kept is not shown");
    let first = client.get("model-versions/get?name=m&version=1").await.json();
    assert_eq!(first["model_version"]["current_stage"], "Archived");
    client.refused("model-versions/transition-stage", stage("1", "None", true), 400, INVALID).await;
    client
        .refused(
            "model-versions/set-tag",
            json!({ "name": "m", "version": "1", "key": "mlops.mlflow.stage" }),
            400,
            INVALID,
        )
        .await;
    let latest = client.post("registered-models/get-latest-versions", json!({ "name": "m" })).await;
    let numbers: Vec<&str> =
        latest["model_versions"].as_array().unwrap().iter().map(|v| v["version"].as_str().unwrap()).collect();
    assert_eq!(numbers, ["3", "2", "1"]);

    client.post("registered-models/alias", json!({ "name": "m", "alias": "best", "version": "2" })).await;
    let copy = json!({ "name": "m", "source": "models:/m@best" });
    let copied = client.post("model-versions/create", copy).await["model_version"].clone();
    assert_eq!((&copied["version"], &copied["source"]), (&json!("4"), &json!("models:/m/2")));
    let uri = client.get("model-versions/get-download-uri?name=m&version=4").await.json();
    assert_eq!(uri, json!({ "artifact_uri": "s3://b/2" }));
    let latest = client.get("registered-models/alias?name=m&alias=latest").await.json();
    assert_eq!(latest["model_version"]["version"], "4");
    let unknown = client.get("registered-models/alias?name=m&alias=nobody").await;
    assert_eq!((unknown.status.as_u16(), unknown.json()["error_code"].as_str()), (400, Some(INVALID)));
    assert_eq!(client.get("registered-models/alias?name=none&alias=a").await.status, 404);

    let gone = client.write(Method::DELETE, "model-versions/delete", json!({ "name": "m", "version": "2" })).await;
    assert_eq!(gone.status, 200);
    let model = client.get("registered-models/get?name=m").await.json();
    assert!(model["registered_model"].get("aliases").is_none());
}

#[tokio::test]
async fn sources_stay_where_the_client_may_read() {
    let client = Client::new().await;
    client.post("registered-models/create", json!({ "name": "m" })).await;
    let run = client.run().await;
    let version = |source: &str, run: &str| json!({ "name": "m", "source": source, "run_id": run });
    for (source, run_id) in [
        ("/etc/passwd", ""),
        ("file:///etc/passwd", run.as_str()),
        ("s3://b/a/%252e%252e/c", ""),
        ("runs:/other/model", run.as_str()),
        ("mlflow-artifacts:/0/other/artifacts/model", run.as_str()),
        ("models:/m/latest", ""),
    ] {
        let message = client.refused("model-versions/create", version(source, run_id), 400, INVALID).await;
        assert!(message.starts_with(&format!("Invalid model version source: '{source}'.")), "{message}");
    }
    for (source, run_id) in [
        (format!("mlflow-artifacts:/0/{run}/artifacts/model"), run.as_str()),
        (format!("runs:/{run}/model"), run.as_str()),
        ("gs://bucket/model".to_owned(), ""),
    ] {
        let created = client.post("model-versions/create", version(&source, run_id)).await;
        assert_eq!(
            (&created["model_version"]["source"], &created["model_version"]["run_id"]),
            (&json!(source), &json!(run_id))
        );
    }
}

#[tokio::test]
async fn prompts_are_shown_to_those_who_ask() {
    let client = Client::new().await;
    let prompt = json!([{ "key": "mlflow.prompt.is_prompt", "value": "true" }]);
    client.post("registered-models/create", json!({ "name": "model" })).await;
    client.post("registered-models/create", json!({ "name": "prompt", "tags": prompt })).await;
    let names = async |filter: &str| -> Vec<String> {
        let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let found = client.get(&format!("registered-models/search?filter={filter}")).await.json();
        let models = found["registered_models"].as_array().cloned().unwrap_or_default();
        models.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("").await, ["model"]);
    assert_eq!(names("name LIKE '%p%'").await, [""; 0]);
    assert_eq!(names("tags.`mlflow.prompt.is_prompt` = 'true'").await, ["prompt"]);
    assert_eq!(names("tags.`mlflow.prompt.is_prompt` != 'true'").await, ["model"]);
}

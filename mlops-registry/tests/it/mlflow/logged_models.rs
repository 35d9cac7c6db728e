//! Logged models on the wire, and what runs say of them.

use std::sync::Arc;

use axum::http::Method;
use mlops_registry::{ArtifactStore, MlflowServer};
use serde_json::{Value, json};

use super::{Client, FILES, INVALID};
use crate::in_memory;

impl Client {
    async fn logged_model(&self, name: &str) -> String {
        let made = self.post("logged-models", json!({ "experiment_id": "0", "name": name })).await;
        made["model"]["info"]["model_id"].as_str().unwrap().to_owned()
    }

    async fn patch(&self, path: &str, body: Value) -> Value {
        let answer = self.write(Method::PATCH, path, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }
}

#[tokio::test]
async fn a_logged_model_comes_back_with_its_points() {
    let client = Client::new().await;
    let run = client.run().await;
    let pairs = json!([{ "key": "k", "value": "1" }]);
    let create = json!({ "experiment_id": "0", "name": "net", "model_type": "clf", "source_run_id": run, "params": pairs, "tags": pairs });
    let made = client.post("logged-models", create).await["model"].clone();
    let id = made["info"]["model_id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("m-") && id.len() == 34, "{id}");
    assert_eq!(made["info"]["status"], "LOGGED_MODEL_PENDING");
    assert_eq!(made["info"]["artifact_uri"], format!("mlflow-artifacts:/0/models/{id}/artifacts"));
    let ready = client.patch(&format!("logged-models/{id}"), json!({ "model_id": id, "status": 2 })).await;
    assert_eq!(ready["model"]["info"]["status"], "LOGGED_MODEL_READY");

    let point = json!({
        "run_id": run, "key": "auc", "value": "NaN", "timestamp": 5, "step": 1,
        "model_id": id, "dataset_name": "d", "dataset_digest": "x",
    });
    client.post("runs/log-metric", point).await;
    let other = json!({ "key": "loss", "value": 0.5, "timestamp": 6, "model_id": id });
    let plain = json!({ "key": "plain", "value": 1, "timestamp": 6 });
    client.post("runs/log-batch", json!({ "run_id": run, "metrics": [other, plain] })).await;
    let model = client.get(&format!("logged-models/{id}")).await.json()["model"].clone();
    let auc = json!({
        "key": "auc", "value": "NaN", "timestamp": 5, "step": 1,
        "model_id": id, "run_id": run, "dataset_name": "d", "dataset_digest": "x",
    });
    let loss = json!({ "key": "loss", "value": 0.5, "timestamp": 6, "step": 0, "model_id": id, "run_id": run });
    assert_eq!(model["data"], json!({ "params": pairs, "metrics": [auc, loss] }));
    let keys = client.get(&format!("runs/get?run_id={run}")).await.json()["run"]["data"]["metrics"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 3, "the points are the run's as well");

    client.patch(&format!("logged-models/{id}/tags"), json!({ "tags": [{ "key": "a b", "value": "2" }] })).await;
    let tag = format!("/api/2.0/mlflow/logged-models/{id}/tags/a%20b");
    assert_eq!(client.raw(Method::DELETE, &tag, &[], Vec::new()).await.status, 200);
    assert_eq!(client.raw(Method::DELETE, &tag, &[], Vec::new()).await.status, 404);
    let gone = client.raw(Method::DELETE, &format!("/api/2.0/mlflow/logged-models/{id}"), &[], Vec::new()).await;
    assert_eq!(gone.status, 200);
    let unknown = client.get(&format!("logged-models/{id}")).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["message"], format!("Logged model with ID '{id}' not found."));
    assert_eq!(client.get(&format!("logged-models/{id}?allow_deleted=true")).await.status, 200);
    let refused = client.refused("logged-models", json!({ "experiment_id": "0", "name": "a/b" }), 400, INVALID).await;
    assert!(refused.contains("a/b"), "{refused}");
}

#[tokio::test]
async fn searches_are_paged_ordered_and_bound_to_their_tokens() {
    let client = Client::new().await;
    let run = client.run().await;
    for (name, value) in [("low", 0.1), ("high", 0.9), ("middle", 0.5)] {
        let id = client.logged_model(name).await;
        let point = json!({ "run_id": run, "key": "auc", "value": value, "timestamp": 1, "model_id": id, "dataset_name": name });
        client.post("runs/log-metric", point).await;
    }
    let names = |answer: &Value| -> Vec<String> {
        let models = answer["models"].as_array().cloned().unwrap_or_default();
        models.iter().map(|model| model["info"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let order = json!([{ "field_name": "metrics.auc", "ascending": false }]);
    let search = json!({ "experiment_ids": ["0"], "order_by": order, "max_results": 2 });
    let first = client.post("logged-models/search", search.clone()).await;
    assert_eq!(names(&first), ["high", "middle"]);
    let with = |name: &str, value: Value| {
        let mut search = search.clone();
        search[name] = value;
        search
    };
    let token = first["next_page_token"].clone();
    let rest = client.post("logged-models/search", with("page_token", token.clone())).await;
    assert_eq!((names(&rest), rest.get("next_page_token")), (vec!["low".to_owned()], None));
    let mut other = with("page_token", token);
    other["filter"] = json!("name != 'x'");
    client.refused("logged-models/search", other, 400, INVALID).await;
    let on = client.post("logged-models/search", with("datasets", json!([{ "dataset_name": "low" }]))).await;
    assert_eq!(names(&on), ["low"]);
    let nothing = client.post("logged-models/search", with("filter", json!("metrics.auc > 1"))).await;
    assert_eq!(nothing, json!({}));
    assert_eq!(client.post("logged-models/search", json!({ "experiment_ids": [] })).await, json!({}));
    let missing = client.refused("logged-models/search", json!({}), 400, INVALID).await;
    assert_eq!(missing, "Missing value for required parameter 'experiment_ids'.");
}

#[tokio::test]
async fn runs_say_which_models_they_read_and_made() {
    let client = Client::new().await;
    let (run, read, made) = (client.run().await, client.logged_model("old").await, client.logged_model("new").await);
    client.post("runs/log-inputs", json!({ "run_id": run, "models": [{ "model_id": read }] })).await;
    client.post("runs/outputs", json!({ "run_id": run, "models": [{ "model_id": made, "step": "7" }] })).await;
    let inputs = json!({ "model_inputs": [{ "model_id": read }] });
    let outputs = json!({ "model_outputs": [{ "model_id": made, "step": 7 }] });
    let found = client.post("runs/search", json!({ "experiment_ids": ["0"] })).await;
    let got = client.get(&format!("runs/get?run_id={run}")).await.json();
    for run in [&found["runs"][0], &got["run"]] {
        assert_eq!((&run["inputs"], &run["outputs"]), (&inputs, &outputs));
    }
    client.post("runs/outputs", json!({ "run_id": run, "models": [] })).await;
    let missing = client.refused("runs/outputs", json!({ "run_id": run }), 400, INVALID).await;
    assert_eq!(missing, "Missing value for required parameter 'models'.");
}

#[tokio::test]
async fn a_version_of_a_logged_model_brings_its_run_and_files() {
    let client = Client::new().await;
    let run = client.run().await;
    let create = json!({ "experiment_id": "0", "source_run_id": run, "params": [{ "key": "lr", "value": "1" }] });
    let model = client.post("logged-models", create).await["model"]["info"]["model_id"].as_str().unwrap().to_owned();
    client.post("registered-models/create", json!({ "name": "team@corp" })).await;
    let source = format!("models:/{model}");
    let version = json!({ "name": "team@corp", "source": source, "model_id": model });
    let made = client.post("model-versions/create", version).await["model_version"].clone();
    assert_eq!((&made["run_id"], &made["model_id"]), (&json!(run), &json!(model)));
    assert_eq!(made["model_params"], json!([{ "name": "lr", "value": "1" }]));
    assert!(made.get("tags").is_none(), "how the model is kept is not shown");
    let uri = client.get("model-versions/get-download-uri?name=team%40corp&version=1").await.json();
    assert_eq!(uri, json!({ "artifact_uri": format!("mlflow-artifacts:/0/models/{model}/artifacts") }));
    let info = client.get(&format!("logged-models/{model}")).await.json()["model"]["info"].clone();
    assert_eq!(info["registrations"], json!([{ "name": "team@corp", "version": "1" }]));

    let other = client.logged_model("other").await;
    for version in [
        json!({ "name": "team@corp", "source": source }),
        json!({ "name": "team@corp", "source": source, "model_id": other }),
        json!({ "name": "team@corp", "source": "models:/team@corp/1", "model_id": other }),
        json!({ "name": "team@corp", "source": format!("mlflow-artifacts:/0/models/{model}/artifacts"), "model_id": other }),
        json!({ "name": "team@corp", "source": format!("runs:/{run}/model") }),
    ] {
        client.refused("model-versions/create", version, 400, INVALID).await;
    }
    let copy = json!({ "name": "team@corp", "source": "models:/team@corp/1" });
    assert_eq!(client.post("model-versions/create", copy).await["model_version"]["model_id"], json!(model));

    let file = format!("{FILES}/0/models/{model}/artifacts/sub/a.txt");
    client.raw(Method::PUT, &file, &[], b"abc".to_vec()).await;
    let directory = format!("logged-models/{model}/artifacts/directories?artifact_directory_path=sub");
    let listed = client.get(&directory).await.json();
    assert_eq!(listed["files"], json!([{ "path": "sub/a.txt", "is_dir": false, "file_size": 3 }]));
    for path in [
        "/model-versions/get-artifact?name=team%40corp&version=1&path=sub/a.txt".to_owned(),
        format!("/ajax-api/2.0/mlflow/logged-models/{model}/artifacts/files?artifact_file_path=sub/a.txt"),
    ] {
        let file = client.raw(Method::GET, &path, &[], Vec::new()).await;
        assert_eq!((file.status.as_u16(), file.text()), (200, "abc".into()), "{path}");
    }
}

#[tokio::test]
async fn a_server_without_logged_models_says_so() {
    let meta = in_memory().await;
    let (tracking, registry) = (crate::tracking(Arc::clone(&meta)).await, crate::registry(meta).await);
    let server = MlflowServer::new(Arc::new(tracking), Arc::new(registry), ArtifactStore::in_memory());
    let client = Client { router: server.router() };
    let none = client.post("logged-models/search", json!({ "experiment_ids": ["0"] })).await;
    assert_eq!(none, json!({}));
    let refused = client.refused("logged-models", json!({ "experiment_id": "0" }), 501, "NOT_IMPLEMENTED").await;
    assert!(refused.contains("with_logged_models"), "{refused}");
}

#[tokio::test]
async fn charts_get_samples_that_keep_both_ends() {
    let client = Client::new().await;
    let run = client.run().await;
    let point = |step: i64| json!({ "key": "loss", "value": 0.5, "timestamp": 1, "step": step });
    let metrics: Vec<Value> = (0..10).map(point).collect();
    client.post("runs/log-batch", json!({ "run_id": run, "metrics": metrics })).await;
    let bulk = |rest: &str| format!("metrics/get-history-bulk-interval?run_ids={run}&metric_key=loss{rest}");
    let steps = |answer: &Value| -> Vec<i64> {
        let points = answer["metrics"].as_array().cloned().unwrap_or_default();
        points.iter().map(|point| point["step"].as_i64().unwrap()).collect()
    };
    let sampled = client.get(&bulk("&max_results=4")).await.json();
    assert_eq!((steps(&sampled), &sampled["metrics"][0]["run_id"]), (vec![0, 3, 6, 9], &json!(run)));
    assert_eq!(steps(&client.get(&bulk("&start_step=2&end_step=4")).await.json()), [2, 3, 4]);
    for bad in ["&max_results=0", "&max_results=2501", "&start_step=1", "&start_step=3&end_step=2"] {
        assert_eq!(client.get(&bulk(bad)).await.status, 400, "{bad}");
    }
    let whole =
        client.get(&format!("metrics/get-history-bulk?run_id={run}&metric_key=loss&max_results=3")).await.json();
    assert_eq!(steps(&whole), [0, 1, 2]);
    for (query, wanted) in [
        ("metric_key=loss".to_owned(), "must specify at least one run_id"),
        (format!("run_id={run}"), "must specify a metric_key"),
        ("run_id=r&".repeat(101) + "metric_key=loss", "cannot specify more than 100"),
    ] {
        let refused = client.get(&format!("metrics/get-history-bulk?{query}")).await;
        assert!(refused.status == 400 && refused.text().contains(wanted), "{}", refused.text());
    }
    let nothing = client.get("metrics/get-history-bulk?run_id=r&metric_key=loss").await.json();
    assert_eq!(nothing, json!({ "metrics": [] }));
    let many: String = (0..101).map(|n| format!("run_ids=r{n}&")).collect();
    let many = client.get(&format!("metrics/get-history-bulk-interval?{many}metric_key=loss")).await;
    let message = many.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("GetMetricHistoryBulkInterval request must specify at most 100 run_ids."), "{message}");
}

#[tokio::test]
async fn datasets_and_old_model_histories_are_found() {
    let client = Client::new().await;
    let run = client.run().await;
    let dataset = |name: &str| json!({ "name": name, "digest": "d", "source_type": "local", "source": "s" });
    let context = json!([{ "key": "mlflow.data.context", "value": "train" }]);
    let inputs = json!([{ "dataset": dataset("a"), "tags": context }, { "dataset": dataset("b") }]);
    client.post("runs/log-inputs", json!({ "run_id": run, "datasets": inputs })).await;
    let summaries = json!([
        { "experiment_id": "0", "name": "a", "digest": "d", "context": "train" },
        { "experiment_id": "0", "name": "b", "digest": "d" },
    ]);
    let body = json!({ "experiment_ids": ["0"] });
    let found = client.post("experiments/search-datasets", body.clone()).await;
    assert_eq!(found["dataset_summaries"], summaries);
    let headers = [("content-type", "application/json")];
    for path in ["/api/2.0mlflow/experiments/search-datasets", "/ajax-api/2.0mlflow/experiments/search-datasets"] {
        let found = client.raw(Method::POST, path, &headers, body.to_string().into_bytes()).await;
        assert_eq!(found.json()["dataset_summaries"], summaries, "{path}");
    }
    let too_many: Vec<String> = (0..21).map(|n| format!("id_{n}")).collect();
    let refused = json!({ "experiment_ids": too_many });
    let message = client.refused("experiments/search-datasets", refused, 400, INVALID).await;
    assert!(message.contains("cannot specify more than"), "{message}");

    let model = json!({
        "artifact_path": "m", "run_id": run, "utc_time_created": "now",
        "flavors": { "python_function": { "config": { "a": 1 }, "env": "e" } },
    });
    for _ in 0..2 {
        client.post("runs/log-model", json!({ "run_id": run, "model_json": model.to_string() })).await;
    }
    let tags = client.get(&format!("runs/get?run_id={run}")).await.json()["run"]["data"]["tags"].clone();
    let history = tags.as_array().unwrap().iter().find(|tag| tag["key"] == "mlflow.log-model.history").unwrap();
    let history: Value = serde_json::from_str(history["value"].as_str().unwrap()).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 2);
    assert_eq!(history[1]["flavors"], json!({ "python_function": { "env": "e" } }));
    let half = json!({ "run_id": run, "model_json": "{\"run_id\": \"r\"}" });
    let message = client.refused("runs/log-model", half, 400, INVALID).await;
    assert!(message.contains("missing mandatory fields"), "{message}");
}

#[tokio::test]
async fn pages_read_and_write_files_of_a_run_and_stay_in_it() {
    let client = Client::new().await;
    let run = client.run().await;
    let upload = |query: &str| format!("/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}{query}");
    let message = async |path: &str, body: &[u8]| {
        let answer = client.raw(Method::POST, path, &[], body.to_vec()).await;
        assert_eq!(answer.status, 400, "{path}");
        answer.json()["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(message("/ajax-api/2.0/mlflow/upload-artifact", b"x").await, "Request must specify run_uuid.");
    assert_eq!(message(&upload(""), b"x").await, "Request must specify path.");
    assert_eq!(message(&upload("&path=../x"), b"x").await, "Invalid path");
    assert_eq!(message(&upload("&path=x"), b"").await, "Request must specify data.");
    assert!(message(&upload("&path=x"), &vec![0; (10 << 20) + 1]).await.contains("10MB"));
    assert_eq!(client.raw(Method::POST, &upload("&path=a/b.txt"), &[], b"abc".to_vec()).await.status, 200);
    let get = |path: &str| format!("/get-artifact?run_uuid={run}&path={path}");
    let file = client.raw(Method::GET, &get("a/b.txt"), &[], Vec::new()).await;
    assert_eq!((file.text(), file.header("x-content-type-options")), ("abc".into(), "nosniff"));
    let climb = client.raw(Method::GET, &get("..%2Fx"), &[], Vec::new()).await;
    assert_eq!((climb.status.as_u16(), &climb.json()["message"]), (400, &json!("Invalid path")));
    assert_eq!(client.raw(Method::GET, &get("none"), &[], Vec::new()).await.status, 404);
}

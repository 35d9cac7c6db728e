//! Files on the wire.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Client, FILES, INVALID};

#[tokio::test]
async fn files_go_up_and_down_and_never_leave_the_root() {
    let client = Client::new().await;
    let at = format!("{FILES}/0/r/artifacts/pl%C3%B6ts/n%201%25.txt");
    let put = client.raw(Method::PUT, &at, &[("content-type", "text/plain")], b"0123456789".to_vec()).await;
    assert_eq!((put.status.as_u16(), put.body.len()), (200, 0));
    let got = client.raw(Method::GET, &at, &[], Vec::new()).await;
    assert_eq!((got.status.as_u16(), &got.body[..], got.header("content-length")), (200, &b"0123456789"[..], "10"));
    assert_eq!(got.header("content-disposition"), "attachment; filename=\"n 1%.txt\"; filename*=UTF-8''n%201%25%2Etxt");
    assert_eq!((got.header("content-type"), got.header("x-content-type-options")), ("text/plain", "nosniff"));
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

/// MLflow's client names logged images so.
#[tokio::test]
async fn a_name_may_hold_what_looks_like_a_code() {
    let client = Client::new().await;
    let at = format!("{FILES}/0/r/artifacts/images/dog%25step%25100%25timestamp%251795737359.png");
    assert_eq!(client.raw(Method::PUT, &at, &[], b"png".to_vec()).await.status, 200);
    let got = client.raw(Method::GET, &at, &[], Vec::new()).await;
    assert_eq!((got.status.as_u16(), got.header("content-type")), (200, "image/png"));
    assert!(got.header("content-disposition").contains("\"dog%step%100%timestamp%1795737359.png\""));
    let listed = client.raw(Method::GET, &format!("{FILES}?path=0/r/artifacts/images"), &[], Vec::new()).await.json();
    assert_eq!(listed["files"][0]["path"], "dog%step%100%timestamp%1795737359.png");
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
async fn why_there_is_no_address_in_the_store_is_said() {
    let client = Client::new().await;
    let id = client.run().await;
    let elsewhere = json!({ "name": "elsewhere", "artifact_location": "s3://bucket/e" });
    let elsewhere = client.post("experiments/create", elsewhere).await["experiment_id"].clone();
    let there = client.post("runs/create", json!({ "experiment_id": elsewhere })).await;
    let there = &there["run"]["info"]["run_id"];
    for call in ["presigned-upload-url", "presigned-download-url"] {
        let call = format!("artifacts/{call}");
        let ask = async |body: Value| client.write(Method::POST, &call, body).await.status.as_u16();
        assert_eq!(ask(json!({ "run_id": id, "path": "m.pkl" })).await, 400, "{call}: through the server");
        assert_eq!(ask(json!({ "run_id": there, "path": "m.pkl" })).await, 501, "{call}: in a bucket");
        assert_eq!(ask(json!({ "run_id": "f".repeat(32), "path": "m.pkl" })).await, 404, "{call}: no such run");
        assert_eq!(ask(json!({ "run_id": there, "path": "../m.pkl" })).await, 400, "{call}: a path that climbs");
        assert_eq!(ask(json!({ "path": "m.pkl" })).await, 400, "{call}: of nothing");
    }
    let both = json!({ "run_id": there, "model_id": "m-1", "path": "m.pkl" });
    assert_eq!(client.write(Method::POST, "artifacts/presigned-upload-url", both).await.status, 400);
    let long = json!({ "run_id": there, "path": "m.pkl", "expiration": 604_801 });
    assert_eq!(client.write(Method::POST, "artifacts/presigned-download-url", long).await.status, 400);
}

#[tokio::test]
async fn more_datasets_than_a_client_sends_at_once_are_linked() {
    let client = Client::new().await;
    let id = client.run().await;
    let dataset =
        |i: usize| json!({ "dataset": { "name": format!("n{i}"), "digest": "d", "source_type": "s", "source": "x" } });
    let datasets: Vec<Value> = (0..1_001).map(dataset).collect();
    client.post("runs/log-inputs", json!({ "run_id": id, "datasets": datasets })).await;
    let run = client.get(&format!("runs/get?run_id={id}")).await.json();
    assert_eq!(run["run"]["inputs"]["dataset_inputs"].as_array().unwrap().len(), 1_001);
}

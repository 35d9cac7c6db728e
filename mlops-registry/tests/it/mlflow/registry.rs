//! Registered models and versions on the wire.

use axum::http::Method;
use mlops_core::ErrorKind;
use serde_json::json;

use super::{Client, INVALID};

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
        ("mlflow-artifacts:/0/other/artifacts/model", run.as_str()),
        ("models:/m/latest", ""),
    ] {
        let message = client.refused("model-versions/create", version(source, run_id), 400, INVALID).await;
        assert!(message.starts_with(&format!("Invalid model version source: '{source}'.")), "{message}");
    }
    let other = client.run().await;
    for run_id in [run.as_str(), ""] {
        client.refused("model-versions/create", version(&format!("runs:/{other}/model"), run_id), 400, INVALID).await;
    }
    for (source, run_id) in [
        (format!("mlflow-artifacts:/0/{run}/artifacts/model"), run.as_str()),
        (format!("runs:/{run}/model"), run.as_str()),
        // A run that is not here has no files here.
        ("runs:/elsewhere/model".to_owned(), run.as_str()),
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
    let by = |what: &str, name: &str, held: &str| {
        format!("Tried to create a {what} with name '{name}', but the name is already taken by a {held}.")
    };
    for (body, message) in [
        (json!({ "name": "model" }), "Registered Model (name=model) already exists.".to_owned()),
        (json!({ "name": "prompt", "tags": prompt }), "Prompt (name=prompt) already exists.".to_owned()),
        (json!({ "name": "prompt" }), by("registered model", "prompt", "prompt")),
        (json!({ "name": "model", "tags": prompt }), by("prompt", "model", "registered model")),
    ] {
        let refused = client.refused("registered-models/create", body, 400, "RESOURCE_ALREADY_EXISTS").await;
        assert!(refused.starts_with(&message), "{refused}");
    }
}

#[tokio::test]
async fn a_server_may_take_some_sources_only() {
    let client = Client::with(|server| server.with_source_pattern("^(s3://models/|prompt-template$)").unwrap()).await;
    client.post("registered-models/create", json!({ "name": "m" })).await;
    client.post("model-versions/create", json!({ "name": "m", "source": "s3://models/1" })).await;
    for source in ["s3://other/1", "file:///s3://models/1", "mlflow-artifacts:/0/x"] {
        let version = json!({ "name": "m", "source": source });
        let why = client.refused("model-versions/create", version, 400, INVALID).await;
        assert!(why.starts_with(&format!("Invalid model version source: '{source}'. ")), "{why}");
    }
    Client::with(|server| {
        assert_eq!(server.clone().with_source_pattern("(").unwrap_err().kind(), ErrorKind::InvalidArgument);
        server
    })
    .await;
}

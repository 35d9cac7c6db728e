//! What pages ask for: GraphQL, tries of prompts, and scorers beside them.

use std::sync::Arc;

use axum::http::Method;
use mlops_registry::{ArtifactStore, MlflowServer, SqlEvaluationStore};
use serde_json::{Value, json};

use super::{Client, INVALID};
use crate::{in_memory, logged, registry};

async fn ask(client: &Client, query: &str) -> Value {
    let headers = [("content-type", "application/json")];
    let body = json!({ "query": query, "operationName": "q" }).to_string().into_bytes();
    let answer = client.raw(Method::POST, "/graphql", &headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn graphql_gives_runs_with_what_they_belong_to() {
    let client = Client::new().await;
    let id = client.run().await;
    let points = json!([{ "key": "m", "value": "NaN", "timestamp": 2, "step": 2 }]);
    client.post("runs/log-batch", json!({ "run_id": id, "metrics": points })).await;
    client.post("registered-models/create", json!({ "name": "churn" })).await;
    let version = json!({ "name": "churn", "source": format!("runs:/{id}/model"), "run_id": id });
    client.post("model-versions/create", version).await;
    let answer = ask(
        &client,
        &format!(
            r#"query q @component(name: "Test") {{ mlflowGetRun(input: {{ runId: "{id}" }}) {{ run {{
                info {{ status endTime }} data {{ metrics {{ key value timestamp step }} }}
                experiment {{ name }} modelVersions {{ name }} }} }} }}"#
        ),
    )
    .await;
    let expected = json!({ "errors": null, "data": { "mlflowGetRun": { "run": {
        "info": { "status": "RUNNING", "endTime": "0" },
        "data": { "metrics": [{ "key": "m", "value": null, "timestamp": "2", "step": "2" }] },
        "experiment": { "name": "Default" }, "modelVersions": [{ "name": "churn" }] } } } });
    assert_eq!(answer, expected);
    let searched = ask(
        &client,
        r#"mutation q { mlflowSearchRuns(input: { experimentIds: ["0"] }) { runs { info { runId } } nextPageToken } }"#,
    )
    .await;
    let expected = json!({ "runs": [{ "info": { "runId": id } }], "nextPageToken": "" });
    assert_eq!(searched["data"]["mlflowSearchRuns"], expected);
    let sampled = format!(
        r#"query q {{ mlflowGetMetricHistoryBulkInterval(input: {{ runIds: ["{id}"], metricKey: "m" }}) {{ metrics {{ step }} }} }}"#
    );
    let metrics = json!({ "metrics": [{ "step": "2" }] });
    assert_eq!(ask(&client, &sampled).await["data"]["mlflowGetMetricHistoryBulkInterval"], metrics);
    client
        .raw(
            Method::POST,
            &format!("/ajax-api/2.0/mlflow/upload-artifact?run_uuid={id}&path=d/a.txt"),
            &[],
            b"four".to_vec(),
        )
        .await;
    for (path, file) in [
        ("", json!({ "path": "d", "isDir": true, "fileSize": "0" })),
        ("d", json!({ "path": "d/a.txt", "isDir": false, "fileSize": "4" })),
    ] {
        let query = format!(
            r#"query q {{ files: mlflowListArtifacts(input: {{ runId: "{id}", path: "{path}" }}) {{ files {{ path isDir fileSize }} }} }}"#
        );
        assert_eq!(ask(&client, &query).await["data"]["files"], json!({ "files": [file] }));
    }
}

#[tokio::test]
async fn graphql_says_what_is_wrong_with_a_query() {
    let client = Client::new().await;
    for (query, message) in [
        ("query q { nope }", "Cannot query field 'nope' on type 'Query'."),
        (
            r#"query q { mlflowGetExperiment(input: { experimentId: "0" }) { experiment { nope } } }"#,
            "Cannot query field 'nope' on type 'MlflowExperiment'.",
        ),
        (
            r#"query q { mlflowGetExperiment(input: { nope: "0" }) { experiment { name } } }"#,
            "Field 'nope' is not defined by the input of 'mlflowGetExperiment'.",
        ),
        ("query other { test { output } }", "Unknown operation named 'q'."),
    ] {
        assert_eq!(ask(&client, query).await, json!({ "data": null, "errors": [message] }), "{query}");
    }
    let absent = r#"query q { test(inputString: "abc") { output }
        mlflowGetExperiment(input: { experimentId: "77" }) { experiment { name } } }"#;
    let answer = ask(&client, absent).await;
    assert_eq!(answer["data"], json!({ "test": { "output": "abc" }, "mlflowGetExperiment": null }));
    assert!(answer["errors"][0].as_str().is_some_and(|message| message.contains("77")), "{answer}");
}

#[tokio::test]
async fn graphql_merges_fields_of_one_key_and_takes_variables() {
    let client = Client::new().await;
    let experiment = |fields: &str, id: &str| {
        format!("mlflowGetExperiment(input: {{ experimentId: {id} }}) {{ experiment {{ {fields} }} }}")
    };
    let (name, stage) = (experiment("name", "\"0\""), experiment("lifecycleStage", "\"0\""));
    let answer = ask(&client, &format!("query q {{ __typename {name} {stage} }}")).await;
    let both = json!({ "experiment": { "name": "Default", "lifecycleStage": "active" } });
    let expected = json!({ "data": { "__typename": "Query", "mlflowGetExperiment": both }, "errors": null });
    assert_eq!(answer, expected);
    let conflict = ask(&client, &format!("query q {{ {name} {} }}", experiment("name", "\"1\""))).await;
    assert!(conflict["errors"][0].as_str().unwrap().starts_with("Fields 'mlflowGetExperiment' conflict"), "{conflict}");

    let query = format!("query q($id: String!) {{ {} }}", experiment("name", "$id"));
    let get = async |query: &str, variables: &str| {
        let pairs = [("query", query), ("variables", variables)];
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        client.raw(Method::GET, &format!("/graphql?{query}"), &[], Vec::new()).await
    };
    let answer = get(&query, r#"{"id": "0"}"#).await.json();
    assert_eq!(answer["data"], json!({ "mlflowGetExperiment": { "experiment": { "name": "Default" } } }));
    for wrong in ["{", "[]", "7"] {
        let refused = get(&query, wrong).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error_code"]), (400, &json!(INVALID)), "{wrong}");
        assert!(refused.text().contains("'variables'"), "{}", refused.text());
    }
    let undeclared = get(&format!("{{ {} }}", experiment("name", "$id")), r#"{"id": "0"}"#).await.json();
    assert_eq!(undeclared["errors"], json!(["Variable '$id' is not defined."]));
}

#[tokio::test]
async fn a_try_that_cannot_be_kept_leaves_no_run() {
    let client = Client::new().await;
    let body = json!({ "experiment_id": "0", "prompt_template": "t", "prompt_parameters": [], "model_route": "chat",
        "model_input": "i", "mlflow_version": "3.17.2",
        "model_parameters": [{ "key": "twice", "value": "1" }, { "key": "twice", "value": "2" }] });
    let path = "/ajax-api/2.0/mlflow/runs/create-promptlab-run";
    let headers = [("content-type", "application/json")];
    let refused = client.raw(Method::POST, path, &headers, body.to_string().into_bytes()).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let found = client.post("runs/search", json!({ "experiment_ids": ["0"] })).await;
    assert_eq!(found["runs"].as_array().map_or(0, Vec::len), 0);
}

#[tokio::test]
async fn a_try_of_a_prompt_becomes_a_run_with_a_table() {
    let client = Client::new().await;
    let path = "/ajax-api/2.0/mlflow/runs/create-promptlab-run";
    let headers = [("content-type", "application/json")];
    let mut body = json!({});
    for (field, value) in [
        ("experiment_id", json!("0")),
        ("prompt_template", json!("Say {{ word }}")),
        ("prompt_parameters", json!([{ "key": "word", "value": "hello" }])),
        ("model_route", json!("chat")),
        ("model_input", json!("Say hello")),
        ("mlflow_version", json!("3.17.2")),
    ] {
        let refused = client.raw(Method::POST, path, &headers, body.to_string().into_bytes()).await.json();
        let message = format!("CreatePromptlabRun request must specify {field}.");
        assert_eq!((&refused["message"], &refused["error_code"]), (&json!(message), &json!(INVALID)));
        body[field] = value;
    }
    body["model_output"] = json!("hello");
    body["model_output_parameters"] = json!([{ "key": "latency", "value": "100" }]);
    let made = client.raw(Method::POST, path, &headers, body.to_string().into_bytes()).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let run = made.json()["run"].clone();
    assert_eq!(run["info"]["status"], "FINISHED");
    let params =
        json!([{ "key": "model_route", "value": "chat" }, { "key": "prompt_template", "value": "Say {{ word }}" }]);
    assert_eq!(run["data"]["params"], params);
    let id = run["info"]["run_id"].as_str().unwrap();
    let table = format!("/get-artifact?run_id={id}&path=eval_results_table.json");
    let columns =
        json!({ "columns": ["word", "prompt", "output", "latency"], "data": [["hello", "Say hello", "hello", "100"]] });
    assert_eq!(client.raw(Method::GET, &table, &[], Vec::new()).await.json(), columns);
}

#[tokio::test]
async fn scorers_are_kept_by_version() {
    let meta = in_memory().await;
    let (tracking, _) = logged(Arc::clone(&meta)).await;
    let evaluation = SqlEvaluationStore::builder(Arc::clone(&meta)).build().await.unwrap();
    let server = MlflowServer::new(Arc::new(tracking), Arc::new(registry(meta).await), ArtifactStore::in_memory());
    let client = Client { router: server.with_evaluation(Arc::new(evaluation)).router() };
    let call = async |method: Method, path: &str, body: Value| {
        let headers = [("content-type", "application/json")];
        client.raw(method, &format!("/api/3.0/mlflow/scorers/{path}"), &headers, body.to_string().into_bytes()).await
    };
    let scorer = |content: &str| json!({ "experiment_id": "0", "name": "brief", "serialized_scorer": content });
    for version in 1..3 {
        let made = call(Method::POST, "register", scorer("{}")).await.json();
        assert_eq!((&made["version"], &made["experiment_id"]), (&json!(version), &json!("0")));
    }
    let listed = call(Method::GET, "list?experiment_id=0", json!({})).await.json();
    let newest = &listed["scorers"][0];
    assert_eq!((&newest["scorer_version"], &newest["experiment_id"]), (&json!(2), &json!(0)));
    let named = json!({ "experiment_id": "0", "name": "brief", "version": 1 });
    assert_eq!(call(Method::DELETE, "delete", named.clone()).await.status, 200);
    assert_eq!(call(Method::DELETE, "delete", named).await.status, 404);
    let left = call(Method::GET, "versions?experiment_id=0&name=brief", json!({})).await.json();
    assert_eq!(left["scorers"].as_array().map(Vec::len), Some(1));
    let one = call(Method::GET, "get?experiment_id=0&name=brief", json!({})).await.json();
    assert_eq!(one["scorer"]["scorer_version"], 2);
    let unknown = call(Method::GET, "get?experiment_id=0&name=none", json!({})).await.json();
    assert_eq!(unknown["message"], "Scorer with name 'none' not found for experiment 0.");
    assert_eq!(call(Method::POST, "register", scorer("{")).await.status, 400);
    assert_eq!(call(Method::GET, "list?experiment_id=77", json!({})).await.status, 404);
}

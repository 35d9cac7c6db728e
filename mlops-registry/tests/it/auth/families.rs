//! Logged models, traces and evaluation datasets are their experiments'.

use std::sync::atomic::Ordering::SeqCst;

use axum::http::Method;
use mlops_core::{Action, Resource};
use mlops_registry::{access::Permission, mlflow::AuthSettings};
use serde_json::{Value, json};

use super::{Server, settings};

async fn closed() -> Server {
    Server::with(AuthSettings { default_permission: Permission::NoPermissions, ..settings() }).await
}

#[tokio::test]
async fn a_logged_model_opens_level_by_level() {
    let server = closed().await;
    let (id, run) = server.run_of("ann", "secret").await;
    let made = server.post("ann", "logged-models", json!({ "experiment_id": id, "name": "m" })).await.ok();
    let model = made["model"]["info"]["model_id"].as_str().unwrap().to_owned();
    server
        .post("ann", "runs/outputs", json!({ "run_id": run, "models": [{ "model_id": model, "step": 0 }] }))
        .await
        .ok();
    let at = format!("2.0/mlflow/logged-models/{model}");
    let found = async || {
        let search = json!({ "experiment_ids": [id] });
        let found = server.post("bob", "logged-models/search", search).await.ok();
        found["models"].as_array().map_or(0, Vec::len)
    };
    // Status of: read, tag, params, finalize, another in the experiment, delete.
    let tries = async || {
        let tags = json!({ "tags": [{ "key": "k", "value": "v" }] });
        let params = json!({ "params": [{ "key": "k", "value": "v" }] });
        [
            server.get("bob", &at).await.status,
            server.call("bob", Method::PATCH, &format!("{at}/tags"), tags).await.status,
            server.call("bob", Method::POST, &format!("{at}/params"), params).await.status,
            server.call("bob", Method::PATCH, &at, json!({ "status": "LOGGED_MODEL_READY" })).await.status,
            server.post("bob", "logged-models", json!({ "experiment_id": id, "name": "n" })).await.status,
            server.call("bob", Method::DELETE, &at, json!({})).await.status,
        ]
    };
    assert_eq!((tries().await, found().await), ([403; 6], 0));
    server.grant("ann", "bob", "experiment", &id, "READ").await.ok();
    assert_eq!((tries().await, found().await), ([200, 403, 403, 403, 403, 403], 1));
    server.grant("ann", "bob", "experiment", &id, "EDIT").await.ok();
    assert_eq!((tries().await, found().await), ([200, 200, 200, 200, 200, 403], 2));
    let deletions =
        |server: &Server| server.log.entries.lock().unwrap().iter().filter(|e| e.principal.name == "bob").count();
    assert_eq!(deletions(&server), 0);
    server.grant("ann", "bob", "experiment", &id, "MANAGE").await.ok();
    assert_eq!((tries().await, found().await), ([200; 6], 2));
    assert_eq!(deletions(&server), 1, "a deletion is on record");
}

#[tokio::test]
async fn a_trace_is_taken_over_by_nobody() {
    let server = closed().await;
    let ((hers, _), (his, _)) = (server.run_of("ann", "hers").await, server.run_of("bob", "his").await);
    let id = "tr-0af7651916cd43dd8448eb211c80319c";
    let info = |experiment: &str, preview: &str| {
        json!({ "trace": { "trace_info": {
            "trace_id": id, "request_time": "2026-01-01T00:00:00Z", "state": "OK", "request_preview": preview,
            "trace_location": { "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": experiment } },
        } } })
    };
    let traces = "3.0/mlflow/traces";
    server.call("ann", Method::POST, traces, info(&hers, "first")).await.ok();
    for experiment in [&hers, &his] {
        assert_eq!(server.call("bob", Method::POST, traces, info(experiment, "stolen")).await.status, 403);
    }
    // OpenTelemetry's exporter names the trace without the prefix.
    let span = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "root",
        "startTimeUnixNano": "1", "endTimeUnixNano": "2",
    }] }] }] });
    let export = async |user: &str, experiment: &str, body: &Value| {
        let request = axum::http::Request::builder()
            .method(Method::POST)
            .uri("/v1/traces")
            .header("content-type", "application/json")
            .header("x-mlflow-experiment-id", experiment)
            .header("authorization", super::basic(user, super::PASSWORD));
        server.send(request.body(body.to_string().into()).unwrap()).await.status
    };
    let exports = async |body: &Value| {
        [export("bob", &his, body).await, export("bob", &hers, body).await, export("ann", &hers, body).await]
    };
    assert_eq!(exports(&span).await, [403, 403, 200]);
    assert_eq!(exports(&json!({})).await, [400, 403, 400], "who may not write is told no more of the body");

    let at = format!("{traces}/{id}");
    let tag = json!({ "key": "k", "value": "v" });
    let assessment = json!({ "assessment": { "assessment_name": "good", "source": { "source_type": "HUMAN", "source_id": "bob" },
        "feedback": { "value": true } } });
    // Status of: read, tag, assess, delete.
    let file = format!("/ajax-api/2.0/mlflow/get-trace-artifact?request_id={id}");
    assert_eq!(server.raw("bob", Method::GET, &file, b"").await.status, 403);
    let tries = async || {
        let delete = json!({ "experiment_id": hers, "request_ids": [id] });
        [
            server.get("bob", &at).await.status,
            server.call("bob", Method::PATCH, &format!("{at}/tags"), tag.clone()).await.status,
            server.call("bob", Method::POST, &format!("{at}/assessments"), assessment.clone()).await.status,
            server.call("bob", Method::POST, &format!("{traces}/delete-traces"), delete).await.status,
        ]
    };
    let found = async || {
        let location = |id: &str| json!({ "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": id } });
        let search = json!({ "locations": [location(&hers), location(&his)] });
        let found = server.call("bob", Method::POST, &format!("{traces}/search"), search).await;
        (found.status, found.body["traces"].as_array().map_or(0, Vec::len))
    };
    // One experiment that may not be read refuses the search in all of them.
    assert_eq!((tries().await, found().await), ([403; 4], (403, 0)));
    server.grant("ann", "bob", "experiment", &hers, "READ").await.ok();
    assert_eq!((tries().await, found().await), ([200, 403, 403, 403], (200, 1)));
    server.grant("ann", "bob", "experiment", &hers, "EDIT").await.ok();
    assert_eq!((tries().await, found().await), ([200, 200, 200, 403], (200, 1)));
    server.grant("ann", "bob", "experiment", &hers, "MANAGE").await.ok();
    assert_eq!((tries().await, found().await), ([200; 4], (200, 0)));
}

#[tokio::test]
async fn a_trace_is_linked_to_a_run_by_those_who_may_write_to_it() {
    let server = closed().await;
    let ((hers, her_run), (his, _)) = (server.run_of("ann", "hers").await, server.run_of("bob", "his").await);
    let info = json!({ "trace": { "trace_info": {
        "trace_id": "tr-1", "request_time": "2026-01-01T00:00:00Z", "state": "OK",
        "trace_location": { "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": his } },
    } } });
    server.call("bob", Method::POST, "3.0/mlflow/traces", info).await.ok();
    let none = server.get("bob", "3.0/mlflow/traces/tr-2").await;
    assert_eq!((none.status, &none.body["message"]), (404, &json!("Trace with ID 'tr-2' not found.")));
    let link = json!({ "trace_ids": ["tr-1"], "run_id": her_run });
    for (level, want) in [("NO_PERMISSIONS", 403), ("READ", 403), ("EDIT", 200)] {
        server.grant("ann", "bob", "experiment", &hers, level).await.ok();
        let answer = server.call("bob", Method::POST, "3.0/mlflow/traces/link-to-run", link.clone()).await;
        assert_eq!(answer.status, want, "{level}");
    }
    // Whose run it is need only read the traces.
    for (level, want) in [("NO_PERMISSIONS", 403), ("READ", 200)] {
        server.grant("bob", "ann", "experiment", &his, level).await.ok();
        let answer = server.call("ann", Method::POST, "3.0/mlflow/traces/link-to-run", link.clone()).await;
        assert_eq!(answer.status, want, "{level}");
    }
}

#[tokio::test]
async fn a_dataset_is_read_by_one_experiment_and_changed_by_all() {
    let server = closed().await;
    let ((hers, _), (his, _)) = (server.run_of("ann", "hers").await, server.run_of("bob", "his").await);
    let create = async |user: &str, experiments: Value| {
        let dataset = json!({ "name": "d", "experiment_ids": experiments });
        server.call(user, Method::POST, "3.0/mlflow/datasets/create", dataset).await
    };
    assert_eq!(create("bob", json!([hers])).await.status, 403);
    server.grant("ann", "bob", "experiment", &hers, "EDIT").await.ok();
    let made = create("bob", json!([hers, his])).await.ok();
    let at = format!("3.0/mlflow/datasets/{}", made["dataset"]["dataset_id"].as_str().unwrap());
    server.grant("ann", "bob", "experiment", &hers, "NO_PERMISSIONS").await.ok();
    let tags = json!({ "tags": "{\"k\": \"v\"}" });
    assert_eq!(server.get("bob", &at).await.status, 200, "he reads it by his own experiment");
    assert_eq!(server.call("bob", Method::PATCH, &format!("{at}/tags"), tags.clone()).await.status, 403);
    assert_eq!(server.call("bob", Method::DELETE, &at, json!({})).await.status, 403);
    assert_eq!(server.get("ann", &at).await.status, 200);
    assert_eq!(server.call("root", Method::PATCH, &format!("{at}/tags"), tags).await.status, 200);
}

#[tokio::test]
async fn a_dataset_of_no_experiment_is_not_deleted_without_its_record() {
    let server = closed().await;
    let made = json!({ "name": "d", "experiment_ids": [] });
    let made = server.call("bob", Method::POST, "3.0/mlflow/datasets/create", made).await.ok();
    let id = made["dataset"]["dataset_id"].as_str().unwrap();
    let at = format!("3.0/mlflow/datasets/{id}");
    server.log.broken.store(true, SeqCst);
    assert_eq!(server.call("bob", Method::DELETE, &at, json!({})).await.status, 503);
    server.log.broken.store(false, SeqCst);
    server.call("bob", Method::DELETE, &at, json!({})).await.ok();
    let entry = server.log.entries.lock().unwrap().last().unwrap().clone();
    assert_eq!((entry.action, entry.resource), (Action::Delete, Resource::new("dataset", id)));
}

#[tokio::test]
async fn datasets_of_runs_are_found_where_clients_look_for_them() {
    let server = closed().await;
    let (hers, _) = server.run_of("ann", "hers").await;
    let search = json!({ "experiment_ids": [hers] }).to_string();
    for path in ["/api/2.0/mlflow", "/api/2.0mlflow", "/ajax-api/2.0/mlflow", "/ajax-api/2.0mlflow"] {
        let uri = format!("{path}/experiments/search-datasets");
        assert_eq!(server.raw("ann", Method::POST, &uri, search.as_bytes()).await.status, 200, "{uri}");
    }
}

#[tokio::test]
async fn a_scorer_is_its_experiments() {
    let server = closed().await;
    let (hers, _) = server.run_of("ann", "hers").await;
    let scorer = json!({ "experiment_id": hers, "name": "brief", "serialized_scorer": "{}" });
    let register = async |user| server.call(user, Method::POST, "3.0/mlflow/scorers/register", scorer.clone()).await;
    register("ann").await.ok();
    let named = json!({ "experiment_id": hers, "name": "brief" });
    // Status of: get, register, delete.
    let tries = async || {
        [
            server.get("bob", &format!("3.0/mlflow/scorers/get?experiment_id={hers}&name=brief")).await.status,
            register("bob").await.status,
            server.call("bob", Method::DELETE, "3.0/mlflow/scorers/delete", named.clone()).await.status,
        ]
    };
    let listed = async || server.get("bob", "3.0/mlflow/scorers/list").await.ok();
    assert_eq!((tries().await, listed().await), ([403; 3], json!({})));
    server.grant("ann", "bob", "experiment", &hers, "READ").await.ok();
    assert_eq!(tries().await, [200, 403, 403]);
    assert_eq!(listed().await["scorers"].as_array().map(Vec::len), Some(1));
    server.grant("ann", "bob", "experiment", &hers, "MANAGE").await.ok();
    assert_eq!(tries().await, [200; 3]);
}

#[tokio::test]
async fn an_issue_is_its_experiments() {
    let server = closed().await;
    let ((hers, _), (his, _)) = (server.run_of("ann", "hers").await, server.run_of("bob", "his").await);
    let issues = "3.0/mlflow/issues";
    let create = async |user: &str, experiment: &str, severity: &str| {
        let issue = json!({ "experiment_id": experiment, "name": "n", "description": "d", "severity": severity });
        server.call(user, Method::POST, issues, issue).await
    };
    let search = async |body: Value| server.call("bob", Method::POST, &format!("{issues}/search"), body).await;
    let made = create("ann", &hers, "high").await.ok();
    let at = format!("{issues}/{}", made["issue"]["issue_id"].as_str().unwrap());
    // Status of: create, get, change, search.
    let tries = async || {
        [
            create("bob", &hers, "high").await.status,
            server.get("bob", &at).await.status,
            server.call("bob", Method::PATCH, &at, json!({ "name": "x" })).await.status,
            search(json!({ "experiment_id": hers })).await.status,
        ]
    };
    assert_eq!(tries().await, [403; 4]);
    for _ in 0..3 {
        create("bob", &his, "low").await.ok();
    }
    // What he may not read comes first and takes none of the places.
    let page = search(json!({ "max_results": 2 })).await.ok();
    let rest = search(json!({ "max_results": 2, "page_token": page["next_page_token"] })).await.ok();
    for (page, count) in [(&page, 2), (&rest, 1)] {
        let found = page["issues"].as_array().unwrap();
        assert_eq!(found.len(), count);
        assert!(found.iter().all(|issue| issue["experiment_id"] == his), "{page}");
    }
    server.grant("ann", "bob", "experiment", &hers, "READ").await.ok();
    assert_eq!(tries().await, [403, 200, 403, 200]);
    server.grant("ann", "bob", "experiment", &hers, "EDIT").await.ok();
    assert_eq!(tries().await, [200; 4]);
}

#[tokio::test]
async fn graphql_tells_only_what_may_be_read() {
    let server = closed().await;
    let (hers, run) = server.run_of("ann", "hers").await;
    let experiment =
        format!("{{ mlflowGetExperiment(input: {{ experimentId: \"{hers}\" }}) {{ experiment {{ name }} }} }}");
    let run_id = run;
    let run = format!("{{ mlflowGetRun(input: {{ runId: \"{run_id}\" }}) {{ run {{ experiment {{ name }} }} }} }}");
    let ask = async |query: &str| {
        let body = json!({ "query": query }).to_string();
        let answer = server.raw("bob", Method::POST, "/graphql", body.as_bytes()).await.ok();
        (answer["data"].clone(), answer["errors"].is_null())
    };
    assert_eq!(ask(&experiment).await, (json!({ "mlflowGetExperiment": null }), false));
    assert_eq!(ask(&run).await, (json!({ "mlflowGetRun": null }), false));
    // Every other root asks as well: nothing of hers is in an answer, whether refused or left out.
    let roots = [
        format!("{{ mlflowListArtifacts(input: {{ runId: \"{run_id}\" }}) {{ rootUri files {{ path }} }} }}"),
        format!(
            "{{ mlflowGetMetricHistoryBulkInterval(input: {{ runIds: [\"{run_id}\"], metricKey: \"m\" }}) \
             {{ metrics {{ runId }} }} }}"
        ),
        format!("{{ mlflowSearchRuns(input: {{ experimentIds: [\"{hers}\"] }}) {{ runs {{ info {{ runId }} }} }} }}"),
        format!(
            "mutation {{ mlflowSearchDatasets(input: {{ experimentIds: [\"{hers}\"] }}) \
             {{ datasetSummaries {{ experimentId }} }} }}"
        ),
    ];
    for root in &roots {
        let told = ask(root).await.0.to_string();
        assert!(!told.contains(&run_id) && !told.contains("\"experimentId\""), "{root}: {told}");
    }
    server.grant("ann", "bob", "experiment", &hers, "READ").await.ok();
    assert!(ask(&roots[2]).await.0.to_string().contains(&run_id));
    let known = json!({ "experiment": { "name": "hers" } });
    assert_eq!(ask(&experiment).await, (json!({ "mlflowGetExperiment": known }), true));
    assert_eq!(ask(&run).await, (json!({ "mlflowGetRun": { "run": known } }), true));
}

//! What nobody reaches by a name, a link or half of a call that the grants alone would not give.

use axum::http::Method;
use mlops_registry::{access::Permission, mlflow::AuthSettings};
use serde_json::{Value, json};

use super::{Server, settings};

async fn closed() -> Server {
    Server::with(AuthSettings { default_permission: Permission::NoPermissions, ..settings() }).await
}

#[tokio::test]
async fn whoever_names_a_model_like_all_of_them_gets_none() {
    let server = closed().await;
    server.post("ann", "registered-models/create", json!({ "name": "hers" })).await.ok();
    server.post("bob", "registered-models/create", json!({ "name": "his" })).await.ok();
    for refused in [
        server.post("bob", "registered-models/create", json!({ "name": "*" })).await,
        server.post("bob", "registered-models/rename", json!({ "name": "his", "new_name": "*" })).await,
    ] {
        assert_eq!((refused.status, refused.body["error_code"].as_str()), (400, Some("INVALID_PARAMETER_VALUE")));
    }
    // Everybody may make models, which is asked as a write to all of them; to one that is called so it is none.
    let tag = json!({ "name": "*", "key": "k", "value": "v" });
    assert_eq!(server.post("bob", "registered-models/set-tag", tag.clone()).await.status, 403);
    assert_eq!(server.post("root", "registered-models/set-tag", tag).await.status, 404);
    assert_eq!(server.get("bob", "2.0/mlflow/registered-models/get?name=hers").await.status, 403);
}

#[tokio::test]
async fn a_model_that_gets_the_name_it_has_keeps_its_grants() {
    let server = closed().await;
    server.post("ann", "registered-models/create", json!({ "name": "m" })).await.ok();
    server.grant("ann", "bob", "registered_model", "m", "READ").await.ok();
    server.post("ann", "registered-models/rename", json!({ "name": "m", "new_name": "m" })).await.ok();
    for user in ["ann", "bob"] {
        server.get(user, "2.0/mlflow/registered-models/get?name=m").await.ok();
    }
    server.call("ann", Method::DELETE, "2.0/mlflow/registered-models/delete", json!({ "name": "m" })).await.ok();
}

#[tokio::test]
async fn points_of_a_model_are_written_by_those_who_may_write_to_its_experiment() {
    let server = closed().await;
    let ((hers, _), (_, his_run)) = (server.run_of("ann", "hers").await, server.run_of("bob", "his").await);
    let made = server.post("ann", "logged-models", json!({ "experiment_id": hers, "name": "m" })).await.ok();
    let model = made["model"]["info"]["model_id"].as_str().unwrap().to_owned();
    let point = json!({ "key": "auc", "value": 1.0, "timestamp": 1, "model_id": model });
    let mut alone = point.clone();
    alone["run_id"] = json!(his_run);
    let tries = async || {
        let batch = json!({ "run_id": his_run, "metrics": [point] });
        let single = server.post("bob", "runs/log-metric", alone.clone()).await.status;
        (single, server.post("bob", "runs/log-batch", batch).await.status)
    };
    let written = async || {
        let found = server.get("ann", &format!("2.0/mlflow/logged-models/{model}")).await.ok();
        found["model"]["data"]["metrics"].as_array().map_or(0, Vec::len)
    };
    for level in ["NO_PERMISSIONS", "READ"] {
        server.grant("ann", "bob", "experiment", &hers, level).await.ok();
        assert_eq!((tries().await, written().await), ((403, 403), 0), "{level}");
    }
    let run = server.get("bob", &format!("2.0/mlflow/runs/get?run_id={his_run}")).await.ok();
    assert_eq!(run["run"]["data"]["metrics"], Value::Null, "a refused batch left something");
    server.grant("ann", "bob", "experiment", &hers, "EDIT").await.ok();
    assert_eq!((tries().await, written().await), ((200, 200), 1));
}

#[tokio::test]
async fn a_version_that_may_not_be_deleted_keeps_its_aliases() {
    let server = closed().await;
    server.post("ann", "registered-models/create", json!({ "name": "m" })).await.ok();
    server.post("ann", "model-versions/create", json!({ "name": "m", "source": "s3://b/m" })).await.ok();
    let alias = json!({ "name": "m", "alias": "champion", "version": "1" });
    server.post("ann", "registered-models/alias", alias).await.ok();
    server.grant("ann", "bob", "registered_model", "m", "EDIT").await.ok();
    let version = json!({ "name": "m", "version": "1" });
    let delete = async |user: &str| {
        server.call(user, Method::DELETE, "2.0/mlflow/model-versions/delete", version.clone()).await.status
    };
    assert_eq!(delete("bob").await, 403);
    let champion = "2.0/mlflow/registered-models/alias?name=m&alias=champion";
    assert_eq!(server.get("bob", champion).await.ok()["model_version"]["version"], "1");
    assert_eq!((delete("ann").await, server.get("bob", champion).await.status), (200, 400));
}

#[tokio::test]
async fn what_may_not_be_seen_is_left_out_of_what_leads_to_it() {
    let server = closed().await;
    let ((hers, her_run), (_, his_run)) = (server.run_of("ann", "hers").await, server.run_of("bob", "his").await);
    let made = json!({ "experiment_id": hers, "source_run_id": her_run, "params": [{ "key": "lr", "value": "1" }] });
    let made = server.post("ann", "logged-models", made).await.ok();
    let model = made["model"]["info"]["model_id"].as_str().unwrap().to_owned();
    server.post("ann", "registered-models/create", json!({ "name": "m" })).await.ok();
    let version = json!({ "name": "m", "source": format!("models:/{model}"), "model_id": model });
    server.post("ann", "model-versions/create", version).await.ok();
    let alias = json!({ "name": "m", "alias": "champion", "version": "1" });
    server.post("ann", "registered-models/alias", alias).await.ok();
    server.grant("ann", "bob", "registered_model", "m", "READ").await.ok();
    for path in ["model-versions/get?name=m&version=1", "registered-models/alias?name=m&alias=champion"] {
        let params = async |user: &str| {
            let found = server.get(user, &format!("2.0/mlflow/{path}")).await.ok()["model_version"].clone();
            assert_eq!((&found["version"], &found["model_id"]), (&json!("1"), &json!(model)), "{path}");
            found["model_params"].clone()
        };
        assert_eq!((params("ann").await, params("bob").await), (json!([{ "name": "lr", "value": "1" }]), Value::Null));
    }
    server.post("bob", "registered-models/create", json!({ "name": "copy" })).await.ok();
    let copy = json!({ "name": "copy", "source": "models:/m/1" });
    let copy = server.post("bob", "model-versions/create", copy).await.ok()["model_version"].clone();
    assert_eq!((&copy["version"], &copy["model_params"]), (&json!("1"), &Value::Null));
    let page = async |user: &str| server.raw(user, Method::GET, "/ui/models/m/1", b"").await.ok();
    let hides = |page: Value| page.as_str().unwrap().contains(&format!("{her_run}</code>, which is not shown here"));
    assert_eq!((hides(page("ann").await), hides(page("bob").await)), (false, true));

    let link = async || {
        let (inputs, outputs) = (json!([{ "model_id": model }]), json!([{ "model_id": model, "step": 0 }]));
        [
            server.post("bob", "runs/log-inputs", json!({ "run_id": his_run, "models": inputs })).await.status,
            server.post("bob", "runs/outputs", json!({ "run_id": his_run, "models": outputs })).await.status,
        ]
    };
    assert_eq!(link().await, [403; 2]);
    server.grant("ann", "bob", "experiment", &hers, "READ").await.ok();
    assert_eq!(link().await, [200; 2]);
    let page = format!("/ui/runs/{his_run}");
    let shown = async || server.raw("bob", Method::GET, &page, b"").await.ok().as_str().unwrap().contains(&model);
    assert!(shown().await);
    server.grant("ann", "bob", "experiment", &hers, "NO_PERMISSIONS").await.ok();
    assert!(!shown().await, "a link that was made before hides what it leads to");
}

#[tokio::test]
async fn searches_of_the_registry_find_what_may_be_read() {
    let server = closed().await;
    for n in 0..5 {
        let name = format!("m{n}");
        server.post("ann", "registered-models/create", json!({ "name": name })).await.ok();
        for _ in 0..2 {
            let version = json!({ "name": name, "source": "s3://b/m" });
            server.post("ann", "model-versions/create", version).await.ok();
        }
    }
    // What a search finds, page after page.
    let found =
        async |user: &str, path: &str, list: &str, size: usize| {
            let (mut found, mut token) = (Vec::new(), String::new());
            loop {
                let join = if path.contains('?') { '&' } else { '?' };
                let page = format!("2.0/mlflow/{path}{join}max_results={size}&page_token={token}");
                let page = server.get(user, &page).await.ok();
                let items = page[list].as_array().cloned().unwrap_or_default();
                assert!(items.len() <= size);
                found.extend(items.iter().map(|item| {
                    format!("{}/{}", item["name"].as_str().unwrap(), item["version"].as_str().unwrap_or("*"))
                }));
                match page["next_page_token"].as_str() {
                    Some(next) if !next.is_empty() => token = next.to_owned(),
                    _ => break,
                }
            }
            found.sort_unstable();
            found
        };
    let models = async |user: &str, size| found(user, "registered-models/search", "registered_models", size).await;
    let versions = async |user: &str, size| found(user, "model-versions/search", "model_versions", size).await;
    assert_eq!((models("bob", 10).await.len(), versions("bob", 10).await.len()), (0, 0));
    for name in ["m1", "m3"] {
        server.grant("ann", "bob", "registered_model", name, "READ").await.ok();
    }
    for size in [1, 2, 3, 10] {
        assert_eq!(models("bob", size).await, ["m1/*", "m3/*"], "{size}");
        assert_eq!(versions("bob", size).await, ["m1/1", "m1/2", "m3/1", "m3/2"], "{size}");
    }
    let one = async |name: &str| {
        let path = format!("model-versions/search?filter=name%3D%27{name}%27");
        found("bob", &path, "model_versions", 10).await
    };
    assert_eq!((one("m0").await.len(), one("m1").await.len()), (0, 2));
    server.grant("root", "bob", "registered_model", "*", "READ").await.ok();
    assert_eq!((models("bob", 2).await.len(), versions("bob", 3).await.len()), (5, 10));
    server.grant("ann", "bob", "registered_model", "m2", "DENY").await.ok();
    assert_eq!((models("bob", 2).await.len(), versions("bob", 3).await.len()), (4, 8), "a denial wins");
    assert_eq!((models("root", 2).await.len(), versions("ann", 3).await.len()), (5, 10));
}

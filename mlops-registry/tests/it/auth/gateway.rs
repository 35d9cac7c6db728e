//! Secrets, models and endpoints of the gateway belong to whoever made them.

use std::sync::atomic::Ordering::SeqCst;

use axum::http::Method;
use mlops_core::Action;
use mlops_registry::{access::Permission, mlflow::AuthSettings};
use serde_json::{Value, json};

use super::{Server, settings};

const AT: &str = "3.0/mlflow/gateway";

async fn closed() -> Server {
    Server::with(AuthSettings { default_permission: Permission::NoPermissions, ..settings() }).await
}

impl Server {
    async fn gateway(&self, user: &str, method: Method, path: &str, body: Value) -> super::Answer {
        self.call(user, method, &format!("{AT}/{path}"), body).await
    }

    async fn listed(&self, user: &str, path: &str, field: &str) -> usize {
        let found = self.get(user, &format!("{AT}/{path}")).await.ok();
        found[field].as_array().map_or(0, Vec::len)
    }

    /// Ids of a secret, a model and an endpoint that a user made.
    async fn configured(&self, user: &str) -> (String, String, String) {
        let make = async |path: &str, body: Value, of: &str, field: &str| {
            let made = self.gateway(user, Method::POST, path, body).await.ok();
            made[of][field].as_str().unwrap().to_owned()
        };
        let body =
            json!({ "secret_name": "s", "secret_value": { "api_key": "sk-hush-hush-hush" }, "created_by": "root" });
        let secret = make("secrets/create", body, "secret", "secret_id").await;
        let body = json!({ "name": "m", "secret_id": secret, "provider": "openai", "model_name": "gpt-4o" });
        let model = make("model-definitions/create", body, "model_definition", "model_definition_id").await;
        let link = json!({ "model_definition_id": model, "linkage_type": "PRIMARY" });
        let body = json!({ "name": "e", "model_configs": [link] });
        let endpoint = make("endpoints/create", body, "endpoint", "endpoint_id").await;
        (secret, model, endpoint)
    }
}

#[tokio::test]
async fn a_secret_opens_level_by_level() {
    let server = closed().await;
    let (secret, ..) = server.configured("ann").await;
    let made = server.get("ann", &format!("{AT}/secrets/get?secret_id={secret}")).await.ok();
    assert_eq!(made["secret"]["created_by"], "ann", "whatever the request said");
    // Status of: read, use in a model, change, delete.
    let tries = async || {
        let model = json!({ "name": "his", "secret_id": secret, "provider": "openai", "model_name": "o3" });
        let update = json!({ "secret_id": secret, "secret_value": { "api_key": "another" } });
        [
            server.get("bob", &format!("{AT}/secrets/get?secret_id={secret}")).await.status,
            server.gateway("bob", Method::POST, "model-definitions/create", model).await.status,
            server.gateway("bob", Method::POST, "secrets/update", update).await.status,
            server.gateway("bob", Method::DELETE, "secrets/delete", json!({ "secret_id": secret })).await.status,
        ]
    };
    let listed = async || server.listed("bob", "secrets/list", "secrets").await;
    assert_eq!((tries().await, listed().await), ([403; 4], 0));
    for (level, want) in [("READ", [200, 403, 403, 403]), ("USE", [200, 200, 403, 403])] {
        server.grant("ann", "bob", "gateway_secret", &secret, level).await.ok();
        assert_eq!((tries().await, listed().await), (want, 1), "{level}");
    }
    server.grant("ann", "bob", "gateway_secret", &secret, "EDIT").await.ok();
    assert_eq!((tries().await, listed().await), ([200, 400, 200, 403], 1), "the name of the model is taken");
    let entries = |server: &Server| -> Vec<(Action, Option<String>)> {
        let entries = server.log.entries.lock().unwrap();
        let his = entries.iter().filter(|entry| entry.principal.name == "bob");
        his.map(|entry| (entry.action, entry.details.get("call").cloned())).collect()
    };
    let update = (Action::Write, Some("gateway/secrets/update".to_owned()));
    assert_eq!(entries(&server), [update]);
    server.grant("ann", "bob", "gateway_secret", &secret, "MANAGE").await.ok();
    let delete = json!({ "secret_id": secret });
    server.log.broken.store(true, SeqCst);
    let refused = server.gateway("bob", Method::DELETE, "secrets/delete", delete.clone()).await.status;
    assert_eq!((refused, listed().await), (503, 1), "nothing is deleted without its record");
    server.log.broken.store(false, SeqCst);
    server.gateway("bob", Method::DELETE, "secrets/delete", delete).await.ok();
    let log = server.log.entries.lock().unwrap();
    assert!(!format!("{log:?}").contains("hush"));
}

#[tokio::test]
async fn what_an_endpoint_names_is_shown_to_those_who_may_read_it() {
    let server = closed().await;
    let (secret, model, endpoint) = server.configured("ann").await;
    let at = format!("{AT}/endpoints/get?endpoint_id={endpoint}");
    // Status of: read, change, tag, attach another, bind, delete.
    let tries = async || {
        let bound = json!({ "endpoint_id": endpoint, "resource_type": "scorer", "resource_id": "sc" });
        let link = json!({ "model_definition_id": model, "linkage_type": "FALLBACK" });
        let of = |method, path, body| server.gateway("bob", method, path, body);
        [
            server.get("bob", &at).await.status,
            of(Method::POST, "endpoints/update", json!({ "endpoint_id": endpoint, "name": "f" })).await.status,
            of(Method::POST, "endpoints/set-tag", json!({ "endpoint_id": endpoint, "key": "k" })).await.status,
            of(Method::POST, "endpoints/models/attach", json!({ "endpoint_id": endpoint, "model_config": link }))
                .await
                .status,
            of(Method::POST, "endpoints/bindings/create", bound).await.status,
            of(Method::DELETE, "endpoints/delete", json!({ "endpoint_id": endpoint })).await.status,
        ]
    };
    assert_eq!((tries().await, server.listed("bob", "endpoints/list", "endpoints").await), ([403; 6], 0));
    server.grant("ann", "bob", "gateway_endpoint", &endpoint, "READ").await.ok();
    assert_eq!(tries().await, [200, 403, 403, 403, 403, 403]);
    let shown = async || {
        let one = server.get("bob", &at).await.ok()["endpoint"]["model_mappings"][0].clone();
        let all = server.get("bob", &format!("{AT}/endpoints/list")).await.ok();
        assert_eq!(all["endpoints"][0]["model_mappings"][0], one);
        (one.get("model_definition_id").is_some(), one["model_definition"].get("secret_name").is_some())
    };
    assert_eq!(shown().await, (false, false));
    server.grant("ann", "bob", "gateway_model_definition", &model, "READ").await.ok();
    assert_eq!(shown().await, (true, false));
    server.grant("ann", "bob", "gateway_secret", &secret, "READ").await.ok();
    assert_eq!(shown().await, (true, true));
    server.grant("ann", "bob", "gateway_endpoint", &endpoint, "EDIT").await.ok();
    assert_eq!(tries().await, [200, 200, 200, 403, 200, 403], "a model that may not be used is not attached");
    server.grant("ann", "bob", "gateway_model_definition", &model, "USE").await.ok();
    server.grant("ann", "bob", "gateway_endpoint", &endpoint, "MANAGE").await.ok();
    assert_eq!(tries().await, [200, 200, 200, 200, 400, 200], "it is bound already");
    assert_eq!(server.get("ann", &at).await.status, 403, "what was granted on it is gone with it");
}

#[tokio::test]
async fn budgets_and_guardrails_are_for_administrators() {
    let server = Server::new().await;
    let (.., endpoint) = server.configured("ann").await;
    let budget = json!({ "budget_unit": "USD", "budget_amount": 1, "duration": { "unit": "DAYS", "value": 1 },
        "target_scope": "USER", "target_value": "bob", "budget_action": "ALERT" });
    let refused = server.gateway("ann", Method::POST, "budgets/create", budget.clone()).await.status;
    let made = server.gateway("root", Method::POST, "budgets/create", budget).await.ok();
    let id = json!({ "budget_policy_id": made["budget_policy"]["budget_policy_id"] });
    assert_eq!((refused, server.listed("bob", "budgets/list", "budget_policies").await), (403, 1));
    assert_eq!(server.listed("bob", "budgets/windows", "windows").await, 1);
    for (method, path) in [(Method::POST, "budgets/update"), (Method::DELETE, "budgets/delete")] {
        assert_eq!(server.gateway("ann", method, path, id.clone()).await.status, 403, "{path}");
    }

    let scorer = json!({ "experiment_id": "0", "name": "safe", "serialized_scorer": "{}" });
    let scorer = server.call("root", Method::POST, "3.0/mlflow/scorers/register", scorer).await.ok();
    let create = json!({ "name": "g", "scorer_id": scorer["scorer_id"], "scorer_version": 1, "stage": "AFTER",
        "action": "VALIDATION" });
    assert_eq!(server.gateway("ann", Method::POST, "guardrails/create", create.clone()).await.status, 403);
    let made = server.gateway("root", Method::POST, "guardrails/create", create).await.ok();
    assert_eq!(server.get("ann", &format!("{AT}/guardrails/list")).await.status, 403);
    let place = json!({ "endpoint_id": endpoint, "guardrail_id": made["guardrail"]["guardrail_id"] });
    let add =
        async |user: &str| server.gateway(user, Method::POST, "guardrails/add-to-endpoint", place.clone()).await.status;
    assert_eq!((add("bob").await, add("ann").await), (403, 200), "it is ann's endpoint");
    assert_eq!(
        server.listed("bob", &format!("guardrails/list-for-endpoint?endpoint_id={endpoint}"), "configs").await,
        1
    );
    assert_eq!(server.get("bob", &format!("{AT}/endpoints/bindings/list")).await.status, 403, "of every endpoint");

    let config =
        async |user: &str| server.raw(user, Method::GET, "/ajax-api/3.0/mlflow/gateway/secrets/config", b"").await.ok();
    assert_eq!(config("ann").await, json!({ "secrets_available": true }));
    assert_eq!(config("root").await["using_default_passphrase"], false);
    let nobody = server.signed("", Method::POST, "/gateway/e/mlflow/invocations", b"{}".to_vec()).await.status;
    let ann = server.raw("ann", Method::POST, "/gateway/e/mlflow/invocations", b"{}").await.status;
    assert_eq!((nobody, ann), (401, 501));
}

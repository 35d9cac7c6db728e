//! The configuration of a gateway, on the wire and in the database.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request},
};
use mlops_core::ErrorKind;
use mlops_registry::{
    ArtifactStore, MlflowServer,
    gateway::{CreateSecret, LocalKeys, SecretStore as _, SqlGatewayStore},
};
use mlops_store::{MetaStore, MetaStoreExt as _, params};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{evaluation, in_memory, registry, tracking};

const HUSH: &str = "sk-hush-hush-0123456789";

fn keys() -> LocalKeys {
    LocalKeys::from_passphrase("correct horse battery staple", 1).unwrap()
}

pub(crate) async fn store(meta: Arc<dyn MetaStore>) -> SqlGatewayStore {
    // One derivation takes 64 MiB; the tests make many stores.
    static KEYS: std::sync::OnceLock<Arc<LocalKeys>> = std::sync::OnceLock::new();
    let keys = Arc::clone(KEYS.get_or_init(|| Arc::new(keys())));
    let id = keys.key_id().to_owned();
    SqlGatewayStore::builder_with_keys(meta, keys, id).build().await.unwrap()
}

struct Client(Router);

impl Client {
    async fn new() -> Self {
        let meta = in_memory().await;
        let tracking = Arc::new(tracking(Arc::clone(&meta)).await);
        let (evaluation, gateway) = (evaluation(Arc::clone(&meta)).await, store(Arc::clone(&meta)).await);
        let server = MlflowServer::new(tracking, Arc::new(registry(meta).await), ArtifactStore::in_memory());
        Self(server.with_evaluation(Arc::new(evaluation)).with_gateway(Arc::new(gateway)).router())
    }

    async fn send(&self, method: Method, uri: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder().method(&method).uri(uri).header("content-type", "application/json");
        let body = if method == Method::GET { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.0.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.send(method, &format!("/api/3.0/mlflow/gateway/{path}"), &body).await
    }

    async fn ok(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ok(Method::POST, path, body).await
    }

    async fn get(&self, path: &str) -> Value {
        self.ok(Method::GET, path, Value::Null).await
    }

    /// Status, code and message of a refusal.
    async fn refused(&self, method: Method, path: &str, body: Value) -> (u16, String, String) {
        let (status, answer) = self.call(method, path, body).await;
        let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        (status, text("error_code"), text("message"))
    }

    /// Ids of a secret, a model and an endpoint.
    async fn endpoint(&self) -> (String, String, String) {
        let id = |answer: &Value, of: &str, field: &str| answer[of][field].as_str().unwrap().to_owned();
        let body = json!({ "secret_name": "s", "secret_value": { "api_key": HUSH }, "provider": "openai" });
        let secret = id(&self.post("secrets/create", body).await, "secret", "secret_id");
        let body = json!({ "name": "m", "secret_id": secret, "provider": "openai", "model_name": "gpt-4o" });
        let model = self.post("model-definitions/create", body).await;
        let model = id(&model, "model_definition", "model_definition_id");
        let link = json!({ "model_definition_id": model, "linkage_type": "PRIMARY" });
        let endpoint = self.post("endpoints/create", json!({ "name": "e", "model_configs": [link] })).await;
        (secret, model, id(&endpoint, "endpoint", "endpoint_id"))
    }
}

#[tokio::test]
async fn a_secret_is_shown_masked() {
    let client = Client::new().await;
    let body = json!({
        "secret_name": "aws",
        "secret_value": { "aws_access_key_id": "AKIATEST1234", "short": "12345678901" },
        "provider": "bedrock",
        "auth_config": { "auth_mode": "access_keys" },
        "created_by": "ann",
    });
    let made = client.post("secrets/create", body).await["secret"].clone();
    let (id, at) = (made["secret_id"].as_str().unwrap(), &made["created_at"]);
    assert_eq!(
        made,
        json!({
            "secret_id": id, "secret_name": "aws", "provider": "bedrock",
            "masked_values": { "aws_access_key_id": "AKI...1234", "short": "***" },
            "auth_config": { "auth_mode": "access_keys" },
            "created_at": at, "last_updated_at": at, "created_by": "ann", "last_updated_by": "ann",
        })
    );
    assert!(id.starts_with("s-") && at.is_i64());
    assert_eq!(client.get(&format!("secrets/get?secret_id={id}")).await["secret"], made);
    assert_eq!(client.get("secrets/list?provider=bedrock").await, json!({ "secrets": [made] }));
    assert_eq!(client.get("secrets/list?provider=openai").await, json!({}));
    let none = client.refused(Method::GET, "secrets/get?secret_id=s-1", Value::Null).await;
    let said = "GatewaySecret not found (secret_id='s-1')".to_owned();
    assert_eq!(none, (404, "RESOURCE_DOES_NOT_EXIST".to_owned(), said));
    client.ok(Method::DELETE, "secrets/delete", json!({ "secret_id": id })).await;
    assert_eq!(client.get("secrets/list").await, json!({}));
}

#[tokio::test]
async fn no_answer_repeats_a_secret() {
    let client = Client::new().await;
    let invalid = "INVALID_PARAMETER_VALUE";
    for (body, field) in [
        (json!({ "secret_name": "s" }), "'secret_value'"),
        (json!({ "secret_value": { "api_key": HUSH } }), "'secret_name'"),
        (json!({ "secret_name": "s", "secret_value": HUSH }), "'secret_value'"),
        (json!({ "secret_name": "s", "secret_value": [HUSH] }), "'secret_value'"),
        (json!({ "secret_name": "s", "secret_value": { "api_key": [HUSH] } }), "'secret_value'"),
        (json!({ "secret_name": "s", "secret_value": {}, "auth_config": HUSH }), "'auth_config'"),
        (json!({ "secret_name": "s", "secret_value": { "base_url": HUSH } }), "'base_url'"),
        (
            json!({ "secret_name": "s", "secret_value": { "a": format!("{HUSH}{}", "x".repeat(70_000)) } }),
            "secret_value",
        ),
        (
            json!({ "secret_name": "s", "secret_value": {}, "auth_config": { "api_base": format!("http://{HUSH}/") } }),
            "api_base",
        ),
    ] {
        let (status, code, message) = client.refused(Method::POST, "secrets/create", body).await;
        assert_eq!((status, code.as_str()), (400, invalid), "{message}");
        assert!(message.contains(field) && !message.contains("hush"), "{message}");
    }
    let (secret, ..) = client.endpoint().await;
    let again = json!({ "secret_name": "s", "secret_value": { "api_key": HUSH } });
    let (status, code, message) = client.refused(Method::POST, "secrets/create", again).await;
    assert_eq!((status, code.as_str()), (400, "RESOURCE_ALREADY_EXISTS"));
    assert_eq!(message, "Secret with name 's' already exists");
    let update = json!({ "secret_id": secret, "secret_value": { "api_key": HUSH } });
    let answers = [
        client.post("secrets/update", update).await,
        client.get("secrets/list").await,
        client.get("endpoints/list").await,
        client.get("model-definitions/list").await,
    ];
    assert!(answers.iter().all(|answer| !answer.to_string().contains("hush")), "{answers:?}");
}

#[tokio::test]
async fn an_endpoint_has_models_tags_and_an_experiment() {
    let client = Client::new().await;
    let (secret, model, id) = client.endpoint().await;
    let made = client.get("endpoints/get?name=e").await["endpoint"].clone();
    assert_eq!(made, client.get(&format!("endpoints/get?endpoint_id={id}")).await["endpoint"]);
    let mapping = &made["model_mappings"][0];
    assert_eq!(mapping["model_definition"]["secret_name"], "s");
    assert_eq!((&mapping["linkage_type"], &mapping["weight"]), (&json!("PRIMARY"), &json!(1.0)));
    assert_eq!((&made["created_by"], &made["usage_tracking"]), (&json!(""), &json!(true)));
    let experiment = made["experiment_id"].as_str().unwrap();
    let uri = format!("/api/2.0/mlflow/experiments/get?experiment_id={experiment}");
    let (_, found) = client.send(Method::GET, &uri, &Value::Null).await;
    assert_eq!(found["experiment"]["name"], "gateway/e");
    assert!(
        found["experiment"]["tags"]
            .as_array()
            .unwrap()
            .contains(&json!({ "key": "mlflow.experiment.sourceId", "value": id }))
    );

    for query in ["", "?name=e&endpoint_id=e-1"] {
        let (status, _, message) = client.refused(Method::GET, &format!("endpoints/get{query}"), Value::Null).await;
        assert_eq!((status, message.as_str()), (400, "Exactly one of endpoint_id or name must be provided"));
    }
    let link = |kind: Value| json!({ "model_definition_id": model, "linkage_type": kind });
    for kind in [json!(null), json!(0), json!("OTHER"), json!(9)] {
        let body = json!({ "name": "f", "model_configs": [link(json!(1)), link(kind)] });
        let (status, _, message) = client.refused(Method::POST, "endpoints/create", body).await;
        assert!(status == 400 && message.contains("'linkage_type' in model_configs[1]"), "{message}");
    }
    let spaced = json!({ "name": "not a name", "model_configs": [link(json!(1))] });
    let (_, _, message) = client.refused(Method::POST, "endpoints/create", spaced).await;
    assert!(message.starts_with("Invalid endpoint name 'not a name'."), "{message}");
    let empty = client.refused(Method::POST, "endpoints/create", json!({ "name": "f", "model_configs": [] })).await;
    assert_eq!(empty.2, "Endpoint must have at least one model configuration");
    let (_, _, message) = client.refused(Method::POST, "endpoints/create", json!({ "name": "f" })).await;
    assert_eq!(message, "Missing value for required parameter 'model_configs'.");

    let untracked = json!({ "name": "g", "model_configs": [link(json!(1))], "usage_tracking": false });
    let untracked = client.post("endpoints/create", untracked).await["endpoint"].clone();
    assert_eq!((untracked.get("experiment_id"), &untracked["usage_tracking"]), (None, &json!(false)));
    let fallback =
        json!({ "model_definition_id": model, "linkage_type": "FALLBACK", "fallback_order": 0, "weight": 0.5 });
    let mapping = json!({ "endpoint_id": id, "model_config": fallback });
    let mapping = client.post("endpoints/models/attach", mapping.clone()).await["mapping"].clone();
    assert_eq!((&mapping["fallback_order"], &mapping["weight"]), (&json!(0), &json!(0.5)));
    let update = json!({ "endpoint_id": id, "fallback_config": { "strategy": "SEQUENTIAL", "max_attempts": 2 },
        "routing_strategy": "REQUEST_BASED_TRAFFIC_SPLIT" });
    let changed = client.post("endpoints/update", update).await["endpoint"].clone();
    assert_eq!(changed["fallback_config"], json!({ "strategy": "SEQUENTIAL", "max_attempts": 2 }));
    assert_eq!(changed["model_mappings"].as_array().unwrap().len(), 2);

    let in_use =
        client.refused(Method::DELETE, "model-definitions/delete", json!({ "model_definition_id": model })).await;
    assert_eq!((in_use.0, in_use.1.as_str()), (400, "INVALID_STATE"));
    client.post("endpoints/models/detach", json!({ "endpoint_id": id, "model_definition_id": model })).await;
    client.post("endpoints/set-tag", json!({ "endpoint_id": id, "key": "team", "value": "risk" })).await;
    let tagged = client.get("endpoints/get?name=e").await["endpoint"].clone();
    assert_eq!((&tagged["tags"], tagged.get("model_mappings")), (&json!([{ "key": "team", "value": "risk" }]), None));
    client.ok(Method::DELETE, "endpoints/delete-tag", json!({ "endpoint_id": id, "key": "team" })).await;

    client.ok(Method::DELETE, "secrets/delete", json!({ "secret_id": secret })).await;
    let orphan = client.get(&format!("model-definitions/get?model_definition_id={model}")).await;
    assert_eq!(orphan["model_definition"].get("secret_id"), None);
    client.ok(Method::DELETE, "endpoints/delete", json!({ "endpoint_id": id })).await;
}

#[tokio::test]
async fn scorers_are_bound_to_endpoints() {
    let client = Client::new().await;
    let (.., endpoint) = client.endpoint().await;
    let body = json!({ "endpoint_id": endpoint, "resource_type": "scorer", "resource_id": "sc-1" });
    let made = client.post("endpoints/bindings/create", body.clone()).await["binding"].clone();
    assert_eq!((&made["resource_type"], &made["resource_id"]), (&json!("scorer"), &json!("sc-1")));
    let list = "endpoints/bindings/list?resource_type=scorer&resource_id=sc-1";
    assert_eq!(client.get(list).await, json!({ "bindings": [made] }));
    let other = json!({ "endpoint_id": endpoint, "resource_type": "job", "resource_id": "sc-1" });
    let (status, _, message) = client.refused(Method::POST, "endpoints/bindings/create", other).await;
    assert!(status == 400 && message.contains("'resource_type'"), "{message}");
    client.ok(Method::DELETE, "endpoints/bindings/delete", body.clone()).await;
    assert_eq!(client.refused(Method::DELETE, "endpoints/bindings/delete", body).await.0, 404);
}

#[tokio::test]
async fn budgets_say_whose_requests_count() {
    let client = Client::new().await;
    let (.., endpoint) = client.endpoint().await;
    let body = |scope: &str, target: Value| {
        json!({ "budget_unit": "USD", "budget_amount": 10.5, "duration": { "unit": "DAYS", "value": 7 },
            "target_scope": scope, "budget_action": "REJECT", "target_value": target })
    };
    let made = client.post("budgets/create", body("ENDPOINT", endpoint.as_str().into())).await["budget_policy"].clone();
    let id = made["budget_policy_id"].as_str().unwrap().to_owned();
    assert_eq!((&made["duration"], &made["target_value"]), (&json!({ "unit": "DAYS", "value": 7 }), &json!(endpoint)));
    assert_eq!(client.get("budgets/list").await, json!({ "budget_policies": [made] }));
    for (body, said) in [
        (body("ENDPOINT", json!(null)), "target_value is required when target_scope is ENDPOINT."),
        (body("GLOBAL", json!("x")), "target_value can only be set when target_scope is ENDPOINT or USER."),
        (body("USER", json!("ann")), "USER-scoped budget policies require server authentication"),
        (json!({ "budget_unit": "USD" }), "Missing value for required parameter 'budget_amount'."),
        (json!({}), "Missing value for required parameter 'budget_unit'."),
    ] {
        let (status, _, message) = client.refused(Method::POST, "budgets/create", body).await;
        assert!(status == 400 && message.starts_with(said), "{message}");
    }
    let update = json!({ "budget_policy_id": id, "target_scope": "GLOBAL", "budget_amount": 20 });
    let changed = client.post("budgets/update", update).await["budget_policy"].clone();
    assert_eq!((&changed["budget_amount"], changed.get("target_value")), (&json!(20.0), None));
    let window = &client.get("budgets/windows").await["windows"][0];
    let length = window["window_end_ms"].as_i64().unwrap() - window["window_start_ms"].as_i64().unwrap();
    assert_eq!((length, &window["current_spend"]), (7 * 86_400_000, &json!(0.0)));
    client.ok(Method::DELETE, "budgets/delete", json!({ "budget_policy_id": id })).await;
    let (status, _, message) =
        client.refused(Method::GET, &format!("budgets/get?budget_policy_id={id}"), Value::Null).await;
    assert_eq!((status, message), (404, format!("BudgetPolicy not found (budget_policy_id='{id}')")));
}

#[tokio::test]
async fn guardrails_are_scorers_before_endpoints() {
    let client = Client::new().await;
    let (.., endpoint) = client.endpoint().await;
    let register = async |name: &str, serialized: &str| {
        let body = json!({ "experiment_id": "0", "name": name, "serialized_scorer": serialized });
        let (_, made) = client.send(Method::POST, "/api/3.0/mlflow/scorers/register", &body).await;
        made["scorer_id"].as_str().unwrap().to_owned()
    };
    let (safe, code) = (register("safe", r#"{"a": 1}"#).await, register("code", r#"{"call_source": "x"}"#).await);
    let create = |scorer: &str, version: i64| {
        json!({ "name": "g", "scorer_id": scorer, "scorer_version": version, "stage": "BEFORE", "action": "VALIDATION",
            "action_endpoint_id": endpoint })
    };
    assert_eq!(client.refused(Method::POST, "guardrails/create", create(&safe, 2)).await.0, 404);
    assert_eq!(client.refused(Method::POST, "guardrails/create", create("sc-none", 1)).await.0, 404);
    let (status, _, message) = client.refused(Method::POST, "guardrails/create", create(&code, 1)).await;
    assert!(status == 400 && message.contains("custom scorers"), "{message}");
    let made = client.post("guardrails/create", create(&safe, 1)).await["guardrail"].clone();
    assert_eq!((&made["scorer"]["scorer_id"], &made["action_endpoint_id"]), (&json!(safe), &json!("e")));
    let id = made["guardrail_id"].as_str().unwrap();
    let place = json!({ "endpoint_id": endpoint, "guardrail_id": id });
    let placed = client.post("guardrails/add-to-endpoint", place.clone()).await["config"].clone();
    assert_eq!((placed.get("execution_order"), &placed["guardrail"]), (None, &made));
    let again = client.refused(Method::POST, "guardrails/add-to-endpoint", place.clone()).await;
    assert_eq!(again.1, "RESOURCE_ALREADY_EXISTS");
    let order = json!({ "endpoint_id": endpoint, "guardrail_id": id, "execution_order": "3" });
    let moved = client.ok(Method::PATCH, "guardrails/update-config", order).await["config"].clone();
    assert_eq!(moved["execution_order"], 3);
    let listed = client.get(&format!("guardrails/list-for-endpoint?endpoint_id={endpoint}")).await;
    assert_eq!(listed, json!({ "configs": [moved] }));
    client.ok(Method::DELETE, "guardrails/remove-from-endpoint", place).await;
    assert_eq!(client.get("guardrails/list").await, json!({ "guardrails": [made] }));
    client.ok(Method::DELETE, "guardrails/delete", json!({ "guardrail_id": id })).await;
}

#[tokio::test]
async fn pages_are_told_of_providers_and_requests_are_not_forwarded() {
    let client = Client::new().await;
    let page = async |path: &str| {
        client.send(Method::GET, &format!("/ajax-api/3.0/mlflow/gateway/{path}"), &Value::Null).await
    };
    assert!(page("supported-providers").await.1["providers"].as_array().unwrap().contains(&json!("openai")));
    let models = page("supported-models?provider=openai").await.1["models"].clone();
    assert!(models.as_array().unwrap().iter().all(|model| model["provider"] == "openai"));
    let config = page("provider-config?provider=bedrock").await.1;
    assert_eq!((&config["default_mode"], config["auth_modes"].as_array().unwrap().len()), (&json!("api_key"), 4));
    assert_eq!(page("provider-config?provider=unheard-of").await.1["default_mode"], "api_key");
    assert_eq!(page("provider-config").await.0, 400);
    let secrets = json!({ "secrets_available": true, "using_default_passphrase": false });
    assert_eq!(page("secrets/config").await, (200, secrets));
    for uri in ["/gateway/e/mlflow/invocations", "/gateway/mlflow/v1/chat/completions"] {
        let (status, answer) = client.send(Method::POST, uri, &json!({})).await;
        assert_eq!((status, &answer["error_code"]), (501, &json!("NOT_IMPLEMENTED")));
    }
}

#[tokio::test]
async fn what_is_in_the_database_is_sealed_and_stays_where_it_is() {
    let meta = in_memory().await;
    let store = store(Arc::clone(&meta)).await;
    let made = store.create_secret(CreateSecret::new("one", [("api_key", HUSH)])).await.unwrap();
    let other = store.create_secret(CreateSecret::new("other", [("api_key", HUSH)])).await.unwrap();
    let rows = meta.query("SELECT * FROM gateway_secret ORDER BY seq", &[]).await.unwrap();
    let bytes = |row: usize, column: &str| rows[row].get::<Vec<u8>>(column).unwrap();
    assert_eq!(rows.len(), 2);
    for (place, row) in rows.iter().enumerate() {
        assert!(!row.get::<String>("content").unwrap().contains("hush"));
        assert!(!bytes(place, "sealed").windows(4).any(|part| part == b"hush"));
    }
    assert_ne!(bytes(0, "wrapped"), bytes(1, "wrapped"));

    // Nobody who can write to the database can give one secret the values of another.
    let sql = "UPDATE gateway_secret SET sealed = $1, wrapped = $2 WHERE id = $3";
    meta.execute(sql, params![bytes(0, "sealed"), bytes(0, "wrapped"), &other.id]).await.unwrap();
    assert_eq!(store.values(&other.id).await.unwrap_err().kind(), ErrorKind::DataLoss);
    assert_eq!(store.values(&made.id).await.unwrap().get("api_key"), Some(HUSH));
    meta.execute("UPDATE gateway_secret SET name = 'renamed' WHERE id = $1", params![&made.id]).await.unwrap();
    assert_eq!(store.values(&made.id).await.unwrap_err().kind(), ErrorKind::DataLoss);

    let stranger = LocalKeys::from_passphrase("another passphrase", 1).unwrap();
    let stranger = SqlGatewayStore::builder(meta, stranger).build().await.unwrap();
    let error = stranger.values(&made.id).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.message().contains("passphrase or key file"), "{error}");
    assert!(!format!("{store:?}{stranger:?}").contains("another passphrase"));
}

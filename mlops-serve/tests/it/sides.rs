//! Who gets which side of a rollout over the protocols: by cookie, by context, by override.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, body::Body, http::Request};
use mlops_core::{
    DataType, ModelName, Signature, TensorSpec, Version,
    arrow_array::{ArrayRef, Int64Array, RecordBatch},
};
use mlops_serve::{
    ClosureModel, ModelRepository, Server,
    rollout::{
        RolloutSettings, StickyCookie, Strategy,
        bandit::{BanditSettings, Policy},
    },
};
use serde_json::{Value, json};

use crate::client;

fn name() -> ModelName {
    "m".parse().unwrap()
}

/// Versions 1 and 2, which say their number, in a rollout.
async fn rolling(settings: RolloutSettings) -> Router {
    let repository = Arc::new(ModelRepository::new());
    for version in [1_i64, 2] {
        let spec = TensorSpec::column("x", DataType::Int64);
        let model = ClosureModel::new(Signature::new([spec.clone()], [spec]).unwrap(), move |batch: &RecordBatch| {
            let said: ArrayRef = Arc::new(Int64Array::from(vec![version; batch.num_rows()]));
            Ok(RecordBatch::try_from_iter([("x", said)])?)
        });
        repository.register(&name(), Version(version as u64), Arc::new(model)).unwrap();
    }
    let server = Server::builder(repository).build().unwrap();
    server.start_rollout(&name(), Version(2), settings).await.unwrap();
    server.into_router()
}

struct Said {
    status: u16,
    version: Value,
    body: Value,
    set_cookie: Option<String>,
    made_id: Option<String>,
}

async fn ask(router: &Router, headers: &[(&str, &str)], parameters: Value) -> Said {
    let body = json!({
        "parameters": parameters,
        "inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [0]}]
    });
    let request = headers
        .iter()
        .fold(Request::post("/v2/models/m/infer"), |request, (name, value)| request.header(*name, *value));
    let (status, headers, body) = client::send(router, request.body(Body::from(body.to_string())).unwrap()).await;
    let told = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (set_cookie, made_id) = (told("set-cookie"), told("mlops-request-id"));
    Said { status: status.as_u16(), version: body["outputs"][0]["data"][0].clone(), body, set_cookie, made_id }
}

fn sticky() -> RolloutSettings {
    RolloutSettings {
        sticky_cookie: Some(StickyCookie::new("side").with_max_age_s(60)),
        ..RolloutSettings::canary([0.5, 1.0])
    }
}

#[tokio::test]
async fn a_browser_gets_a_cookie_stays_on_its_side_and_the_cookie_is_prolonged() {
    let router = rolling(sticky()).await;
    let mut seen = BTreeMap::new();
    for _ in 0..40 {
        let first = ask(&router, &[], json!({})).await;
        let set = first.set_cookie.expect("a client without a key gets one");
        let (key, attributes) = set.split_once("; ").unwrap();
        assert_eq!(attributes, "Max-Age=60; Path=/; HttpOnly; SameSite=Lax");
        assert!(seen.insert(key.to_owned(), first.version.clone()).is_none(), "each client has a key of its own");
        for _ in 0..3 {
            let again = ask(&router, &[("cookie", &format!("theme=dark; {key}"))], json!({})).await;
            assert_eq!((&again.version, again.set_cookie.as_deref()), (&first.version, Some(set.as_str())));
        }
    }
    let sides: std::collections::BTreeSet<i64> = seen.values().map(|version| version.as_i64().unwrap()).collect();
    assert_eq!(sides.len(), 2, "both sides answered");
}

#[tokio::test]
async fn who_sends_a_key_or_names_a_version_gets_no_cookie() {
    let router = rolling(sticky()).await;
    assert_eq!(ask(&router, &[], json!({"routing_key": "me"})).await.set_cookie, None);
    let by_header = rolling(RolloutSettings { sticky_by: Some("user".into()), ..sticky() }).await;
    assert_eq!(ask(&by_header, &[("user", "me"), ("cookie", "side=x")], json!({})).await.set_cookie, None);
    assert!(ask(&by_header, &[], json!({})).await.set_cookie.is_some());
    let pinned = Request::post("/v2/models/m/versions/1/infer");
    let body = r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [0]}]}"#;
    let (_, headers, _) = client::send(&router, pinned.body(Body::from(body)).unwrap()).await;
    assert!(!headers.contains_key("set-cookie"));
    // What nobody here can have set is no key; it is replaced.
    let replaced = ask(&router, &[("cookie", "side=\"a b\"")], json!({})).await.set_cookie.unwrap();
    assert!(!replaced.contains("a b"), "{replaced}");
    // The other protocols of HTTP keep it, too.
    let v1 = Request::post("/v1/models/m:predict").body(Body::from(r#"{"instances": [0]}"#)).unwrap();
    assert!(client::send(&router, v1).await.1.contains_key("set-cookie"));
}

#[tokio::test]
async fn the_key_in_the_inputs_goes_before_that_of_a_cookie() {
    let router = rolling(RolloutSettings { sticky_by: Some("x".into()), ..sticky() }).await;
    // All of them send the same key in their inputs, and no cookie or one of their own.
    let first = ask(&router, &[], json!({})).await;
    assert_eq!(first.set_cookie, None, "the inputs decide");
    for client in 0..20 {
        let cookie = format!("side=c{client}");
        let headers: &[(&str, &str)] = if client % 2 == 0 { &[("cookie", &cookie)] } else { &[] };
        let again = ask(&router, headers, json!({})).await;
        assert_eq!((&again.version, again.set_cookie), (&first.version, None));
    }
}

fn linear() -> RolloutSettings {
    let policy = Policy::LinUcb { alpha: 0.5, dimension: 2, ridge: 1.0 };
    let bandit = BanditSettings { learn_every: 1, ..BanditSettings::new("sale", policy) };
    RolloutSettings { context_by: Some("x-context".into()), ..RolloutSettings::new(Strategy::Bandit(bandit)) }
}

#[tokio::test]
async fn a_bandit_learns_from_the_context_that_headers_or_parameters_tell() {
    let repository = Arc::new(ModelRepository::new());
    for version in [1_u64, 2] {
        let spec = TensorSpec::column("x", DataType::Int64);
        let signature = Signature::new([spec.clone()], [spec]).unwrap();
        repository
            .register(&name(), Version(version), Arc::new(ClosureModel::new(signature, |b| Ok(b.clone()))))
            .unwrap();
    }
    let server = Server::builder(repository).build().unwrap();
    server.start_rollout(&name(), Version(2), linear()).await.unwrap();
    let router = server.clone().into_router();
    // The first kind of request does well with version 1, the second with version 2.
    for round in 0..400_u32 {
        let kind = round % 2;
        let (header, parameter) = (if kind == 0 { "1,0" } else { "0, 1" }, if kind == 0 { "1,0" } else { "0,1" });
        let said = match round % 4 {
            0 | 1 => ask(&router, &[("x-context", header)], json!({})).await,
            // The parameter goes before.
            _ => ask(&router, &[("x-context", "9,9")], json!({"context": parameter})).await,
        };
        assert_eq!(said.status, 200, "{}", said.body);
        let good = said.body["model_version"] == json!((kind + 1).to_string());
        let id = said.made_id.expect("the server made an id");
        server.record_outcome(&name(), &id, "sale", if good { 1.0 } else { 0.0 }).unwrap();
    }
    for (context, version) in [("1,0", "1"), ("0,1", "2")] {
        let mut right = 0;
        for _ in 0..100 {
            right += usize::from(ask(&router, &[], json!({"context": context})).await.body["model_version"] == version);
        }
        assert!(right > 90, "context {context}: {right} of 100");
    }
}

#[tokio::test]
async fn a_context_that_cannot_be_learnt_from_is_refused() {
    let router = rolling(linear()).await;
    for (headers, parameters, text) in [
        (&[][..], json!({"context": "1"}), "has 1 numbers; the rollout of this model takes 2"),
        (&[("x-context", "1,2,3")][..], json!({}), "has 3 numbers"),
        (&[][..], json!({"context": "1,x"}), "finite numbers"),
        (&[][..], json!({"context": "1,inf"}), "finite numbers"),
        (&[("x-context", ",")][..], json!({}), "finite numbers"),
        (&[][..], json!({"context": "1,".repeat(100)}), "at most 64"),
    ] {
        let said = ask(&router, headers, parameters).await;
        assert_eq!(said.status, 400, "{}", said.body);
        assert!(said.body["error"].as_str().unwrap().contains(text), "{}", said.body);
    }
    assert_eq!(ask(&router, &[], json!({})).await.status, 200);
}

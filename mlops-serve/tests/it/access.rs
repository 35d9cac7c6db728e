//! Who may do what, from outside: without a key, and with keys that each allow one thing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Method, Request},
};
use mlops_serve::{Server, ServerSettings};
use serde_json::json;

use crate::{
    client::{models, protocols, send},
    support::{ASKER, MANAGER, READER, access, keys, settings},
};

fn guarded(settings: ServerSettings) -> Router {
    let server = Server::builder(models()).with_settings(settings).with_access(access(keys()));
    server.build().unwrap().into_router()
}

fn everything() -> Router {
    guarded(ServerSettings { repository_api: true, protocols: protocols("add"), ..ServerSettings::default() })
}

async fn status(router: &Router, method: Method, path: &str, key: Option<&str>) -> u16 {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    let body = if path.contains("v2") {
        r#"{"inputs":[{"name":"a","shape":[1],"datatype":"FP64","data":[1]}]}"#
    } else if path.contains("v1") || path == "/predict" {
        r#"{"instances":[[1,2]]}"#
    } else {
        "[[1,2]]"
    };
    send(router, request.body(Body::from(body)).unwrap()).await.0.as_u16()
}

/// Methods and paths by what they are for.
const READS: [(Method, &str); 12] = [
    (Method::GET, "/v2"),
    (Method::GET, "/v2/models"),
    (Method::GET, "/v2/models/add"),
    (Method::GET, "/v2/models/add/ready"),
    (Method::GET, "/v2/models/stats"),
    (Method::POST, "/v2/repository/index"),
    (Method::GET, "/v1/models/add"),
    (Method::GET, "/v1/models/add/labels/stable/metadata"),
    (Method::GET, "/models"),
    (Method::GET, "/models/add/all"),
    (Method::GET, "/metrics"),
    (Method::GET, "/openapi.json"),
];
const ASKS: [(Method, &str); 8] = [
    (Method::POST, "/v2/models/add/infer"),
    (Method::POST, "/v2/models/add/versions/1/infer"),
    (Method::POST, "/v1/models/add:predict"),
    (Method::POST, "/predictions/add"),
    (Method::POST, "/invocations"),
    (Method::POST, "/models/add/invoke"),
    (Method::POST, "/score"),
    (Method::POST, "/predict"),
];
const MANAGES: [(Method, &str); 6] = [
    (Method::PUT, "/models/add/1/set-default"),
    (Method::POST, "/v2/repository/models/add/unload"),
    (Method::POST, "/v2/repository/models/add/load"),
    (Method::DELETE, "/models/add/1"),
    (Method::POST, "/models?model_name=add"),
    (Method::DELETE, "/models/add"),
];
const PROBES: [(Method, &str); 6] = [
    (Method::GET, "/v2/health/live"),
    (Method::GET, "/v2/health/ready"),
    (Method::GET, "/ping"),
    (Method::GET, "/health"),
    (Method::GET, "/"),
    (Method::GET, "/alive"),
];

#[tokio::test]
async fn each_key_opens_what_it_is_for_and_nothing_else() {
    let router = everything();
    for (requests, allowed) in [(READS.as_slice(), READER), (&ASKS, ASKER), (&MANAGES, MANAGER)] {
        for (method, path) in requests {
            let told = async |key| status(&router, method.clone(), path, key).await;
            assert_eq!(told(None).await, 401, "{method} {path} without a key");
            assert_eq!(told(Some("key-of-nobody-at-all")).await, 401, "{method} {path} with a key of nobody");
            for key in [READER, ASKER, MANAGER].into_iter().filter(|key| *key != allowed) {
                assert_eq!(told(Some(key)).await, 403, "{method} {path} with {key}");
            }
            assert_eq!(told(Some(allowed)).await, 200, "{method} {path} with {allowed}");
        }
    }
    for (method, path) in PROBES {
        assert_eq!(status(&router, method.clone(), path, None).await, 200, "{method} {path}");
    }
    assert_eq!(status(&router, Method::GET, "/nothing/here", None).await, 401);
    assert_eq!(status(&router, Method::GET, "/nothing/here", Some(READER)).await, 404);
    assert_eq!(status(&router, Method::PATCH, "/v2/health/live", Some(READER)).await, 405);
}

#[tokio::test]
async fn a_model_named_like_a_call_is_managed_by_managers_alone() {
    let router = everything();
    for path in ["/models/invoke", "/models/infer", "/models/a:predict", "/models/invoke/1"] {
        for key in [READER, ASKER] {
            assert_eq!(status(&router, Method::DELETE, path, Some(key)).await, 403, "{path} {key}");
        }
        assert_eq!(status(&router, Method::DELETE, path, Some(MANAGER)).await, 404, "{path}");
    }
}

#[tokio::test]
async fn paths_of_the_settings_open_no_other_route() {
    let vertex = |predict: &str, health: &str| {
        let torchserve = json!({"predict_route": predict, "health_route": health});
        let protocols = json!({"torchserve": true, "vertex": torchserve, "default_model": "add"});
        guarded(settings(json!({"repository_api": true, "protocols": protocols})))
    };
    let router = vertex("/ping", "/models");
    assert_eq!(status(&router, Method::POST, "/models", None).await, 401);
    assert_eq!(status(&router, Method::POST, "/models?model_name=add", Some(READER)).await, 403);
    assert_eq!(status(&router, Method::GET, "/models", None).await, 401, "it stays with the protocol that had it");
    assert_eq!(status(&router, Method::GET, "/ping", None).await, 200);
    assert_eq!(status(&router, Method::POST, "/ping", None).await, 401);
    assert_eq!(status(&router, Method::POST, "/ping", Some(READER)).await, 403);
    let router = vertex("/models", "/alive");
    assert_eq!(status(&router, Method::POST, "/models?model_name=add", Some(ASKER)).await, 403);
}

#[tokio::test]
async fn leave_is_asked_before_a_byte_of_the_body_is_read() {
    let router = everything();
    for path in ["/v2/models/pair/infer", "/v2/models/none/infer", "/v1/models/pair:predict", "/predictions/pair"] {
        let touched = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&touched);
        let body = futures::stream::poll_fn(move |_| {
            seen.store(true, Ordering::SeqCst);
            std::task::Poll::Ready(None::<Result<Bytes, std::io::Error>>)
        });
        let request = Request::post(path).header("x-api-key", ASKER).body(Body::from_stream(body)).unwrap();
        assert_eq!(send(&router, request).await.0.as_u16(), 403, "{path}");
        assert!(!touched.load(Ordering::SeqCst), "{path}");
    }
}

#[tokio::test]
async fn a_refusal_says_which_credentials_are_taken() {
    let (status, headers, answer) = send(&everything(), Request::get("/v2").body(Body::empty()).unwrap()).await;
    assert_eq!((status.as_u16(), &headers["www-authenticate"]), (401, &"Bearer, Basic".parse().unwrap()));
    assert!(answer["error"].is_string());
    for authorization in [format!("Bearer {READER}"), "Basic cmVhZGVyOmtleS1vZi10aGUtcmVhZGVy".to_owned()] {
        let request = Request::get("/v2").header("authorization", authorization).body(Body::empty()).unwrap();
        assert_eq!(send(&everything(), request).await.0.as_u16(), 200);
    }
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn calls_need_what_requests_need() {
    use crate::calls::{field, framed, grpc, sum};

    const UNAUTHENTICATED: i32 = 16;
    const DENIED: i32 = 7;
    let router = everything();
    let call = async |method: &str, key: Option<&str>, message: &[u8]| {
        grpc(&router, &format!("/inference.GRPCInferenceService/{method}"), key, framed(message)).await.0
    };
    for method in ["ServerLive", "ServerReady"] {
        assert_eq!(call(method, None, &[]).await, 0, "{method}");
    }
    assert_eq!(grpc(&router, "/grpc.health.v1.Health/Check", None, framed(&[])).await.0, 0);
    let named = field(2, b"add");
    for (method, message, allowed) in [
        ("ServerMetadata", &[][..], READER),
        ("ModelMetadata", &field(1, b"add"), READER),
        ("ModelInfer", &sum(), ASKER),
        ("RepositoryModelUnload", &named, MANAGER),
        ("RepositoryModelLoad", &named, MANAGER),
    ] {
        assert_eq!(call(method, None, message).await, UNAUTHENTICATED, "{method}");
        for key in [READER, ASKER, MANAGER].into_iter().filter(|key| *key != allowed) {
            assert_eq!(call(method, Some(key), message).await, DENIED, "{method} {key}");
        }
        assert_eq!(call(method, Some(allowed), message).await, 0, "{method} {allowed}");
    }
    let other = [field(1, b"pair"), sum()[5..].to_vec()].concat();
    assert_eq!(call("ModelInfer", Some(ASKER), &other).await, DENIED, "a model that it may not ask");
    let stream = "/inference.GRPCInferenceService/ModelStreamInfer";
    let (status, answers) = grpc(&router, stream, Some(ASKER), framed(&other)).await;
    assert_eq!(status, 0);
    assert!(answers.windows(7).any(|window| window == b"may not"), "a message of a stream is no way around");
}

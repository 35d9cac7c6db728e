//! How much one tenant and all together may ask for. Rates are so low that no time that passes here matters, and
//! requests are in flight for as long as the test says.

use std::sync::Arc;

use axum::{Router, body::Body, http::Request};
use mlops_serve::Server;
use serde_json::{Value, json};

use crate::{
    client::{models, send},
    support::{ASKER, GATED, Gate, READER, access, in_time, keys, settings, status, with_key},
};

const ADD: (&str, &str) = ("/v1/models/add:predict", r#"{"instances":[[1,2]]}"#);

fn router(json: Value) -> Router {
    Server::builder(models()).with_settings(settings(json)).build().unwrap().into_router()
}

#[tokio::test]
async fn a_tenant_that_is_too_fast_is_told_when_to_come_again_and_others_are_not() {
    let router = router(json!({"limits": {"tenant": {"requests_per_second": 0.001, "burst": 2}}}));
    let ask = async |key: &str| status(&router, with_key(key, ADD)).await;
    assert_eq!([ask("one").await, ask("one").await], [(200, None), (200, None)]);
    let (refused, again) = ask("one").await;
    assert_eq!(refused, 429);
    assert!((1..=1_000).contains(&again.unwrap()), "{again:?}");
    assert_eq!(ask("two").await.0, 200);
    for _ in 0..5 {
        let probe = Request::get("/v2/health/ready").header("x-api-key", "one").body(Body::empty()).unwrap();
        assert_eq!(status(&router, probe).await.0, 200, "probes are not counted");
    }
    let page = Request::get("/metrics").header("x-api-key", "three").body(Body::empty()).unwrap();
    let (_, _, page) = send(&router, page).await;
    assert!(page.as_str().unwrap().contains("mlops_serve_http_refusals_total{reason=\"tenant_rate\"} 1\n"), "{page}");
}

#[tokio::test]
async fn a_named_tenant_has_its_own_limits() {
    let tenants = json!({"asker": {"requests_per_second": 0.001, "burst": 1}});
    let server = Server::builder(models()).with_settings(settings(json!({"limits": {"tenants": tenants}})));
    let router = server.with_access(access(keys())).build().unwrap().into_router();
    let ask = async || status(&router, with_key(ASKER, ADD)).await.0;
    assert_eq!([ask().await, ask().await], [200, 429]);
    let read = async || {
        let request = Request::get("/v2").header("x-api-key", READER).body(Body::empty()).unwrap();
        status(&router, request).await.0
    };
    assert_eq!([read().await, read().await], [200, 200], "others have no limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_bounded_for_each_tenant_and_for_all() {
    let (gate, repository) = Gate::model();
    let limits = json!({"in_flight_max": 2, "tenant": {"in_flight_max": 1}});
    let server = Server::builder(repository).with_settings(settings(json!({"limits": limits, "inline_below_us": 0})));
    let router = Arc::new(server.build().unwrap().into_router());
    let ask = |key: &'static str| {
        let router = Arc::clone(&router);
        tokio::spawn(async move { status(&router, with_key(key, GATED)).await })
    };
    let one = ask("one");
    gate.started().await;
    let refused = in_time(ask("one")).await.unwrap();
    assert_eq!(refused, (429, Some(1)), "one at a time for each tenant");
    let two = ask("two");
    // The second worker takes it.
    gate.started().await;
    assert_eq!(in_time(ask("three")).await.unwrap(), (503, Some(1)), "two at a time for all");
    gate.open();
    gate.open();
    assert_eq!((in_time(one).await.unwrap().0, in_time(two).await.unwrap().0), (200, 200));
    gate.open();
    assert_eq!(in_time(ask("one")).await.unwrap().0, 200, "an answer makes room");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up_whatever_it_says_it_is() {
    let router = router(json!({"limits": {"body_timeout_ms": 50}}));
    let never = || Body::from_stream(futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>());
    for kind in ["application/json", "application/grpc", "application/grpc+proto"] {
        let request = Request::post("/v2/models/add/infer").header("content-type", kind).body(never()).unwrap();
        assert_eq!(in_time(status(&router, request)).await.0, 408, "{kind}");
    }
    #[cfg(feature = "grpc")]
    {
        let call = crate::calls::grpc(&router, "/inference.GRPCInferenceService/ModelInfer", None, never());
        assert_eq!(in_time(call).await.0, 4, "a call of one message has the time of a body");
    }
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn each_message_of_a_stream_is_admitted() {
    use crate::calls::{framed, grpc, sum};

    let router = router(json!({"limits": {"tenant": {"requests_per_second": 0.001, "burst": 3}}}));
    let messages = || framed(&sum()).repeat(5);
    let stream = "/inference.GRPCInferenceService/ModelStreamInfer";
    let (status, answers) = grpc(&router, stream, Some("one"), messages()).await;
    let count = |text: &[u8]| answers.windows(text.len()).filter(|window| *window == text).count();
    assert_eq!(status, 0, "the stream itself goes on");
    assert_eq!((count(b"this tenant may send"), count(&3.0_f64.to_le_bytes())), (3, 2));
    assert_eq!(grpc(&router, stream, Some("one"), messages()).await.0, 8, "its opening is a request");
    assert_eq!(grpc(&router, stream, Some("two"), framed(&sum())).await.0, 0);
}

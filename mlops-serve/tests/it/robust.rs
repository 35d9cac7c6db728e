//! No body breaks a protocol: whatever is sent, the answer is a success or the caller's fault.

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::client::{everything, send};

const PATHS: [(&str, &str); 9] = [
    ("/v1/models/add:predict", ""),
    ("/v1/models/pair:predict", ""),
    ("/v1/models/add:regress", ""),
    ("/invocations", ""),
    ("/invocations", "text/csv"),
    ("/invocations", "application/jsonlines"),
    ("/predictions/pair", ""),
    ("/score", ""),
    ("/v2/models/pair/generate", ""),
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-b\"NaN,\\n]{0,4}".prop_map(Value::from),
        Just(json!(true)),
    ];
    let key = prop::sample::select(vec!["a", "b", "X", "b64", "data", "columns", "context", "signature_name"]);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn body() -> impl Strategy<Value = String> {
    let keys =
        vec!["instances", "inputs", "dataframe_split", "dataframe_records", "input_data", "data", "examples", "X"];
    prop_oneof![
        (prop::sample::select(keys), value()).prop_map(|(key, value)| json!({ key: value }).to_string()),
        value().prop_map(|value| value.to_string()),
        "[0-9a,\"\\n\\[\\]{}:NaN-]{0,40}",
    ]
}

async fn status(router: &Router, (path, kind): (&str, &str), body: String) -> StatusCode {
    let mut request = Request::post(path);
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    send(router, request.body(Body::from(body)).unwrap()).await.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_answer_is_a_success_or_the_callers_fault(path in prop::sample::select(PATHS.to_vec()), body in body()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let status = runtime.block_on(async { status(&everything("add"), path, body).await });
        prop_assert!(status == StatusCode::OK || status.is_client_error(), "{status}");
    }
}

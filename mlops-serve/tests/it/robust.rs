//! Nothing that is sent breaks a protocol: the answer is a success or the caller's fault, and it comes.

use std::sync::LazyLock;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    client::{everything, send},
    support::in_time,
};

const PATHS: [(&str, &str); 22] = [
    ("/v1/models/add:predict", ""),
    ("/v1/models/pair:predict", ""),
    ("/v1/models/add:regress", ""),
    ("/invocations", ""),
    ("/invocations", "text/csv"),
    ("/invocations", "application/jsonlines"),
    ("/predictions/pair", ""),
    ("/score", ""),
    ("/v2/models/pair/generate", ""),
    ("/v2/models/word/generate_stream", ""),
    ("/v2/models/add/explain", ""),
    ("/v2/models/add/feedback", ""),
    ("/v2/models/add/outcomes", ""),
    ("/v2/repository/index", ""),
    ("/v2/repository/models/add/load", ""),
    ("/v1/models/add:classify", ""),
    ("/v1/models/add:explain", ""),
    ("/explanations/pair", ""),
    ("/predictions/add", "text/csv"),
    ("/models/pair/invoke", ""),
    ("/models", ""),
    ("/predict", ""),
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

/// One server for all cases, on threads of its own.
static SERVER: LazyLock<(Runtime, Router)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let router = runtime.block_on(async { everything("add") });
    (runtime, router)
});

/// The answer, which must come.
fn sent(request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
    let (runtime, router) = &*SERVER;
    runtime.block_on(in_time(send(router, request)))
}

fn status(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> StatusCode {
    let mut request = Request::post(path);
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    sent(request.body(body.into()).unwrap()).0
}

fn fine(status: StatusCode) -> bool {
    status == StatusCode::OK || status.is_client_error()
}

/// The same for what is not offered here, and says so: the models have no explainer, and nobody takes feedback.
fn fine_at(path: &str, status: StatusCode) -> bool {
    let offered = !["explain", "explanations", "feedback", "outcomes"].iter().any(|what| path.contains(what));
    fine(status) || (!offered && status == StatusCode::NOT_IMPLEMENTED)
}

/// Bodies that are answered, to be changed.
const VALID: [(&str, &str); 6] = [
    (
        "/v2/models/add/infer",
        r#"{"id":"7","parameters":{"priority":1,"timeout":60000000,"binary_data_output":true},"inputs":[
            {"name":"a","shape":[2],"datatype":"FP64","data":[1.5,2]},
            {"name":"b","shape":[2],"datatype":"INT64","data":[1,2],"parameters":{}}],
            "outputs":[{"name":"y","parameters":{"binary_data":false,"classification":1}}]}"#,
    ),
    ("/v2/models/pair/infer", r#"{"inputs":[{"name":"X","shape":[1,2],"datatype":"FP32","data":[[1,2]]}]}"#),
    ("/v1/models/add:predict", r#"{"signature_name":"","instances":[{"a":1.5,"b":2},{"a":1,"b":null}]}"#),
    ("/invocations", r#"{"dataframe_split":{"columns":["a","b"],"index":[0],"data":[[1,2],[3,4]]}}"#),
    ("/score", r#"{"input_data":{"columns":["a","b"],"data":[[1,2]]}}"#),
    ("/v2/models/word/generate", r#"{"text":"hello","parameters":{"n":1}}"#),
];

/// Changes the `place`-th value of a tree, counted from the outside in: to another, to a list with it, or to nothing.
fn changed(tree: &mut Value, place: &mut usize, change: &(u8, Value)) {
    if *place == 0 {
        let old = tree.take();
        *tree = match change.0 {
            0 => change.1.clone(),
            1 => json!([old]),
            2 => json!([old.clone(), old, change.1]),
            _ => json!({ "a": old, "name": change.1 }),
        };
    }
    let here = *place == 0;
    *place = place.wrapping_sub(1);
    if here {
        return;
    }
    let parts: Vec<&mut Value> = match tree {
        Value::Array(parts) => parts.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    for part in parts {
        changed(part, place, change);
        if *place == usize::MAX {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_body_is_answered(path in prop::sample::select(PATHS.to_vec()), body in body()) {
        let status = status(path.0, &[("content-type", path.1)], body);
        prop_assert!(fine_at(path.0, status), "{status}");
    }

    #[test]
    fn a_changed_request_is_answered(
        (path, body) in prop::sample::select(VALID.to_vec()),
        changes in prop::collection::vec((0_usize..24, (0_u8..4, value())), 1..4),
        cut in prop::option::weighted(0.1, 0_usize..400),
    ) {
        let mut tree: Value = serde_json::from_str(body).unwrap();
        for (mut place, change) in changes {
            changed(&mut tree, &mut place, &change);
        }
        let mut body = tree.to_string().into_bytes();
        body.truncate(cut.unwrap_or(usize::MAX));
        let status = status(path, &[], body.clone());
        prop_assert!(fine(status), "{status} {}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn any_framing_of_binary_tensors_is_answered(
        length in prop_oneof!["[0-9]{1,3}", "-?[0-9]{1,25}", "[ -~]{1,8}"],
        sizes in prop::collection::vec(prop_oneof![0_i64..40, any::<i64>()], 1..3),
        shape in prop_oneof![Just(json!([2])), Just(json!([0])), prop::collection::vec(any::<i64>(), 0..4).prop_map(|dims| json!(dims))],
        tail in prop::collection::vec(any::<u8>(), 0..64),
        exact in any::<bool>(),
    ) {
        let inputs: Vec<Value> = sizes.iter().zip([("a", "FP64"), ("b", "INT64")]).map(|(size, (name, kind))| {
            json!({"name": name, "datatype": kind, "shape": shape, "parameters": {"binary_data_size": size}})
        }).collect();
        let json = json!({ "inputs": inputs }).to_string();
        let length = if exact { json.len().to_string() } else { length };
        let body = [json.as_bytes(), &tail].concat();
        let status = status("/v2/models/add/infer", &[("inference-header-content-length", &length)], body);
        prop_assert!(fine(status), "{status} {length} {json}");
    }

    #[test]
    fn any_encoding_is_answered(
        encoding in prop_oneof![Just("gzip".to_owned()), Just("deflate".to_owned()), "[a-z, ]{1,9}"],
        accepted in "[a-z]{0,7}(;q=[0-9.x]{0,4})?(, ?gzip)?",
        kind in prop_oneof![Just("text/csv".to_owned()), "[a-z/;= -]{1,20}"],
        path in prop::sample::select(PATHS.to_vec()),
        body in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let headers = [("content-encoding", encoding.as_str()), ("accept-encoding", &accepted), ("content-type", &kind)];
        let status = status(path.0, &headers, body);
        prop_assert!(fine_at(path.0, status), "{status}");
    }

    #[test]
    fn any_path_is_answered(
        method in prop::sample::select(vec!["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"]),
        root in prop::sample::select(vec!["/v2/models/", "/v1/models/", "/models/", "/predictions/", "/v2/", "/"]),
        rest in "([a-z0-9:.%{}*-]{0,8}/?){0,4}(\\?[a-z=&%0-9]{0,12})?",
    ) {
        // Nothing may unload a model that other tests ask; and what an URI cannot hold never comes to a server.
        prop_assume!(method != "DELETE" || !["add", "pair", "word", "flag"].iter().any(|name| rest.starts_with(name)));
        let request = Request::builder().method(method).uri(format!("{root}{rest}")).body(Body::empty());
        if let Ok(request) = request {
            let status = sent(request).0;
            prop_assert!(fine(status) || status == StatusCode::NOT_IMPLEMENTED, "{status}");
        }
    }
}

#[cfg(feature = "grpc")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_frame_is_answered_by_a_status(
        method in prop::sample::select(vec!["ModelInfer", "ModelStreamInfer", "ModelMetadata", "RepositoryIndex"]),
        head in prop::collection::vec(any::<u8>(), 0..6),
        body in prop::collection::vec(any::<u8>(), 0..120),
        place in 0_usize..80,
        honest in any::<bool>(),
    ) {
        let message = if honest {
            let mut message = crate::calls::sum();
            let place = place % message.len();
            let end = (place + body.len()).min(message.len());
            message[place..end].copy_from_slice(&body[..end - place]);
            crate::calls::framed(&message)
        } else {
            [head, body].concat()
        };
        let (runtime, router) = &*SERVER;
        let method = format!("/inference.GRPCInferenceService/{method}");
        let (code, _) = runtime.block_on(in_time(crate::calls::grpc(router, &method, None, message)));
        prop_assert!((0..=16).contains(&code), "{code}");
        // Unknown, Internal, Unavailable, DataLoss: faults of a server. For broken frames gRPC itself says Internal.
        prop_assert!(!honest || ![2, 13, 14, 15].contains(&code), "{code}");
    }
}

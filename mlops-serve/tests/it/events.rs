//! CloudEvents around KServe v1, in both modes.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::client::{everything, send};

const PREDICT: &str = "/v1/models/add:predict";

fn binary(leave_out: &str) -> axum::http::request::Builder {
    let attributes = [("specversion", "1.0"), ("id", "e1"), ("source", "https://example.com"), ("type", "t")];
    let sent = attributes.iter().filter(|(name, _)| *name != leave_out);
    sent.fold(Request::post(PREDICT).header("content-type", "application/json"), |request, (name, value)| {
        request.header(format!("ce-{name}"), *value)
    })
}

fn structured(path: &str, event: &Value) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/cloudevents+json; charset=utf-8");
    request.body(Body::from(event.to_string())).unwrap()
}

fn event(data: &Value) -> Value {
    json!({"specversion": "1.0", "id": "e1", "source": "https://example.com", "type": "t", "data": data})
}

#[tokio::test]
async fn a_binary_event_is_answered_by_one() {
    let request = binary("").body(Body::from(r#"{"instances":[[1,2]]}"#)).unwrap();
    let (status, headers, answer) = send(&everything("add"), request).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"predictions": [3.0]})));
    let header = |name: &str| headers[name].to_str().unwrap();
    assert_eq!(
        (header("ce-specversion"), header("ce-type"), header("ce-source"), header("content-type")),
        ("1.0", "io.kserve.inference.response", "io.kserve.inference.add", "application/json")
    );
    assert_ne!(header("ce-id"), "e1");
    assert!(header("ce-time").ends_with('Z'), "{headers:?}");
}

#[tokio::test]
async fn a_structured_event_is_answered_by_one() {
    let router = everything("add");
    let data = json!({"instances": [[1, 2]]});
    let mut encoded = event(&Value::Null);
    encoded["data_base64"] = BASE64_STANDARD.encode(data.to_string()).into();
    for event in [event(&data), encoded] {
        let (status, headers, answer) = send(&router, structured(PREDICT, &event)).await;
        assert_eq!((status, &answer["data"]), (StatusCode::OK, &json!({"predictions": [3.0]})), "{answer}");
        assert_eq!(headers["content-type"], "application/cloudevents+json");
        assert!(!headers.contains_key("ce-id"));
        assert_eq!(
            (&answer["specversion"], &answer["type"], &answer["source"]),
            (&json!("1.0"), &json!("io.kserve.inference.response"), &json!("io.kserve.inference.add"))
        );
        assert_ne!(answer["id"], "e1");
        assert!(answer["time"].is_string());
    }
    let regress = event(&json!({"examples": [{"a": 1, "b": 2}]}));
    let (_, _, answer) = send(&router, structured("/v1/models/add:regress", &regress)).await;
    assert_eq!(answer["data"], json!({"result": [3.0]}));
}

#[tokio::test]
async fn an_event_is_json_so_it_holds_no_bare_tokens() {
    let body = event(&json!(0)).to_string().replace("\"data\":0", r#""data":{"instances":[["NaN",1]]}"#);
    let request = Request::post(PREDICT).header("content-type", "application/cloudevents+json");
    let (status, _, answer) = send(&everything("add"), request.body(Body::from(body)).unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("NaN"), "{answer}");
}

#[tokio::test]
async fn what_is_no_event_is_the_senders_fault() {
    let router = everything("add");
    for attribute in ["id", "source", "type"] {
        let request = binary(attribute).body(Body::from(r#"{"instances":[[1,2]]}"#)).unwrap();
        let (status, _, answer) = send(&router, request).await;
        assert_eq!(
            (status, &answer["error"]),
            (StatusCode::BAD_REQUEST, &json!(format!("the CloudEvent has no {attribute}")))
        );
        let mut whole = event(&json!({"instances": [[1, 2]]}));
        whole.as_object_mut().unwrap().remove(attribute);
        let (status, _, answer) = send(&router, structured(PREDICT, &whole)).await;
        assert_eq!((status, answer["error"].is_string()), (StatusCode::BAD_REQUEST, true), "{answer}");
    }
    let mut both = event(&json!(1));
    both["data_base64"] = "AA==".into();
    let mut old = event(&json!({"instances": []}));
    old["specversion"] = "0.1".into();
    let mut encoded = event(&Value::Null);
    encoded["data_base64"] = "?".into();
    for bad in [both, old, encoded, event(&Value::Null), event(&json!([])), json!([]), json!({"instances": [[1, 2]]})] {
        let (status, _, answer) = send(&router, structured(PREDICT, &bad)).await;
        assert_eq!((status, answer["error"].is_string()), (StatusCode::BAD_REQUEST, true), "{bad}: {answer}");
    }
    let broken = binary("").body(Body::from("{")).unwrap();
    assert_eq!(send(&router, broken).await.0, StatusCode::BAD_REQUEST);
    let batch = Request::post(PREDICT).header("content-type", "application/cloudevents-batch+json");
    let batch = batch.body(Body::from("[]")).unwrap();
    assert_eq!(send(&router, batch).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

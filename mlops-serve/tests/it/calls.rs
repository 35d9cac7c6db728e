//! gRPC spoken by hand: messages written field by field, framed, and sent to a router.

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{Request, StatusCode},
};
use tower::ServiceExt as _;

/// A message as gRPC frames it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], u32::try_from(message.len()).unwrap().to_be_bytes().as_slice(), message].concat()
}

/// A field of protobuf that has a length.
pub(crate) fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

/// `ModelInferRequest` to `add`: 1 and 2.
pub(crate) fn sum() -> Vec<u8> {
    let input = |name: &str, kind: &str| {
        field(5, &[field(1, name.as_bytes()), field(2, kind.as_bytes()), field(3, &[1])].concat())
    };
    let raw = [field(7, &1.0_f64.to_le_bytes()), field(7, &2_i64.to_le_bytes())].concat();
    [field(1, b"add"), input("a", "FP64"), input("b", "INT64"), raw].concat()
}

/// Calls a method and gives the status with the frames of the answer.
pub(crate) async fn grpc(router: &Router, method: &str, key: Option<&str>, body: impl Into<Body>) -> (i32, Bytes) {
    let mut request = Request::post(method).header("content-type", "application/grpc");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let response = router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "what a call comes to is in its gRPC status");
    let status = response.headers().get("grpc-status").map_or(0, |code| code.to_str().unwrap().parse().unwrap());
    (status, to_bytes(response.into_body(), 1 << 20).await.unwrap())
}

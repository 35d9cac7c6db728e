//! Keeps pages of other origins from writing: a browser on this machine would carry their requests to it. Origins that
//! the application allows may also read (CORS).

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
        },
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use mlops_core::Error;
use url::Url;

use super::{failure::Failure, protect::LOOPBACK};

/// What an allowed origin is told before it asks.
const PREFLIGHT: [(HeaderName, HeaderValue); 3] = [
    (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE")),
    (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type, range")),
    (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
];

/// Refuses a write whose `Origin` is neither this server, this machine nor allowed; lets allowed origins read.
pub(super) async fn check_origin(State(allowed): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).filter(|origin| allowed.iter().any(|known| *origin == known)).cloned();
    let Some(origin) = origin else {
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if writes && is_foreign(request.headers()) {
            return Failure(Error::permission_denied("Cross-origin request blocked")).into_response();
        }
        return next.run(request).await;
    };
    let asks = request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks { (StatusCode::NO_CONTENT, PREFLIGHT).into_response() } else { next.run(request).await };
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
    response
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let text = |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
    // "null" and whatever is no URL come from pages that hide where they are from.
    let Some(url) = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok()) else { return true };
    let Some(host) = url.host_str() else { return true };
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    !LOOPBACK.contains(&host) && text(headers.get(HOST)).is_none_or(|own| own != authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_server_and_machine_may_write() {
        let foreign = |origin: Option<&str>, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            is_foreign(&headers)
        };
        assert!(!foreign(None, "mlflow.corp:5000"));
        assert!(!foreign(Some("http://mlflow.corp:5000"), "mlflow.corp:5000"));
        assert!(!foreign(Some("http://localhost:3000"), "127.0.0.1:5000"));
        for bad in ["http://evil.example", "null", "http://mlflow.corp:5001", "http://localhost.evil.example"] {
            assert!(foreign(Some(bad), "mlflow.corp:5000"), "{bad}");
        }
    }
}

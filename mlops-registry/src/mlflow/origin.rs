//! Keeps pages of other origins from writing: a browser on this machine would carry their requests to it.

use axum::{
    extract::Request,
    http::{
        HeaderMap, Method,
        header::{HOST, ORIGIN},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use mlops_core::Error;
use url::Url;

use super::failure::Failure;

/// Refuses a write whose `Origin` is neither this server nor this machine.
pub(super) async fn refuse_foreign(request: Request, next: Next) -> Response {
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if writes && is_foreign(request.headers()) {
        return Failure(Error::permission_denied("Cross-origin request blocked")).into_response();
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let text = |value: Option<&axum::http::HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
    // "null" and whatever is no URL come from pages that hide where they are from.
    let Some(url) = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok()) else { return true };
    let Some(host) = url.host_str() else { return true };
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    !local && text(headers.get(HOST)).is_none_or(|own| own != authority)
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

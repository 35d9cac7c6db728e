//! All protocols in one router, with what they share: the limit of bodies and the answers to unknown paths.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderMap, StatusCode},
    middleware::from_fn_with_state,
    response::{IntoResponse as _, Response},
};

use crate::{
    access, azureml, feedback, limits, observe, oip, openapi,
    protocol::{Failure, Routes},
    scoring,
    server::Server,
    torchserve, v1, vertex,
};

/// The routes of every protocol that the settings turn on.
pub(crate) fn routes(server: &Server) -> Routes {
    let settings = &server.inner.settings;
    let protocols = &settings.protocols;
    let mut routes = oip::routes(server);
    if protocols.v1 {
        routes = routes.merge(v1::routes());
    }
    if protocols.invocations || protocols.torchserve {
        routes = routes.merge(scoring::ping());
    }
    if protocols.torchserve {
        routes = routes.merge(torchserve::routes());
    }
    if protocols.invocations {
        routes = routes.merge(scoring::routes());
    }
    if settings.repository_api && (protocols.invocations || protocols.torchserve) {
        routes = routes.merge(torchserve::management());
    }
    if protocols.azureml {
        routes = routes.merge(azureml::routes());
    }
    if server.inner.labels.is_some() {
        routes = routes.merge(feedback::routes());
    }
    if let Some(vertex) = &protocols.vertex {
        routes = vertex::with_routes(routes, vertex);
    }
    if protocols.openapi && !routes.has(openapi::PATH, "get") {
        openapi::with_document(routes, &settings.name)
    } else {
        routes
    }
}

pub(crate) fn router(server: Server) -> Router {
    let limit = server.inner.settings.body_bytes_max;
    let router = routes(&server).into_router();
    #[cfg(feature = "grpc")]
    let router = router.merge(crate::grpc::routes());
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(limit))
        .layer(from_fn_with_state(server.clone(), limits::admit))
        .layer(from_fn_with_state(server.clone(), access::enter))
        .layer(from_fn_with_state(server.clone(), observe::watch))
        .with_state(server)
}

async fn unknown_path(headers: HeaderMap) -> Response {
    #[cfg(feature = "grpc")]
    if let Some(answer) = crate::grpc::unknown_method(&headers) {
        return answer;
    }
    // Only calls are told apart by their headers.
    drop(headers);
    Failure::new(StatusCode::NOT_FOUND, "there is nothing at this path").into_response()
}

async fn wrong_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
}

//! All protocols in one router, with what they share: the limit of bodies and the answers to unknown paths.

use axum::{
    Router,
    extract::{Request, State},
    handler::Handler as _,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use mlops_core::Result;

use crate::{
    access::Purpose,
    azureml,
    door::{Door, Wire},
    entrance::Entrance,
    feedback, oip, openapi,
    protocol::{Failure, Routes},
    scoring,
    server::Server,
    torchserve, v1, vertex,
};

/// Whether the routes that the settings name leave all others where they are.
///
/// # Errors
/// `InvalidArgument` naming both routes.
pub(crate) fn check(server: &Server) -> Result<()> {
    match &server.inner.settings.protocols.vertex {
        Some(vertex) => vertex::check(&fixed(server), vertex),
        None => Ok(()),
    }
}

/// The routes of every protocol that the settings turn on.
fn routes(server: &Server) -> Routes {
    let settings = &server.inner.settings;
    let mut routes = fixed(server);
    if let Some(vertex) = &settings.protocols.vertex {
        routes = vertex::with_routes(routes, vertex);
    }
    if settings.protocols.openapi && !routes.has(openapi::PATH, "get") {
        openapi::with_document(routes, &settings.name, settings.protocols.torchserve)
    } else {
        routes
    }
}

/// Those whose paths no setting names.
fn fixed(server: &Server) -> Routes {
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
    if settings.outcomes_api {
        routes = routes.merge(feedback::outcome_routes());
    }
    routes
}

pub(crate) fn router(server: Server) -> Router {
    let routes = routes(&server);
    #[cfg(feature = "grpc")]
    let routes = routes.merge(crate::grpc::routes());
    // What is not there is told only to those who may read what is.
    let door = Door { server: server.clone(), purpose: Purpose::Read, wire: Wire::Http };
    let entrance = Entrance::new(door);
    routes
        .into_router(&server)
        .fallback(unknown_path.layer(entrance.clone()))
        .method_not_allowed_fallback(wrong_method.layer(entrance))
        .with_state(server)
}

async fn unknown_path(State(server): State<Server>, request: Request) -> Response {
    #[cfg(feature = "grpc")]
    if let Some(answer) = crate::grpc::unknown_method(request.headers()) {
        return answer;
    }
    let failure = Failure::new(StatusCode::NOT_FOUND, "there is nothing at this path");
    told(&server, request.uri().path(), failure)
}

async fn wrong_method(State(server): State<Server>, request: Request) -> Response {
    let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method");
    told(&server, request.uri().path(), failure)
}

/// A failure in the words of the protocol that the first word of the path belongs to.
fn told(server: &Server, path: &str, failure: Failure) -> Response {
    let protocols = &server.inner.settings.protocols;
    match path.split('/').nth(1).unwrap_or_default() {
        "predictions" | "explanations" | "models" if protocols.torchserve => torchserve::nowhere(&failure),
        "invocations" | "models" if protocols.invocations => scoring::told(&failure),
        "score" | "swagger.json" if protocols.azureml => azureml::told(&failure),
        _ => failure.into_response(),
    }
}

//! The OpenAPI 3.1 document of the routes that a server has, served at `/openapi.json`.
//!
//! Invariant: made from the routes themselves, so it lists each of them and no other.

mod document;
mod schemas;

use axum::{
    body::Bytes,
    http::header,
    response::{IntoResponse as _, Response},
};

use crate::protocol::{Operation, Routes};

/// Where the document is.
pub(crate) const PATH: &str = "/openapi.json";

/// Adds `/openapi.json`, which describes `routes` and itself; `by_options` tells the same to `OPTIONS /`, as
/// TorchServe's clients ask.
pub(crate) fn with_document(routes: Routes, name: &str, by_options: bool) -> Routes {
    const WHAT: Operation = Operation::new("This document").gives("Object").reads();
    let mut itself = vec![(PATH.to_owned(), "get", WHAT)];
    if by_options {
        itself.push(("/".to_owned(), "options", WHAT));
    }
    let document = document::of(routes.operations().iter().chain(&itself), name);
    let body = Bytes::from(document.to_string());
    let tell = move || {
        let body = body.clone();
        async move { respond(body) }
    };
    let routes = if by_options { routes.options("/", WHAT, tell.clone()) } else { routes };
    routes.get(PATH, WHAT, tell)
}

fn respond(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

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

/// Adds `/openapi.json`, which describes `routes` and itself.
pub(crate) fn with_document(routes: Routes, name: &str) -> Routes {
    const PATH: &str = "/openapi.json";
    const WHAT: Operation = Operation::new("This document").gives("Object");
    let itself = (PATH.to_owned(), "get", WHAT);
    let document = document::of(routes.operations().iter().chain(std::iter::once(&itself)), name);
    let body = Bytes::from(document.to_string());
    routes.get(PATH, WHAT, move || {
        let body = body.clone();
        async move { respond(body) }
    })
}

fn respond(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

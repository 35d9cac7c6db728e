//! A router that describes itself: every route is added together with what the OpenAPI document says of it.
//!
//! Invariant: there is no route without a description, and no description without a route.

use axum::{
    Router,
    handler::Handler,
    routing::{MethodRouter, delete, get, options, post, put},
};

use crate::server::Server;

/// What one method of one path does.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) summary: &'static str,
    /// Names of schemas in the document.
    pub(crate) request: Option<&'static str>,
    pub(crate) response: Option<&'static str>,
    /// Whether the success has a body that is no JSON.
    pub(crate) text: bool,
}

impl Operation {
    /// An operation without bodies.
    pub(crate) const fn new(summary: &'static str) -> Self {
        Self { summary, request: None, response: None, text: false }
    }

    /// Takes a JSON body of this schema.
    pub(crate) const fn takes(mut self, schema: &'static str) -> Self {
        self.request = Some(schema);
        self
    }

    /// Answers with a JSON body of this schema.
    pub(crate) const fn gives(mut self, schema: &'static str) -> Self {
        self.response = Some(schema);
        self
    }

    /// Answers with text.
    pub(crate) const fn gives_text(mut self) -> Self {
        self.text = true;
        self
    }
}

/// Routes with their descriptions.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    router: Router<Server>,
    operations: Vec<(String, &'static str, Operation)>,
}

impl Routes {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn get<H: Handler<T, Server>, T: 'static>(self, path: &str, what: Operation, handler: H) -> Self {
        self.described(path, "get", what).route(path, get(handler))
    }

    pub(crate) fn post<H: Handler<T, Server>, T: 'static>(self, path: &str, what: Operation, handler: H) -> Self {
        self.described(path, "post", what).route(path, post(handler))
    }

    pub(crate) fn put<H: Handler<T, Server>, T: 'static>(self, path: &str, what: Operation, handler: H) -> Self {
        self.described(path, "put", what).route(path, put(handler))
    }

    pub(crate) fn delete<H: Handler<T, Server>, T: 'static>(self, path: &str, what: Operation, handler: H) -> Self {
        self.described(path, "delete", what).route(path, delete(handler))
    }

    pub(crate) fn options<H: Handler<T, Server>, T: 'static>(self, path: &str, what: Operation, handler: H) -> Self {
        self.described(path, "options", what).route(path, options(handler))
    }

    /// Posts to `path:verb`, one route that the handler tells apart by the end of the last segment.
    pub(crate) fn verbs<H: Handler<T, Server>, T: 'static>(
        self,
        path: &str,
        verbs: &[(&str, Operation)],
        handler: H,
    ) -> Self {
        let add = |routes: Self, (verb, what): &(&str, Operation)| {
            routes.described(&format!("{path}:{verb}"), "post", what.clone())
        };
        verbs.iter().fold(self, add).route(path, post(handler))
    }

    fn described(mut self, path: &str, method: &'static str, what: Operation) -> Self {
        self.operations.push((path.to_owned(), method, what));
        self
    }

    fn route(mut self, path: &str, methods: MethodRouter<Server>) -> Self {
        self.router = self.router.route(path, methods);
        self
    }

    /// Adds the routes of another protocol.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.operations.extend(other.operations);
        self
    }

    /// Whether a method of exactly this path is taken.
    pub(crate) fn has(&self, path: &str, method: &str) -> bool {
        self.operations.iter().any(|(taken, by, _)| taken == path && *by == method)
    }

    /// The descriptions by path and method.
    pub(crate) fn operations(&self) -> &[(String, &'static str, Operation)] {
        &self.operations
    }

    pub(crate) fn into_router(self) -> Router<Server> {
        self.router
    }
}

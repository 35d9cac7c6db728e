//! A router that describes itself: every route is added together with what it is for, and what the OpenAPI document says
//! of it.
//!
//! Invariant: there is no route over HTTP without a description, no description without a route, and no route without
//! its door: handlers over HTTP bring it along, all others get it when the router is made.

use axum::{
    Router,
    handler::Handler,
    routing::{MethodRouter, delete, get, options, post, put},
};

use crate::{
    access::Purpose,
    door::{Door, Wire},
    entrance::{Behind, Entrance, Guarded},
    server::Server,
};

/// What one method of one path does.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) summary: &'static str,
    /// Names of schemas in the document.
    pub(crate) request: Option<&'static str>,
    /// Whether there may be no body.
    pub(crate) request_optional: bool,
    pub(crate) response: Option<&'static str>,
    /// Content type of a success that is no JSON.
    pub(crate) text: Option<&'static str>,
    /// None leaves it to the method.
    purpose: Option<Purpose>,
}

impl Operation {
    /// An operation without bodies.
    pub(crate) const fn new(summary: &'static str) -> Self {
        Self { summary, request: None, request_optional: false, response: None, text: None, purpose: None }
    }

    /// Asks a model.
    pub(crate) const fn predicts(mut self) -> Self {
        self.purpose = Some(Purpose::Predict);
        self
    }

    /// Changes nothing, whatever the method.
    pub(crate) const fn reads(mut self) -> Self {
        self.purpose = Some(Purpose::Read);
        self
    }

    /// Is what probes ask to see whether the server lives.
    pub(crate) const fn probes(mut self) -> Self {
        self.purpose = Some(Purpose::Health);
        self
    }

    fn purpose(&self, method: &str) -> Purpose {
        self.purpose.unwrap_or_else(|| Purpose::of_method(method))
    }

    /// Takes a JSON body of this schema.
    pub(crate) const fn takes(mut self, schema: &'static str) -> Self {
        self.request = Some(schema);
        self
    }

    /// Takes a JSON body of this schema, or none.
    pub(crate) const fn may_take(mut self, schema: &'static str) -> Self {
        self.request_optional = true;
        self.takes(schema)
    }

    /// Answers with a JSON body of this schema.
    pub(crate) const fn gives(mut self, schema: &'static str) -> Self {
        self.response = Some(schema);
        self
    }

    /// Answers with text.
    pub(crate) const fn gives_text(mut self) -> Self {
        self.text = Some("text/plain");
        self
    }

    /// Answers with server-sent events.
    pub(crate) const fn gives_events(mut self) -> Self {
        self.text = Some("text/event-stream");
        self
    }
}

/// Some methods of one path.
#[derive(Debug)]
struct Route {
    path: String,
    methods: MethodRouter<Server>,
    /// Of the door that it still needs.
    door: Option<(Purpose, Wire)>,
}

/// Routes with their descriptions.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    routes: Vec<Route>,
    operations: Vec<(String, &'static str, Operation)>,
}

impl Routes {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn get<H: Handler<T, Server>, T: 'static>(self, path: &str, what: Operation, handler: H) -> Self {
        self.add(path, "get", what, handler, get::<Guarded<H>, Behind<T>, Server>)
    }

    pub(crate) fn post<H: Handler<T, Server>, T: 'static>(self, path: &str, what: Operation, handler: H) -> Self {
        self.add(path, "post", what, handler, post::<Guarded<H>, Behind<T>, Server>)
    }

    pub(crate) fn put<H: Handler<T, Server>, T: 'static>(self, path: &str, what: Operation, handler: H) -> Self {
        self.add(path, "put", what, handler, put::<Guarded<H>, Behind<T>, Server>)
    }

    pub(crate) fn delete<H: Handler<T, Server>, T: 'static>(self, path: &str, what: Operation, handler: H) -> Self {
        self.add(path, "delete", what, handler, delete::<Guarded<H>, Behind<T>, Server>)
    }

    pub(crate) fn options<H: Handler<T, Server>, T: 'static>(self, path: &str, what: Operation, handler: H) -> Self {
        self.add(path, "options", what, handler, options::<Guarded<H>, Behind<T>, Server>)
    }

    /// Posts to `path:verb`, one route that the handler tells apart by the end of the last segment.
    pub(crate) fn verbs<H: Handler<T, Server>, T: 'static>(
        self,
        path: &str,
        verbs: &[(&str, Operation)],
        handler: H,
    ) -> Self {
        // The one that needs most decides for the route they share.
        let purpose = verbs.iter().map(|(_, what)| what.purpose("post")).max().unwrap_or(Purpose::Manage);
        let describe = |routes: Self, (verb, what): &(&str, Operation)| {
            routes.described(&format!("{path}:{verb}"), "post", what.clone())
        };
        let methods = post::<_, Behind<T>, _>(Guarded::new(handler, purpose));
        verbs.iter().fold(self, describe).with(Route { path: path.to_owned(), methods, door: None })
    }

    fn add<H>(
        self,
        path: &str,
        method: &'static str,
        what: Operation,
        handler: H,
        of: impl FnOnce(Guarded<H>) -> MethodRouter<Server>,
    ) -> Self {
        let methods = of(Guarded::new(handler, what.purpose(method)));
        self.described(path, method, what).with(Route { path: path.to_owned(), methods, door: None })
    }

    fn with(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    fn described(mut self, path: &str, method: &'static str, what: Operation) -> Self {
        self.operations.push((path.to_owned(), method, what));
        self
    }

    /// Adds a route that the document does not describe.
    #[cfg(feature = "grpc")]
    pub(crate) fn guarded(self, path: &str, purpose: Purpose, wire: Wire, methods: MethodRouter<Server>) -> Self {
        self.with(Route { path: path.to_owned(), methods, door: Some((purpose, wire)) })
    }

    /// Adds the routes of another protocol.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
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

    /// The path of a route with placeholders that takes this path, too.
    pub(crate) fn template_of(&self, path: &str) -> Option<&str> {
        let mut templates = self.routes.iter().map(|route| route.path.as_str());
        templates.find(|template| *template != path && takes(template, path))
    }

    /// The router, each route behind its door.
    pub(crate) fn into_router(self, server: &Server) -> Router<Server> {
        self.routes.into_iter().fold(Router::new(), |router, Route { path, methods, door }| {
            let methods = match door {
                Some((purpose, wire)) => {
                    methods.route_layer(Entrance::new(Door { server: server.clone(), purpose, wire }))
                }
                None => methods,
            };
            router.route(&path, methods)
        })
    }
}

/// Whether a path fits a template, segment by segment.
fn takes(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == found || (wanted.starts_with('{') && !found.is_empty()) => {}
            _ => return false,
        }
    }
}

//! The one layer in front of every route: a request is watched, then its sender known, then let in as far as the limits
//! go.
//!
//! Written by hand, and one layer rather than one for each step, because every layer of a router clones and boxes all that
//! is behind it for every request.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{
    extract::{DefaultBodyLimit, Request},
    response::Response,
};
use futures::{FutureExt as _, future::BoxFuture};
use tower::{Layer, Service};

use crate::{access, door::Door, limits, observe};

/// The layer of one route.
#[derive(Debug, Clone)]
pub(crate) struct Entrance(Door);

impl Entrance {
    pub(crate) fn new(door: Door) -> Self {
        Self(door)
    }
}

impl<S> Layer<S> for Entrance {
    type Service = Entered<S>;

    fn layer(&self, inside: S) -> Entered<S> {
        Entered { door: self.0.clone(), inside }
    }
}

/// A route behind its [`Entrance`].
#[derive(Debug, Clone)]
pub(crate) struct Entered<S> {
    door: Door,
    inside: S,
}

impl<S> Service<Request> for Entered<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inside.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let next = self.inside.clone();
        let inside = std::mem::replace(&mut self.inside, next);
        through(self.door.clone(), request, inside).map(Ok).boxed()
    }
}

async fn through<S>(door: Door, mut request: Request, mut inside: S) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible> + Send,
    S::Future: Send,
{
    DefaultBodyLimit::max(door.server.inner.settings.body_bytes_max).apply(&mut request);
    let answer = |request: Request| async {
        if let Err(refused) = access::enter(&door, &request).await {
            return refused;
        }
        let run = |request| async move {
            match inside.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        limits::admit(&door, request, run).await
    };
    observe::watch(&door.server, request, answer).await
}

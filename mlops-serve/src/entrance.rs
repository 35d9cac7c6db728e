//! What is in front of every route: a request is watched, then its sender known, then let in as far as the limits go.
//!
//! Written by hand, and one step rather than a layer for each, because every layer of a router clones and boxes all
//! that is behind it for every request. Handlers over HTTP are [`Guarded`], which costs them one box; routes that come
//! as they are get the [`Entrance`] as a layer.

use std::{
    convert::Infallible,
    marker::PhantomData,
    task::{Context, Poll},
};

use axum::{extract::Request, handler::Handler, response::Response};
use futures::{FutureExt as _, future::BoxFuture};
use tower::{Layer, Service};

use crate::{
    access::{self, Purpose},
    door::{Door, Wire},
    limits, observe,
    server::Server,
};

/// A handler over HTTP behind its door.
#[derive(Debug, Clone)]
pub(crate) struct Guarded<H> {
    handler: H,
    purpose: Purpose,
}

impl<H> Guarded<H> {
    pub(crate) fn new(handler: H, purpose: Purpose) -> Self {
        Self { handler, purpose }
    }
}

/// What tells [`Guarded`] from the handlers that axum knows; `T` is what the handler inside takes.
#[derive(Debug)]
pub(crate) struct Behind<T>(PhantomData<fn(T)>);

impl<H: Handler<T, Server>, T> Handler<Behind<T>, Server> for Guarded<H> {
    type Future = BoxFuture<'static, Response>;

    fn call(self, request: Request, server: Server) -> Self::Future {
        let Self { handler, purpose } = self;
        guarded(server.clone(), purpose, request, move |request| handler.call(request, server))
    }
}

/// Lets a request over HTTP in for `purpose`, and `inside` answer it.
pub(crate) fn guarded<F>(
    server: Server,
    purpose: Purpose,
    request: Request,
    inside: impl FnOnce(Request) -> F + Send + 'static,
) -> BoxFuture<'static, Response>
where
    F: Future<Output = Response> + Send + 'static,
{
    through(Door { server, purpose, wire: Wire::Http }, request, inside).boxed()
}

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
        let mut inside = std::mem::replace(&mut self.inside, next);
        let run = move |request: Request| async move {
            match inside.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        through(self.door.clone(), request, run).map(Ok).boxed()
    }
}

fn through<F>(
    door: Door,
    request: Request,
    inside: impl FnOnce(Request) -> F + Send,
) -> impl Future<Output = Response> + Send
where
    F: Future<Output = Response> + Send,
{
    observe::watch(door.server.clone(), door.wire, request, move |request| async move {
        if let Err(refused) = access::enter(&door, &request).await {
            return refused;
        }
        let place = match limits::admit(&door, &request) {
            Ok(place) => place,
            Err(error) => return door.wire.refuse(error),
        };
        let response = inside(limits::prepared(&door, request)).await;
        drop(place);
        limits::answered(&door, response)
    })
}

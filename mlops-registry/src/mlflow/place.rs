//! Routes whose path holds ids, and parts of the server that may be absent.
//!
//! Invariant: a request without a body needs no content type; what is in the path cannot be in the body as well.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use axum::{
    Json, RequestExt as _,
    extract::{FromRequest as _, Path, Request},
    http::header::{CONTENT_LENGTH, CONTENT_TYPE},
    routing::{self, MethodFilter, MethodRouter},
};
use mlops_core::{Error, Result};
use serde_json::Value;

use super::{Api, auth::Caller, failure::Failure, request::Params};

/// The ids in a path.
#[derive(Debug)]
pub(super) struct Place(BTreeMap<String, String>);

impl Place {
    /// The id of that name in the route.
    pub(super) fn id(&self, name: &str) -> Result<&str> {
        let id = self.0.get(name).map(String::as_str);
        id.ok_or_else(|| Error::internal(format!("the route has no {{{name}}}")))
    }
}

/// The route of a handler at these methods, with the ids of its path.
pub(super) fn on_place<F, Fut>(methods: MethodFilter, handler: F) -> MethodRouter<Api>
where
    F: Fn(Api, Place, Params) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Value>> + Send,
{
    routing::on(methods, async move |Caller(api): Caller, mut request: Request| {
        let Path(ids) = request.extract_parts::<Path<BTreeMap<String, String>>>().await.map_err(|error| {
            Failure(Error::invalid_argument(format!("the path cannot be read: {}", error.body_text())))
        })?;
        let empty = request.headers().get(CONTENT_LENGTH).is_none_or(|length| length == "0");
        let params = match request.headers().contains_key(CONTENT_TYPE) || !empty || request.uri().query().is_some() {
            true => Params::from_request(request, &()).await?,
            false => Params::default(),
        };
        handler(api, Place(ids), params).await.map(Json).map_err(Failure)
    })
}

/// A part of the server, or how to add it.
pub(super) fn part<'a, T: ?Sized>(part: &'a Option<Arc<T>>, what: &str, with: &str) -> Result<&'a Arc<T>> {
    part.as_ref()
        .ok_or_else(|| Error::unimplemented(format!("this server keeps no {what}; add them by MlflowServer::{with}")))
}

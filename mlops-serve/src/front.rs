//! What answers the requests of the server's own connections: predictions over Open Inference, which nearly all of them
//! are, go straight to their handler; the router finds that of every other.
//!
//! Invariant: a request is answered as the router would answer it. Finding a route costs a table of the path's words, a
//! copy of the route and a box for the answer, which together are a good part of what a small prediction takes.

use std::convert::Infallible;

use axum::{Router, extract::Request, response::Response};
use futures::{FutureExt as _, future::Either};
use tower::Service as _;

use crate::{access::Purpose, entrance::guarded, oip, protocol::Named, server::Server};

/// The server with its router.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    server: Server,
    router: Router,
}

impl Front {
    pub(crate) fn new(server: Server) -> Self {
        Self { router: server.clone().into_router(), server }
    }

    pub(crate) fn answer(&self, request: Request) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
        let Some(model) = oip::plainly_asked(&request).map(Named::model) else {
            // A router is always ready.
            return Either::Right(self.router.clone().call(request));
        };
        let server = self.server.clone();
        // Of its own, as the router's handlers are: what is around it stays small.
        let answer = move |request| oip::infer_plainly(server, model, request).boxed();
        Either::Left(guarded(self.server.clone(), Purpose::Predict, request, answer).map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use axum::{
        body::{Body, to_bytes},
        http::HeaderMap,
    };
    use mlops_core::{
        Action, Authorizer, DataType, Error, Principal, Resource, Result, Signature, TensorSpec, Version,
    };

    use super::*;
    use crate::{Access, ApiKeys, ClosureModel, ModelRepository};

    const KEY: &str = "a-key-that-is-long-enough";
    const ROW: &str = r#"{"id":"7","inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1.5]}]}"#;

    /// Nobody may do anything but predict.
    #[derive(Debug)]
    struct Predictions;

    #[async_trait]
    impl Authorizer for Predictions {
        async fn authorize(&self, _: &Principal, action: Action, on: &Resource) -> Result<()> {
            match action {
                Action::Predict => Ok(()),
                _ => Err(Error::permission_denied(format!("not on {on}"))),
            }
        }
    }

    fn front() -> Front {
        let column = TensorSpec::column("x", DataType::Float64);
        let model = ClosureModel::new(Signature::new([column.clone()], [column]).unwrap(), |batch| Ok(batch.clone()));
        let repository = Arc::new(ModelRepository::new());
        repository.register(&"same".parse().unwrap(), Version(1), Arc::new(model)).unwrap();
        let keys = ApiKeys::new().with_key(KEY, Principal::new("shop")).unwrap();
        let access = Access::new(Arc::new(keys), Arc::new(Predictions));
        Front::new(Server::builder(repository).with_access(access).build().unwrap())
    }

    /// Status, headers but those that differ each time, and body.
    async fn told(response: std::result::Result<Response, Infallible>) -> (u16, HeaderMap, Vec<u8>) {
        let (mut parts, body) = response.unwrap().into_parts();
        // The length is written where the connection is.
        for header in ["traceparent", "server-timing", "content-length"] {
            parts.headers.remove(header);
        }
        (parts.status.as_u16(), parts.headers, to_bytes(body, 1 << 20).await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn the_straight_way_answers_as_the_router_does() {
        let front = front();
        let check = async |(method, path, key, body): (&str, &str, &str, &str), straight: bool, status: u16| {
            let request = || {
                let request = Request::builder().method(method).uri(path).header("x-api-key", key);
                request.body(Body::from(body.to_owned())).unwrap()
            };
            assert_eq!(oip::plainly_asked(&request()).is_some(), straight, "{method} {path}");
            let answered = told(front.answer(request()).await).await;
            assert_eq!(answered, told(front.router.clone().call(request()).await).await, "{method} {path}");
            assert_eq!(answered.0, status, "{method} {path}");
        };
        check(("POST", "/v2/models/same/infer", KEY, ROW), true, 200).await;
        check(("POST", "/v2/models/same/infer?a=b", KEY, ROW), true, 200).await;
        check(("POST", "/v2/models/same/infer", "nobody", ROW), true, 401).await;
        check(("POST", "/v2/models/same/infer", KEY, "{}"), true, 400).await;
        check(("POST", "/v2/models/other/infer", KEY, ROW), true, 404).await;
        check(("POST", "/v2/models/stats/infer", KEY, ROW), true, 404).await;
        check(("POST", "/v2/models/s%61me/infer", KEY, ROW), false, 200).await;
        check(("POST", "/v2/models/same/versions/1/infer", KEY, ROW), false, 200).await;
        check(("POST", "/v2/models/%2F/infer", KEY, ROW), false, 404).await;
        check(("POST", "/v2/models//infer", KEY, ROW), false, 404).await;
        check(("POST", "/v2/models/same/infer/", KEY, ROW), false, 403).await;
        check(("GET", "/v2/models/same/infer", KEY, ""), false, 403).await;
    }
}

//! The server as a function of AWS Lambda: events of API Gateway, function URLs and load balancers become requests of the
//! router, and the answers go back.
//!
//! Lambda freezes the process behind each answer, and may never wake it again. Invariant: a request is answered
//! before Lambda's own deadline cuts it off, and before its answer is given its predictions are flushed, as long as that
//! deadline lets them. A shadow's copy runs beside the request and may be frozen, or lost, with the process.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::{IntoResponse as _, Response},
};
use futures::FutureExt as _;
use lambda_http::{Body as LambdaBody, RequestExt as _, service_fn};
use mlops_core::{Error, Result};
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

use crate::{
    protocol::Failure,
    server::{Inner, Server},
};

/// What is left of a request's time, once it is answered, for the flush and for the answer to be sent.
const RESERVE: Duration = Duration::from_millis(50);
/// What is left of it for the answer to be sent.
const RESERVE_TO_SEND: Duration = Duration::from_millis(25);

impl Server {
    /// Answers the events that Lambda's runtime has for this function, one at a time, until the process ends. Load models
    /// before: what happens before the first event is the cold start.
    ///
    /// Streams of answers are collected, and gRPC is not offered: Lambda passes neither on. API Gateway's stage is part of
    /// the path unless `AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH` is `true`.
    ///
    /// # Errors
    /// `FailedPrecondition` outside of Lambda, whose environment names the runtime to ask; `Unavailable` when the runtime
    /// cannot be asked any more.
    pub async fn serve_lambda(self) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let router = self.into_router();
        let handler = service_fn(move |event: lambda_http::Request| {
            let (router, inner) = (router.clone(), Arc::clone(&inner));
            async move { Ok::<_, Infallible>(answer(router, &inner, event).await) }
        });
        // It panics where the environment is not Lambda's.
        match AssertUnwindSafe(lambda_http::run(handler)).catch_unwind().await {
            Ok(ended) => {
                ended.map_err(|error| Error::unavailable("the runtime of Lambda cannot be asked").with_source(error))
            }
            Err(_) => Err(Error::failed_precondition(
                "this process is not a function of AWS Lambda: AWS_LAMBDA_RUNTIME_API and its like are not set",
            )),
        }
    }
}

async fn answer(router: Router, inner: &Inner, event: lambda_http::Request) -> Response {
    let left = event.lambda_context_ref().map_or(Duration::MAX, |context| {
        let now = u64::try_from(inner.clock.now().as_millis()).unwrap_or(0);
        Duration::from_millis(context.deadline.saturating_sub(now))
    });
    let begun = Instant::now();
    let response = match timeout(left.saturating_sub(RESERVE), router.oneshot(request(event))).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => Failure::new(StatusCode::GATEWAY_TIMEOUT, "the function's time is over").into_response(),
    };
    if let Some(sink) = &inner.predictions {
        let left = left.saturating_sub(RESERVE_TO_SEND).saturating_sub(begun.elapsed());
        match timeout(left, sink.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = %error.chain(), "predictions of this request may be lost"),
            Err(_) => tracing::error!("predictions were not flushed in the function's time; they may be lost"),
        }
    }
    response
}

/// The event as a request.
fn request(event: lambda_http::Request) -> Request<Body> {
    event.map(|body| match body {
        LambdaBody::Text(text) => Body::from(text),
        LambdaBody::Binary(bytes) => Body::from(bytes),
        _ => Body::empty(),
    })
}

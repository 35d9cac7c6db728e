//! `grpc.health.v1.Health`: what load balancers and orchestrators ask.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use mlops_core::{Error, Result};
use prost::Message;
use tonic::Status;

use super::{
    call::{Ambient, Answers},
    layout::Laid,
};
use crate::server::Server;

/// How often a watch looks whether something changed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

impl Laid for HealthCheckRequest {}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// The whole server, by its empty name, or the inference service.
fn known(service: &str) -> bool {
    matches!(service, "" | "inference.GRPCInferenceService")
}

fn status(server: &Server, service: &str) -> i32 {
    match (known(service), server.is_ready()) {
        (false, _) => SERVICE_UNKNOWN,
        (true, true) => SERVING,
        (true, false) => NOT_SERVING,
    }
}

pub(super) async fn check(server: Server, request: HealthCheckRequest, _: Ambient) -> Result<HealthCheckResponse> {
    if !known(&request.service) {
        return Err(Error::not_found(format!("there is no service {:?}", request.service)));
    }
    Ok(HealthCheckResponse { status: status(&server, &request.service) })
}

/// The status now and at each change; the stream ends with the shutdown of the server.
pub(super) fn watch(
    server: Server,
    request: HealthCheckRequest,
) -> std::result::Result<Answers<HealthCheckResponse>, Status> {
    let answers = stream::unfold((server, request.service, None, false), |(server, service, told, ended)| async move {
        if ended {
            return None;
        }
        loop {
            let now = status(&server, &service);
            if told != Some(now) {
                let ended = server.inner.is_draining();
                return Some((Ok(HealthCheckResponse { status: now }), (server, service, Some(now), ended)));
            }
            if server.inner.is_draining() {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    Ok(answers.boxed())
}

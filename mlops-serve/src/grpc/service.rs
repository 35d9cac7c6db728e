//! The table of methods.

use axum::{
    http::{HeaderMap, header},
    response::Response,
};
use tonic::Status;

use super::{
    call::{server_streaming, streaming, unary},
    describe, health, infer, reflection,
};
use crate::{access::Purpose, door::Wire, protocol::Routes};

/// Every method of the services, by path and what it is for.
pub(crate) fn routes() -> Routes {
    use Purpose::{Health, Manage, Predict, Read};
    let inference = |method: &str| format!("/inference.GRPCInferenceService/{method}");
    let mut routes = Routes::new()
        .guarded(&inference("ServerLive"), Health, Wire::Call, unary(describe::live))
        .guarded(&inference("ServerReady"), Health, Wire::Call, unary(describe::ready))
        .guarded(&inference("ModelReady"), Read, Wire::Call, unary(describe::model_ready))
        .guarded(&inference("ServerMetadata"), Read, Wire::Call, unary(describe::server_metadata))
        .guarded(&inference("ModelMetadata"), Read, Wire::Call, unary(describe::model_metadata))
        .guarded(&inference("ModelInfer"), Predict, Wire::Call, unary(infer::infer))
        .guarded(&inference("ModelStreamInfer"), Predict, Wire::Stream, streaming(infer::stream))
        .guarded(&inference("ModelConfig"), Read, Wire::Call, unary(describe::model_config))
        .guarded(&inference("ModelStatistics"), Read, Wire::Call, unary(describe::statistics))
        .guarded(&inference("RepositoryIndex"), Read, Wire::Call, unary(describe::repository_index))
        .guarded(&inference("RepositoryModelLoad"), Manage, Wire::Call, unary(describe::load))
        .guarded(&inference("RepositoryModelUnload"), Manage, Wire::Call, unary(describe::unload))
        .guarded("/grpc.health.v1.Health/Check", Health, Wire::Call, unary(health::check))
        .guarded("/grpc.health.v1.Health/Watch", Health, Wire::Call, server_streaming(health::watch));
    for kind in ["System", "Cuda"] {
        let method = |name: &str| inference(&format!("{kind}SharedMemory{name}"));
        routes = routes
            .guarded(&method("Status"), Read, Wire::Call, unary(describe::nothing))
            .guarded(&method("Register"), Read, Wire::Call, unary(describe::not_offered))
            .guarded(&method("Unregister"), Read, Wire::Call, unary(describe::nothing));
    }
    for method in ["TraceSetting", "LogSettings"] {
        routes = routes.guarded(&inference(method), Read, Wire::Call, unary(describe::not_offered));
    }
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        routes = routes.guarded(&path, Read, Wire::Stream, streaming(reflection::info));
    }
    routes
}

/// The answer to a call of a method that is not there; none when the request is no call.
pub(crate) fn unknown_method(headers: &HeaderMap) -> Option<Response> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    kind.starts_with("application/grpc")
        .then(|| Status::unimplemented("there is no such method on this server").into_http())
}

//! The table of methods.

use axum::{
    Router,
    http::{HeaderMap, header},
    response::Response,
};
use tonic::Status;

use super::{
    call::{server_streaming, streaming, unary},
    describe, health, infer, reflection,
};
use crate::server::Server;

/// Every method of the services, by path.
pub(crate) fn routes() -> Router<Server> {
    let inference = |method: &str| format!("/inference.GRPCInferenceService/{method}");
    let mut router = Router::new()
        .route(&inference("ServerLive"), unary(describe::live))
        .route(&inference("ServerReady"), unary(describe::ready))
        .route(&inference("ModelReady"), unary(describe::model_ready))
        .route(&inference("ServerMetadata"), unary(describe::server_metadata))
        .route(&inference("ModelMetadata"), unary(describe::model_metadata))
        .route(&inference("ModelInfer"), unary(infer::infer))
        .route(&inference("ModelStreamInfer"), streaming(infer::stream))
        .route(&inference("ModelConfig"), unary(describe::model_config))
        .route(&inference("ModelStatistics"), unary(describe::statistics))
        .route(&inference("RepositoryIndex"), unary(describe::repository_index))
        .route(&inference("RepositoryModelLoad"), unary(describe::load))
        .route(&inference("RepositoryModelUnload"), unary(describe::unload))
        .route("/grpc.health.v1.Health/Check", unary(health::check))
        .route("/grpc.health.v1.Health/Watch", server_streaming(health::watch));
    for kind in ["System", "Cuda"] {
        router = router
            .route(&inference(&format!("{kind}SharedMemoryStatus")), unary(describe::no_regions))
            .route(&inference(&format!("{kind}SharedMemoryRegister")), unary(describe::not_offered))
            .route(&inference(&format!("{kind}SharedMemoryUnregister")), unary(describe::not_offered));
    }
    for method in ["TraceSetting", "LogSettings"] {
        router = router.route(&inference(method), unary(describe::not_offered));
    }
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        router = router.route(&path, streaming(reflection::info));
    }
    router
}

/// The answer to a call of a method that is not there; none when the request is no call.
pub(crate) fn unknown_method(headers: &HeaderMap) -> Option<Response> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    kind.starts_with("application/grpc")
        .then(|| Status::unimplemented("there is no such method on this server").into_http())
}

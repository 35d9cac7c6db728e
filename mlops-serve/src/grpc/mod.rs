//! Open Inference v2 over gRPC, with Triton's extensions, the standard health service and reflection.
//!
//! Served by the router that serves REST, on the same port: HTTP/2 requests to a method's path are calls. Every
//! request passes the checks that it would pass over REST. The messages are written by hand in `messages.rs` and
//! described to clients by `proto/*.proto`; `proto/descriptors.bin` is what `protoc --include_imports
//! --descriptor_set_out` makes of those files, so no build needs `protoc`.

mod call;
pub(crate) mod codec;
pub(crate) mod convert;
mod describe;
mod health;
mod infer;
pub(crate) mod layout;
pub(crate) mod messages;
mod reflection;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use call::refuse;
pub(crate) use service::{routes, unknown_method};

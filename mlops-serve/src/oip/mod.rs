//! Open Inference v2 over REST, with Triton's extensions: binary tensors, classification, generate,
//! repository, configuration and statistics.
//!
//! The router binds nothing. Requests are checked against the model's metadata before the model sees them; every
//! answer that is not 2xx is `{"error": text}`.

pub(crate) mod admin;
pub(crate) mod binary;
mod convert;
pub(crate) mod describe;
mod explain;
mod generate;
pub(crate) mod hosted;
mod infer;
pub(crate) mod load;
mod parameters;
mod plain;
mod routes;
mod wire;
pub(crate) mod wish;

pub(crate) use infer::{infer_plainly, plainly_asked};
#[cfg(feature = "grpc")]
pub(crate) use routes::extensions;
pub(crate) use routes::routes;

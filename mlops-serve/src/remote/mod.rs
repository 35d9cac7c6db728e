//! Models of another Open Inference server, served here as if they were loaded here: with features, rollouts, batching
//! and logging in front of them.
//!
//! Requests go over REST with binary tensors, or over gRPC. Invariants: a call never outlives the deadline of the request
//! it is for, also within an ensemble or for a shadow, tells the other server how much of it is left, and is given up
//! when nobody waits for the request any more; a call of a batch job has the settings' `timeout_ms` alone. A call that was
//! not answered is sent again while the budget of retries lasts, so that an outage there is not multiplied here. What the
//! other server serves is what its metadata said when the model was loaded.
//!
//! An attempt that broke off may have been answered there all the same: a prediction changes no model, but the other server
//! then counts and logs it twice, under one request id, in its rollouts as well. `attempts_max` 1 rules that out.

mod address;
mod breaker;
mod budget;
mod client;
mod fault;
#[cfg(feature = "grpc")]
mod grpc;
mod lane;
mod model;
mod rest;
mod settings;
mod transport;
mod wire;

pub(crate) use address::Address;
pub(crate) use lane::Lane;
pub use model::RemoteModel;
pub use settings::RemoteSettings;

/// What the other server reads of who calls.
const PRODUCT: &str = concat!("mlops-serve/", env!("CARGO_PKG_VERSION"));

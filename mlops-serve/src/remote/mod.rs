//! Models of another Open Inference server, served here as if they were loaded here: with features, rollouts, batching
//! and logging in front of them.
//!
//! Requests go over REST with binary tensors. Invariants: a call for a request that asks the model itself never outlives
//! that request's deadline, and tells the other server how much of it is left; one within an ensemble, for a shadow or in a
//! batch job knows no such deadline, and ends with the settings' `timeout_ms`. A call that was not answered is sent again
//! while the budget of retries lasts, so that an outage there is not multiplied here. What the other server serves is what
//! its metadata said when the model was loaded.
//!
//! An attempt that broke off may have been answered there all the same: a prediction changes no model, but the other server
//! then counts and logs it twice, under one request id, in its rollouts as well. `attempts_max` 1 rules that out.

mod budget;
mod client;
mod fault;
mod lane;
mod model;
mod settings;
mod wire;

pub(crate) use client::Ambient;
pub(crate) use lane::Lane;
pub use model::RemoteModel;
pub use settings::RemoteSettings;

//! The server through its public API.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the environment names the home of a child process")]

mod client;
mod clouds;
#[cfg(feature = "onnx")]
mod onnx;
mod open_inference;
mod openapi;
mod robust;
mod rollout_simulation;
mod rollouts;
mod scoring;
mod swap;
mod torchserve;
mod triton;
mod v1;

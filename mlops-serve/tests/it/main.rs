//! The server through its public API.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the environment names the home of a child process")]

mod access;
#[cfg(feature = "batch")]
mod batch;
mod budget;
#[cfg(feature = "grpc")]
mod calls;
mod client;
mod clouds;
mod connections;
mod ensembles;
mod events;
mod explain;
mod faults;
mod feedback;
mod hosted;
#[cfg(feature = "lambda")]
mod lambda;
mod limits;
mod loading;
mod observe;
#[cfg(feature = "onnx")]
mod onnx;
mod open_inference;
mod openapi;
#[cfg(feature = "remote")]
mod remote;
mod robust;
mod rollout_simulation;
mod rollouts;
mod scoring;
mod sides;
mod support;
mod swap;
#[cfg(feature = "tls")]
mod tls;
mod torchserve;
mod triton;
mod v1;

//! The server through its public API.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[cfg(feature = "batch")]
mod batch;
mod budget;
mod client;
mod clouds;
mod explain;
mod feedback;
#[cfg(feature = "onnx")]
mod onnx;
mod open_inference;
mod openapi;
mod robust;
mod scoring;
mod swap;
mod torchserve;
mod triton;
mod v1;

//! The server through its public API.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[cfg(feature = "onnx")]
mod onnx;
mod open_inference;
mod swap;

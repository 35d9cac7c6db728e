//! Runtimes that come with the server, each behind a feature of its own.

#[cfg(feature = "onnx")]
mod onnx;

#[cfg(feature = "onnx")]
pub use onnx::{ONNX_FILE, ONNX_FLAVOR, OnnxRuntime};

//! Runtimes that come with the server, each behind a feature of its own.

#[cfg(feature = "onnx")]
mod onnx;

#[cfg(feature = "onnx")]
pub use onnx::{ONNX_FLAVOR, OnnxRuntime};

/// The file in which a package holds an ONNX model, and which may stand alone in a model directory.
pub const ONNX_FILE: &str = "model.onnx";

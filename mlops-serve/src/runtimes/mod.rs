//! Runtimes that come with the server; those that need more than it does, each behind a feature of its own.

mod ensemble;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "remote")]
mod remote;

pub use ensemble::{ENSEMBLE_FLAVOR, EnsembleRuntime};
#[cfg(feature = "onnx")]
pub use onnx::{ONNX_FLAVOR, OnnxRuntime};
#[cfg(feature = "remote")]
pub use remote::{REMOTE_FILE, REMOTE_FLAVOR, RemoteRuntime};

/// The file in which a package holds an ONNX model, and which may stand alone in a model directory.
pub const ONNX_FILE: &str = "model.onnx";

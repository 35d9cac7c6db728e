//! Smaller and faster perceptrons for the edge.
//!
//! A [`Compressor`] prunes and quantizes a trained [`MlpModel`](crate::MlpModel) into a
//! [`CompressedModel`], which is one file for `mlops-edge`: that crate has no dependencies, needs
//! no standard library, runs under wasm, and predicts here too, so that what is judged is what is
//! shipped. [`distill`] trains a small model on the scores of a large one. A
//! [`CompressionReport`] tells size, latency and a metric before and after, and a
//! [`CompressionGate`] whether that will do.

mod calibrate;
mod compressor;
mod distill;
mod layers;
mod model;
mod prune;
mod report;

pub use calibrate::Calibration;
pub use compressor::{Compressor, Granularity, Quantization};
pub use distill::{DistillSettings, distill};
pub use mlops_edge as edge;
pub use model::CompressedModel;
pub use prune::Pruning;
pub use report::{CompressionGate, CompressionReport, Measured};

pub(crate) use model::{FLAVOR, load};

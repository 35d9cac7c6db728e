//! An evaluator of ONNX models in pure Rust, for what teams that work on tables export: scikit-learn pipelines,
//! XGBoost and LightGBM ensembles, small dense networks.
//!
//! ```no_run
//! use mlops_core::Model;
//! use mlops_onnx::OnnxModel;
//!
//! let bytes = std::fs::read("model.onnx").map_err(|error| mlops_core::Error::unavailable(error.to_string()))?;
//! let model = OnnxModel::from_bytes(&bytes)?;
//! println!("{:?}", model.signature());
//! # Ok::<(), mlops_core::Error>(())
//! ```
//!
//! | look for | in |
//! |---|---|
//! | a model on record batches, with its signature | [`OnnxModel`] |
//! | a graph on tensors of any shape | [`OnnxGraph`], [`Tensor`], [`Data`] |
//! | bounds for models from unknown hands | [`Limits`] |
//!
//! Guarantees: bytes that are no model, graphs that do not hold together and operators that are not known are errors
//! that name the node, found when the model is loaded; nothing is allocated by a size that a file merely claims; no
//! input makes it panic. Results are within 1e-5 of onnxruntime, of the larger of 1 and the value; sums over trees are
//! those of a plain loop over the trees, bit by bit, in single precision.
//!
//! Not here: control flow (`If`, `Loop`, `Scan`), sequences and maps (the scores that `ZipMap` would wrap stay a
//! tensor), convolutions, half precision, files with external data.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "conversions between number types are what the operators are about"
)]

mod graph;
mod limits;
mod ml;
mod model;
mod ops;
mod proto;
mod tensor;
mod trees;

pub use limits::Limits;
pub use model::{INPUT_VALUE, OnnxGraph, OnnxModel};
pub use tensor::{Data, Element, Tensor, Text};

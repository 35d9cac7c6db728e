//! The operators of `ai.onnx.ml` other than trees: what scikit-learn's preprocessing and linear models become.
//!
//! Where the standard is silent, results are those of onnxruntime 1.32.

mod arrange;
mod encode;
mod labels;
mod linear;
mod scale;
mod svm;

pub(crate) use arrange::kernel as arrange;
pub(crate) use encode::kernel as encode;
pub(crate) use labels::Labels;
pub(crate) use linear::kernel as linear;
pub(crate) use scale::kernel as scale;
pub(crate) use svm::kernel as svm;

use mlops_core::{Error, Result};

use crate::{graph::NodeDef, trees::PostTransform};

/// Rows of `width` values turned to columns, so that products run along the rows.
fn turned(rows: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|column| rows.iter().skip(column).step_by(width).copied()).collect()
}

/// The `post_transform` of a linear model.
fn post(node: &NodeDef) -> Result<PostTransform> {
    let name = node.text("post_transform", "NONE")?;
    PostTransform::parse(name).ok_or_else(|| Error::invalid_argument(format!("post_transform {name:?} is unknown")))
}

//! Bounds on what a model may ask of memory, checked before it is allocated.
//!
//! Plain data with safe defaults; a model from an unknown hand is read under them.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What loading and running a model may use.
///
/// ```
/// use mlops_onnx::{Limits, OnnxModel};
///
/// let limits = Limits { model_bytes_max: 8, ..Limits::default() };
/// let error = OnnxModel::with_limits(&[0; 9], &limits).unwrap_err();
/// assert!(error.message().contains("model_bytes_max"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest file, bytes. Default 1 GiB.
    pub model_bytes_max: u64,
    /// Most nodes, values, names and attributes of a file together. Default 1,000,000.
    pub items_max: usize,
    /// Most tree nodes of one ensemble after comparisons are brought to one form. Default 50,000,000.
    pub tree_nodes_max: usize,
    /// Most elements of one tensor that a run computes. Default 2^27.
    pub elements_max: usize,
    /// Most bytes of tensors that are alive at once during a run. Default 4 GiB.
    pub live_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            model_bytes_max: 1 << 30,
            items_max: 1_000_000,
            tree_nodes_max: 50_000_000,
            elements_max: 1 << 27,
            live_bytes_max: 4 << 30,
        }
    }
}

impl Limits {
    /// The elements of a tensor of these dimensions.
    ///
    /// # Errors
    /// `ResourceExhausted` when there are more than [`Limits::elements_max`].
    pub(crate) fn elements(&self, shape: &[usize]) -> Result<usize> {
        if shape.contains(&0) {
            return Ok(0);
        }
        let count = shape.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
        count.filter(|&count| count <= self.elements_max).ok_or_else(|| {
            Error::resource_exhausted(format!(
                "a tensor of shape {shape:?} exceeds the {} elements of Limits::elements_max; send fewer rows",
                self.elements_max
            ))
        })
    }
}

//! Bounds on what a model may ask of memory and of time, checked before it is allocated and spent.
//!
//! Plain data with safe defaults; a model from an unknown hand is read under them.

use std::cell::Cell;

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
    /// Most elementary operations of one run: elements that a node reads and writes, and where it does more than that
    /// (products, distances, support vectors, trees), its multiplications and comparisons. There are no loops in what is
    /// run, so this bounds the time; a run overshoots it by at most one node that writes [`Limits::elements_max`] elements.
    /// Default 2^38, minutes on one core.
    pub operations_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            model_bytes_max: 1 << 30,
            items_max: 1_000_000,
            tree_nodes_max: 50_000_000,
            elements_max: 1 << 27,
            live_bytes_max: 4 << 30,
            operations_max: 1 << 38,
        }
    }
}

/// What a run has left of its operations.
#[derive(Debug)]
pub(crate) struct Operations {
    max: u64,
    left: Cell<u64>,
}

impl Operations {
    /// Those of one run.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { max: limits.operations_max, left: Cell::new(limits.operations_max) }
    }

    /// Takes the product of `factors` away, before it is spent.
    ///
    /// # Errors
    /// `ResourceExhausted` when it is more than what is left.
    pub(crate) fn spend(&self, factors: &[usize]) -> Result<()> {
        let count = factors.iter().fold(1_u64, |count, &factor| count.saturating_mul(factor as u64));
        let left = self.left.get().checked_sub(count).ok_or_else(|| {
            Error::resource_exhausted(format!(
                "it takes {count} operations, and {} are left of the {} of Limits::operations_max; send fewer rows",
                self.left.get(),
                self.max
            ))
        })?;
        self.left.set(left);
        Ok(())
    }
}

impl Limits {
    /// Lets tensors of so many bytes be alive at once.
    ///
    /// # Errors
    /// `ResourceExhausted` when they are more than [`Limits::live_bytes_max`].
    pub(crate) fn alive(&self, bytes: u64) -> Result<()> {
        if bytes <= self.live_bytes_max {
            return Ok(());
        }
        Err(Error::resource_exhausted(format!(
            "values alive take {bytes} bytes, more than the {} of Limits::live_bytes_max; send fewer rows",
            self.live_bytes_max
        )))
    }

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

//! What an operator gets: its inputs, some of which may be left out, the limits, and what the run has left of them.

use mlops_core::{Error, Result};

use crate::{Limits, Tensor, limits::Operations};

#[derive(Debug)]
pub(crate) struct Args<'a> {
    pub(crate) inputs: &'a [Option<&'a Tensor>],
    pub(crate) limits: &'a Limits,
    pub(crate) operations: &'a Operations,
}

impl<'a> Args<'a> {
    /// A required input.
    pub(crate) fn get(&self, index: usize) -> Result<&'a Tensor> {
        self.optional(index).ok_or_else(|| Error::invalid_argument(format!("input {index} is missing")))
    }

    pub(crate) fn optional(&self, index: usize) -> Option<&'a Tensor> {
        self.inputs.get(index).copied().flatten()
    }

    /// Every input that is given.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'a Tensor> + '_ {
        self.inputs.iter().copied().flatten()
    }
}

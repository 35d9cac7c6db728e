//! What is learnt: a module, and how wrong it is.

use std::fmt;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use mlops_core::Result;

/// A module with a loss.
pub trait Learner: fmt::Debug + Send + Sync {
    /// What is trained: anything that derives Burn's `Module`. Float parameters that require
    /// gradients are trained; others, such as running means, are kept as the module leaves them.
    type Module: Module;

    /// Rows as the loader gives them, on the host.
    type Batch: Send;

    /// The module before the first step, on `device`, with weights that depend on `seed` alone.
    ///
    /// Burn's own initializers draw from the device's generator: seed that (`device.seed`) or fill
    /// the parameters with own numbers.
    ///
    /// # Errors
    /// Those of the learner; the fit ends with them.
    fn init(&self, seed: u64, device: &Device) -> Result<Self::Module>;

    /// The mean loss over the rows of a batch, as one number that depends on the parameters. Weights
    /// of rows and classes belong in here. With a [`crate::Precision`] other than single the parameters
    /// are of that type: cast what they meet to it, and their outcome back before the loss is taken.
    ///
    /// # Errors
    /// Those of the learner; the fit ends with them.
    fn loss(&self, module: &Self::Module, batch: &Self::Batch, device: &Device) -> Result<Tensor<1>>;

    /// How many rows a batch has; means over several batches weigh them by it.
    fn rows(&self, batch: &Self::Batch) -> usize;
}

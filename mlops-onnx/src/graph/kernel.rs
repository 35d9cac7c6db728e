//! An operator with its attributes bound: a function from inputs to outputs.

use std::fmt;

use mlops_core::{DataType, Result};
use smallvec::{SmallVec, smallvec};

use super::Args;
use crate::{Tensor, tensor::cast};

/// Outputs of an operator; most have one.
pub(crate) type Outputs = SmallVec<[Tensor; 1]>;

type Run = dyn Fn(&Args<'_>) -> Result<Outputs> + Send + Sync;

pub(crate) struct Kernel(Box<Run>);

impl Kernel {
    /// One output.
    pub(crate) fn one(run: impl Fn(&Args<'_>) -> Result<Tensor> + Send + Sync + 'static) -> Self {
        Self(Box::new(move |args| Ok(smallvec![run(args)?])))
    }

    /// Any number of outputs.
    pub(crate) fn many(run: impl Fn(&Args<'_>) -> Result<Vec<Tensor>> + Send + Sync + 'static) -> Self {
        Self(Box::new(move |args| Ok(run(args)?.into())))
    }

    pub(crate) fn run(&self, args: &Args<'_>) -> Result<Outputs> {
        (self.0)(args)
    }

    /// The same with outputs of another type.
    pub(crate) fn then_cast(self, to: DataType) -> Self {
        Self::many(move |args| {
            let outputs = self.run(args)?.into_iter();
            outputs.map(|tensor| Tensor::new(tensor.shape(), cast(tensor.data(), to)?)).collect()
        })
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kernel")
    }
}

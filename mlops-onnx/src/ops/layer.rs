//! A layer of a network in one go: a product with weights, a row added to every row, and what is below zero made zero.
//!
//! Each element is computed as the operators of their own compute it, to the bit; a NaN is a NaN.

use mlops_core::Result;

use super::product::{Scalar, multiply_into};
use crate::{Tensor, graph::Args, tensor::Data};

/// Weights of `k` rows and `n` columns.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) weights: Tensor,
    /// `n` numbers of the type of the weights.
    pub(crate) bias: Option<Tensor>,
    pub(crate) rectified: bool,
}

impl Layer {
    /// The layer of a matrix with `k` columns; none when `x` is something else, and the operators have to see to it.
    ///
    /// # Errors
    /// `ResourceExhausted` beyond the limits.
    pub(crate) fn run<T: Scalar + PartialOrd>(&self, x: &Tensor, args: &Args<'_>) -> Result<Option<Tensor>>
    where
        Data: From<Vec<T>>,
    {
        let (Ok(values), &[rows, width], &[k, n]) = (x.values::<T>(), x.shape(), self.weights.shape()) else {
            return Ok(None);
        };
        if width != k {
            return Ok(None);
        }
        let count = args.limits.elements(&[rows, n])?;
        // As the operators do: the product, the constants that are read, and what is written again by each that follows.
        args.operations.spend(&[count, k])?;
        args.operations.spend(&[self.weights.len()])?;
        if let Some(bias) = &self.bias {
            args.operations.spend(&[bias.len()])?;
            args.operations.spend(&[count])?;
        }
        if self.rectified {
            args.operations.spend(&[count])?;
        }
        let mut sums = vec![T::default(); count];
        multiply_into(values, self.weights.values::<T>()?, &mut sums, k, n);
        if let Some(bias) = &self.bias {
            let bias = bias.values::<T>()?;
            for row in sums.chunks_exact_mut(n.max(1)) {
                row.iter_mut().zip(bias).for_each(|(sum, &bias)| *sum += bias);
            }
        }
        if self.rectified {
            // A missing value stays missing.
            sums.iter_mut().filter(|sum| **sum < T::default()).for_each(|sum| *sum = T::default());
        }
        Tensor::new([rows, n], sums).map(Some)
    }
}

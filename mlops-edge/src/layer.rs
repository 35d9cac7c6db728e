//! A dense layer in single precision or in bytes.
//!
//! Invariant: shapes fit and numbers are finite; checked when a layer is made.

use alloc::vec::Vec;

use crate::{
    cells::{COLUMNS_MAX, Cells},
    error::Error,
    quantize::Affine,
};

/// `y = W x + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weights: Weights,
    pub(crate) bias: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Weights {
    /// A row per input, so that a row's sums run side by side in the order of training.
    F32(Cells<f32>),
    /// A row per output, with the code of the inputs and a scale for all outputs or for each.
    I8 { cells: Cells<i8>, scales: Vec<f32>, input: Affine },
}

impl Layer {
    /// A layer in single precision; `weights` has a row per input.
    ///
    /// # Errors
    /// [`Error::Malformed`] when shapes do not fit, are not from 1 to 65,536, or a number is not
    /// finite.
    pub fn f32(inputs: usize, outputs: usize, weights: Vec<f32>, bias: Vec<f32>) -> Result<Self, Error> {
        check_shape(inputs, outputs, weights.len(), &bias)?;
        if !weights.iter().all(|weight| weight.is_finite()) {
            return Err(Error::Malformed("a weight that is not finite"));
        }
        Ok(Self { inputs, outputs, weights: Weights::F32(Cells::new(outputs, weights)), bias })
    }

    /// A layer in bytes; `weights` has a row per output, `scales` one for all or one per output,
    /// and `input` is the code that inputs are rounded to.
    ///
    /// # Errors
    /// [`Error::Malformed`] as [`Layer::f32`], and for scales that are not positive.
    pub fn i8(
        (inputs, outputs): (usize, usize),
        weights: Vec<i8>,
        scales: Vec<f32>,
        input: Affine,
        bias: Vec<f32>,
    ) -> Result<Self, Error> {
        check_shape(inputs, outputs, weights.len(), &bias)?;
        let positive = |scale: &f32| scale.is_finite() && *scale > 0.0;
        let fits = scales.len() == 1 || scales.len() == outputs;
        if !fits || !scales.iter().all(positive) || !positive(&input.scale) {
            return Err(Error::Malformed("scales of a layer"));
        }
        Ok(Self { inputs, outputs, weights: Weights::I8 { cells: Cells::new(inputs, weights), scales, input }, bias })
    }

    /// How many numbers it reads.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// How many numbers it gives.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Weights that are kept in memory.
    pub(crate) fn kept(&self) -> usize {
        match &self.weights {
            Weights::F32(cells) => cells.kept(),
            Weights::I8 { cells, .. } => cells.kept(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let weights = match &self.weights {
            Weights::F32(cells) => cells.bytes(),
            Weights::I8 { cells, scales, .. } => cells.bytes() + size_of_val(scales.as_slice()),
        };
        weights + size_of_val(self.bias.as_slice())
    }

    /// Writes what `inputs` give; `codes` is scratch.
    pub(crate) fn forward(&self, inputs: &[f32], codes: &mut Vec<i16>, outputs: &mut Vec<f32>) {
        match &self.weights {
            Weights::F32(cells) => self.forward_f32(cells, inputs, outputs),
            Weights::I8 { cells, scales, input } => {
                codes.clear();
                codes
                    .extend(inputs.iter().map(|value| i16::from(input.quantize(*value)) - i16::from(input.zero_point)));
                outputs.clear();
                for (row, bias) in self.bias.iter().enumerate() {
                    let scale = scales.get(row).or(scales.first()).copied().unwrap_or(1.0);
                    outputs.push(dot(cells, row, codes) as f32 * (scale * input.scale) + bias);
                }
            }
        }
    }

    fn forward_f32(&self, cells: &Cells<f32>, inputs: &[f32], outputs: &mut Vec<f32>) {
        outputs.clone_from(&self.bias);
        for (row, &value) in inputs.iter().enumerate() {
            match cells.row(row) {
                Some(weights) => outputs.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += value * weight),
                None => cells.for_each(row, |place, weight| {
                    if let Some(sum) = outputs.get_mut(place) {
                        *sum += value * weight;
                    }
                }),
            }
        }
    }
}

/// Sums of at most 65,536 products below 127 * 255 stay below 2^31.
fn dot(cells: &Cells<i8>, row: usize, codes: &[i16]) -> i32 {
    if let Some(weights) = cells.row(row) {
        return weights.iter().zip(codes).map(|(weight, code)| i32::from(*weight) * i32::from(*code)).sum();
    }
    let mut sum = 0;
    cells.for_each(row, |place, weight| sum += i32::from(weight) * i32::from(codes.get(place).copied().unwrap_or(0)));
    sum
}

fn check_shape(inputs: usize, outputs: usize, weights: usize, bias: &[f32]) -> Result<(), Error> {
    let bounded = (1..=COLUMNS_MAX).contains(&inputs) && (1..=COLUMNS_MAX).contains(&outputs);
    if !bounded || inputs.checked_mul(outputs) != Some(weights) || bias.len() != outputs {
        return Err(Error::Malformed("the shape of a layer"));
    }
    if !bias.iter().all(|value| value.is_finite()) {
        return Err(Error::Malformed("a bias that is not finite"));
    }
    Ok(())
}

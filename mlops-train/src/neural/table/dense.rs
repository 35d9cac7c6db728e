//! A dense layer: as Burn trains it, and as the host applies it.
//!
//! Invariant: each output starts at its bias and adds the inputs in order, however many rows are
//! computed together and however wide the processor's registers are, so a row's bits never depend on
//! its batch.

#![allow(clippy::indexing_slicing, reason = "weights are inputs * outputs and rows whole, as callers check")]

use burn::{
    module::Param,
    nn::Linear,
    tensor::{Device, TensorData},
};
use mlops_core::Result;
use pulp::NullaryFnOnce;

use crate::{neural::to_vec, rng::SeededRng};

/// `y = x W + b`, `W` row-major with a row per input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dense {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// Rows and outputs that are summed in registers.
const TILE_ROWS: usize = 4;
const TILE_OUTPUTS: usize = 16;

impl Dense {
    /// Weights and biases uniform within `bound`.
    pub(crate) fn random(inputs: usize, outputs: usize, bound: f64, rng: &mut SeededRng) -> Self {
        let weight = rng.uniform_within(bound, inputs * outputs);
        Self { inputs, outputs, weight, bias: rng.uniform_within(bound, outputs) }
    }

    /// What a module learnt.
    ///
    /// # Errors
    /// `Internal` when a tensor cannot be read.
    pub(crate) fn of(layer: &Linear) -> Result<Self> {
        let [inputs, outputs] = layer.weight.val().dims();
        let weight = to_vec(layer.weight.val())?;
        let bias = match &layer.bias {
            Some(bias) => to_vec(bias.val())?,
            None => vec![0.0; outputs],
        };
        Ok(Self { inputs, outputs, weight, bias })
    }

    pub(crate) fn parameters(&self) -> usize {
        self.weight.len() + self.bias.len()
    }

    /// Weights and biases are as many as inputs and outputs say, and finite.
    pub(crate) fn is_sound(&self) -> bool {
        self.inputs.min(self.outputs) > 0
            && self.weight.len() == self.inputs * self.outputs
            && self.bias.len() == self.outputs
            && self.weight.iter().chain(&self.bias).all(|value| value.is_finite())
    }

    /// The weights with a row per output, as PyTorch's `Linear` has them.
    pub(crate) fn weight_by_output(&self) -> Vec<f32> {
        transpose(&self.weight, self.inputs, self.outputs)
    }

    /// The layer of weights with a row per output.
    pub(crate) fn by_output(inputs: usize, outputs: usize, weight: &[f32], bias: Vec<f32>) -> Self {
        Self { inputs, outputs, weight: transpose(weight, outputs, inputs), bias }
    }

    /// The outputs of whole rows; `to` holds them afterwards and nothing else.
    pub(crate) fn apply(&self, from: &[f32], to: &mut Vec<f32>) {
        to.clear();
        to.resize(from.len() / self.inputs * self.outputs, 0.0);
        pulp::Arch::new().dispatch(Apply { layer: self, from, to });
    }

    #[inline(always)]
    fn rows<const R: usize>(&self, from: &[f32], to: &mut [f32]) {
        let whole = self.outputs - self.outputs % TILE_OUTPUTS;
        for at in (0..whole).step_by(TILE_OUTPUTS) {
            self.tile::<R, TILE_OUTPUTS>(at, from, to);
        }
        for at in whole..self.outputs {
            self.tile::<R, 1>(at, from, to);
        }
    }

    /// `O` outputs from `at` on, of `R` rows.
    #[inline(always)]
    fn tile<const R: usize, const O: usize>(&self, at: usize, from: &[f32], to: &mut [f32]) {
        let mut sums = [[0.0_f32; O]; R];
        for sums in &mut sums {
            sums.copy_from_slice(&self.bias[at..at + O]);
        }
        let rows: [&[f32]; R] = std::array::from_fn(|row| &from[row * self.inputs..(row + 1) * self.inputs]);
        for (input, weights) in self.weight.chunks_exact(self.outputs).enumerate() {
            let weights: &[f32] = &weights[at..at + O];
            for (sums, row) in sums.iter_mut().zip(&rows) {
                let value = row[input];
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += value * weight;
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            to[row * self.outputs + at..row * self.outputs + at + O].copy_from_slice(sums);
        }
    }
}

/// A layer over whole rows. Not a closure: the compiler keeps a large one out of the code that it writes for newer
/// processors.
struct Apply<'a> {
    layer: &'a Dense,
    from: &'a [f32],
    to: &'a mut [f32],
}

impl NullaryFnOnce for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { layer, from, to } = self;
        let inputs = from.chunks(TILE_ROWS * layer.inputs);
        for (from, to) in inputs.zip(to.chunks_mut(TILE_ROWS * layer.outputs)) {
            match from.len() / layer.inputs {
                TILE_ROWS => layer.rows::<TILE_ROWS>(from, to),
                rows => (0..rows).for_each(|row| {
                    let from = &from[row * layer.inputs..(row + 1) * layer.inputs];
                    layer.rows::<1>(from, &mut to[row * layer.outputs..(row + 1) * layer.outputs]);
                }),
            }
        }
    }
}

/// The same layer for Burn.
pub(crate) fn linear(layer: &Dense, device: &Device) -> Linear {
    let weight = TensorData::new(layer.weight.clone(), [layer.inputs, layer.outputs]);
    let bias = TensorData::new(layer.bias.clone(), [layer.outputs]);
    Linear { weight: Param::from_data(weight, device), bias: Some(Param::from_data(bias, device)) }
}

/// A row-major table of `rows` by `columns` with both exchanged.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns.max(1)).take(rows).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_together_have_the_bits_of_rows_alone() {
        let mut rng = SeededRng::new(4, 0);
        for (inputs, outputs) in [(1, 1), (7, 40), (33, 16), (5, 3)] {
            let mut layer = Dense::random(inputs, outputs, 1.0, &mut rng);
            layer.bias.iter_mut().for_each(|bias| *bias = rng.normal() as f32);
            let rows: Vec<f32> = (0..11 * inputs).map(|_| rng.normal() as f32).collect();
            let (mut together, mut alone) = (Vec::new(), Vec::new());
            layer.apply(&rows, &mut together);
            for (row, expected) in rows.chunks(inputs).zip(together.chunks(outputs)) {
                layer.apply(row, &mut alone);
                assert_eq!(alone, expected);
                // Plainly: the bias and then input after input.
                for (output, found) in expected.iter().enumerate() {
                    let start = layer.bias[output];
                    let terms =
                        row.iter().enumerate().map(|(input, value)| value * layer.weight[input * outputs + output]);
                    assert_eq!(terms.fold(start, |sum, term| sum + term).to_bits(), found.to_bits());
                }
            }
        }
        let layer = Dense::random(3, 2, 1.0, &mut rng);
        assert_eq!(Dense::by_output(3, 2, &layer.weight_by_output(), layer.bias.clone()), layer);
    }
}

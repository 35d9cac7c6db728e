//! The forward pass: dense layers with rectifiers between them and one output.
//!
//! Invariant: neighboring layers fit, the last has one output, all numbers are finite. Rows are
//! computed one by one in a fixed order of additions, so a row's result never depends on its
//! batch.

#![allow(clippy::indexing_slicing, reason = "layer shapes were checked in Network::new, rows have the input width")]

use mlops_core::{Error, Result};

use crate::{preprocess::Matrix, rng::SeededRng};

/// `y = x W + b`, `W` row-major with a row per input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dense {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// Dense layers in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network {
    layers: Vec<Dense>,
}

/// Rows of numbers in single precision.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) width: usize,
    values: Vec<f32>,
}

/// Standardized numbers beyond this are cut off: a thousand deviations carry no more news than
/// that and would overflow single precision in later layers.
const INPUT_MAX: f64 = 1e3;

impl Inputs {
    pub(crate) fn new(matrix: &Matrix) -> Self {
        let width = matrix.columns();
        let mut values = Vec::with_capacity(matrix.rows() * width);
        for row in 0..matrix.rows() {
            values.extend(matrix.row(row).iter().map(|value| value.clamp(-INPUT_MAX, INPUT_MAX) as f32));
        }
        Self { width, values }
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.width.max(1)
    }
}

impl Network {
    /// Checks the layers.
    ///
    /// # Errors
    /// `DataLoss` when shapes do not fit or a number is not finite.
    pub(crate) fn new(layers: Vec<Dense>) -> Result<Self> {
        let shaped = layers.iter().all(|layer| {
            layer.inputs.min(layer.outputs) > 0
                && layer.weight.len() == layer.inputs * layer.outputs
                && layer.bias.len() == layer.outputs
                && layer.weight.iter().chain(&layer.bias).all(|value| value.is_finite())
        });
        let chained = layers.windows(2).all(|pair| pair[0].outputs == pair[1].inputs);
        let ends = layers.last().is_some_and(|last| last.outputs == 1);
        if !(shaped && chained && ends) {
            return Err(Error::data_loss("weights of the perceptron are not finite or do not fit together"));
        }
        Ok(Self { layers })
    }

    /// Seeded weights, uniform within `sqrt(6 / (inputs + outputs))` (Glorot and Bengio 2010); biases
    /// start at zero. The wider bound `sqrt(6 / inputs)` makes a first layer of few inputs so loud that
    /// the first epochs are spent on quieting it.
    pub(crate) fn random(widths: &[usize], seed: u64) -> Result<Self> {
        let mut rng = SeededRng::new(seed, 3);
        let dense = |pair: &[usize]| {
            let (inputs, outputs) = (pair[0], pair[1]);
            let bound = (6.0 / (inputs + outputs).max(1) as f64).sqrt();
            let weight = (0..inputs * outputs).map(|_| (bound * (2.0 * rng.uniform() - 1.0)) as f32).collect();
            Dense { inputs, outputs, weight, bias: vec![0.0; outputs] }
        };
        Self::new(widths.windows(2).map(dense).collect())
    }

    pub(crate) fn layers(&self) -> &[Dense] {
        &self.layers
    }

    pub(crate) fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    pub(crate) fn parameters(&self) -> usize {
        self.layers.iter().map(|layer| layer.weight.len() + layer.bias.len()).sum()
    }

    /// The raw output of every row.
    pub(crate) fn forward(&self, inputs: &Inputs) -> Vec<f32> {
        let (mut current, mut next) = (Vec::new(), Vec::new());
        (0..inputs.rows()).map(|row| self.forward_row(inputs.row(row), &mut current, &mut next)).collect()
    }

    pub(crate) fn forward_row(&self, row: &[f32], current: &mut Vec<f32>, next: &mut Vec<f32>) -> f32 {
        current.clear();
        current.extend_from_slice(row);
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            next.clone_from(&layer.bias);
            for (&value, weights) in current.iter().zip(layer.weight.chunks_exact(layer.outputs)) {
                for (sum, &weight) in next.iter_mut().zip(weights) {
                    *sum += value * weight;
                }
            }
            if index < last {
                next.iter_mut().for_each(|value| *value = value.max(0.0));
            }
            std::mem::swap(current, next);
        }
        current[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_layers_compute_by_hand() {
        let network = Network::new(vec![
            Dense { inputs: 2, outputs: 2, weight: vec![1.0, -1.0, 2.0, 0.5], bias: vec![0.0, 1.0] },
            Dense { inputs: 2, outputs: 1, weight: vec![3.0, -2.0], bias: vec![0.25] },
        ])
        .unwrap();
        let mut matrix = Matrix::zeros(1, 2);
        matrix.set(0, 0, 1.0);
        matrix.set(0, 1, -2.0);
        // hidden = relu([1 - 4, 1 - 1 - 1]) = [0, 0]
        assert_eq!(network.forward(&Inputs::new(&matrix)), [0.25]);
        matrix.set(0, 1, 2.0);
        // hidden = relu([5, 1]) = [5, 1]
        assert_eq!(network.forward(&Inputs::new(&matrix)), [13.25]);
    }

    #[test]
    fn layers_that_do_not_fit_are_refused() {
        let layer =
            |inputs, outputs| Dense { inputs, outputs, weight: vec![0.0; inputs * outputs], bias: vec![0.0; outputs] };
        assert!(Network::new(vec![]).is_err());
        assert!(Network::new(vec![layer(2, 2)]).is_err());
        assert!(Network::new(vec![layer(2, 3), layer(2, 1)]).is_err());
        let mut bad = layer(1, 1);
        bad.weight[0] = f32::NAN;
        assert!(Network::new(vec![bad]).is_err());
    }
}

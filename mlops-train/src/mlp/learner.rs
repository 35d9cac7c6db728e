//! The perceptron as Burn differentiates it.

use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{DType, Device, Tensor, TensorData, activation::relu},
};
use mlops_core::{Error, Result};

use super::{
    network::{Dense, Network},
    rows::TableBatch,
};
use crate::{
    data::Task,
    neural::{Learner, to_vec},
};

/// The same layers as [`Network`].
#[derive(Module, Debug)]
pub(crate) struct BurnNetwork {
    layers: Vec<Linear>,
}

impl BurnNetwork {
    fn from_network(network: &Network, device: &Device) -> Self {
        let linear = |layer: &Dense| {
            let weight = TensorData::new(layer.weight.clone(), [layer.inputs, layer.outputs]);
            let bias = TensorData::new(layer.bias.clone(), [layer.outputs]);
            Linear { weight: Param::from_data(weight, device), bias: Some(Param::from_data(bias, device)) }
        };
        Self { layers: network.layers().iter().map(linear).collect() }
    }

    fn forward(&self, rows: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold(rows, |values, (index, layer)| {
            let values = layer.forward(values);
            if index < last { relu(values) } else { values }
        })
    }

    fn dtype(&self) -> DType {
        self.layers.first().map_or(DType::F32, |layer| layer.weight.val().dtype())
    }

    /// The weights on the host.
    ///
    /// # Errors
    /// `FailedPrecondition` when they are not finite.
    pub(crate) fn to_network(&self) -> Result<Network> {
        let dense = |layer: &Linear| {
            let [inputs, outputs] = layer.weight.val().dims();
            let weight = to_vec(layer.weight.val().into_data())?;
            let bias = match &layer.bias {
                Some(bias) => to_vec(bias.val().into_data())?,
                None => vec![0.0; outputs],
            };
            Ok(Dense { inputs, outputs, weight, bias })
        };
        let layers = self.layers.iter().map(dense).collect::<Result<_>>()?;
        Network::new(layers).map_err(|_| {
            Error::failed_precondition(
                "training of the perceptron diverged: weights are not finite; lower learning_rate",
            )
        })
    }
}

/// A perceptron of given widths, from the inputs to the one output, and its loss.
#[derive(Debug)]
pub(crate) struct Perceptron {
    pub(crate) task: Task,
    pub(crate) widths: Vec<usize>,
}

impl Learner for Perceptron {
    type Module = BurnNetwork;
    type Batch = TableBatch;

    fn init(&self, seed: u64, device: &Device) -> Result<BurnNetwork> {
        Ok(BurnNetwork::from_network(&Network::random(&self.widths, seed)?, device))
    }

    /// The mean weighted loss: logistic on log odds in its stable form
    /// `max(z, 0) - z y + ln(1 + e^-|z|)`, or half the squared error.
    fn loss(&self, module: &BurnNetwork, batch: &TableBatch, device: &Device) -> Result<Tensor<1>> {
        let rows = batch.targets.len();
        let tensor =
            |values: &[f32], width| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [rows, width]), device);
        let (targets, weights) = (tensor(&batch.targets, 1), tensor(&batch.weights, 1));
        let inputs = tensor(&batch.inputs, batch.inputs.len() / rows.max(1));
        let outputs = match module.dtype() {
            DType::F32 => module.forward(inputs),
            other => module.forward(inputs.cast(other)).cast(DType::F32),
        };
        let losses = match self.task {
            Task::BinaryClassification => {
                relu(outputs.clone()) - outputs.clone() * targets + outputs.abs().neg().exp().log1p()
            }
            Task::Regression => (outputs - targets).square().mul_scalar(0.5),
        };
        Ok((losses * weights).mean())
    }

    fn rows(&self, batch: &TableBatch) -> usize {
        batch.targets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mlp::network::Inputs, preprocess::Matrix, rng::SeededRng};

    #[test]
    fn plain_forward_agrees_with_burn() {
        let mut matrix = Matrix::zeros(300, 7);
        let mut rng = SeededRng::new(1, 0);
        for row in 0..300 {
            (0..7).for_each(|column| matrix.set(row, column, 3.0 * rng.normal()));
        }
        let inputs = Inputs::new(&matrix);
        let network = Network::random(&[7, 32, 32, 1], 2).unwrap();
        let device = Device::flex();
        let values: Vec<f32> = (0..300).flat_map(|row| inputs.row(row).to_vec()).collect();
        let tensor = Tensor::<2>::from_data(TensorData::new(values, [300, 7]), &device);
        let burn_network = BurnNetwork::from_network(&network, &device);
        let expected = to_vec(burn_network.forward(tensor).into_data()).unwrap();
        let found = network.forward(&inputs);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
        }
        assert_eq!(burn_network.to_network().unwrap(), network);
    }
}

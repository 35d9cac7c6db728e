//! The training loop: Adam on mini-batches, gradients by Burn.
//!
//! Invariant: initial weights and the order of rows are functions of the seed and the epoch, and
//! Burn runs single operations in order on the flex device, so a fit can be repeated bit for bit.

#![allow(clippy::indexing_slicing, reason = "rows are below the number of rows of the dataset the loop runs over")]

use burn::{
    module::{Module, Param},
    nn::Linear,
    optim::{AdamConfig, GradientsParams, ModuleOptimizer, decay::WeightDecayConfig},
    tensor::{Device, Tensor, TensorData, activation::relu},
};
use mlops_core::{Error, Result};

use super::{
    network::{Dense, Inputs, Network},
    settings::MlpSettings,
};
use crate::{
    data::Task,
    rng::SeededRng,
    trainer::{FitContext, Progress},
};

/// Rows with what to predict for them.
pub(crate) struct Rows<'a> {
    pub(crate) task: Task,
    pub(crate) inputs: &'a Inputs,
    /// 0 or 1, or standardized labels.
    pub(crate) targets: Vec<f32>,
    pub(crate) weights: Vec<f32>,
    pub(crate) train: Vec<u32>,
    pub(crate) valid: Vec<u32>,
}

/// A network and how many epochs it took.
pub(crate) struct Fitted {
    pub(crate) network: Network,
    pub(crate) epochs: usize,
}

/// The same layers as [`Network`], as Burn differentiates them.
#[derive(Module, Debug)]
struct BurnNetwork {
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

    fn to_network(&self) -> Result<Network> {
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
        Network::new(layers).map_err(|_| diverged())
    }
}

fn to_vec(data: TensorData) -> Result<Vec<f32>> {
    data.try_into_vec::<f32>().map_err(|error| Error::internal(format!("tensor is not single precision: {error:?}")))
}

fn diverged() -> Error {
    Error::failed_precondition("training of the perceptron diverged: weights are not finite; lower learning_rate")
}

/// Fits a network to the training rows.
pub(crate) fn fit(rows: &Rows<'_>, settings: &MlpSettings, context: &FitContext) -> Result<Fitted> {
    let device = Device::flex().autodiff();
    let start = Network::random(&settings.widths(rows.inputs.width), context.seed())?;
    let mut burn_network = BurnNetwork::from_network(&start, &device);
    let decay = (settings.weight_decay > 0.0).then(|| WeightDecayConfig::new(settings.weight_decay as f32));
    let mut optimizer = AdamConfig::new().with_epsilon(1e-8).with_weight_decay(decay).init();
    let mut best = Fitted { network: start, epochs: 0 };
    let mut best_loss = f64::INFINITY;
    for epoch in 1..=settings.epochs {
        let pass = Pass { rows, settings, context, epoch, device: &device };
        let (stepped, train_loss) = pass.run(burn_network, &mut optimizer)?;
        burn_network = stepped;
        let network = burn_network.to_network()?;
        let valid_loss = (!rows.valid.is_empty()).then(|| rows.mean_loss(&network));
        context.report(&Progress { step: epoch, steps_max: settings.epochs, train_loss, valid_loss });
        match valid_loss {
            Some(loss) if loss >= best_loss => {
                if epoch - best.epochs >= settings.early_stopping_epochs {
                    break;
                }
            }
            loss => {
                best_loss = loss.unwrap_or(f64::INFINITY);
                best = Fitted { network, epochs: epoch };
            }
        }
    }
    Ok(best)
}

/// One pass over the training rows.
struct Pass<'a> {
    rows: &'a Rows<'a>,
    settings: &'a MlpSettings,
    context: &'a FitContext,
    epoch: usize,
    device: &'a Device,
}

impl Pass<'_> {
    fn run(&self, mut network: BurnNetwork, optimizer: &mut ModuleOptimizer) -> Result<(BurnNetwork, f64)> {
        let mut order = self.rows.train.clone();
        SeededRng::new(self.context.seed(), (1 << 32) + self.epoch as u64).shuffle(&mut order);
        let mut sum = 0.0;
        for batch in order.chunks(self.settings.batch_rows) {
            self.context.check_cancelled()?;
            let loss = self.loss(&network, batch);
            let value = to_vec(loss.clone().into_data())?.first().copied().unwrap_or(f32::NAN);
            if !value.is_finite() {
                return Err(diverged());
            }
            sum += f64::from(value) * batch.len() as f64;
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(self.settings.learning_rate, network, gradients);
        }
        Ok((network, sum / order.len().max(1) as f64))
    }

    /// The mean weighted loss of a batch: logistic on log odds in its stable form
    /// `max(z, 0) - z y + ln(1 + e^-|z|)`, or half the squared error.
    fn loss(&self, network: &BurnNetwork, batch: &[u32]) -> Tensor<1> {
        let rows = self.rows;
        let mut values = Vec::with_capacity(batch.len() * rows.inputs.width);
        batch.iter().for_each(|&row| values.extend_from_slice(rows.inputs.row(row as usize)));
        let inputs = Tensor::<2>::from_data(TensorData::new(values, [batch.len(), rows.inputs.width]), self.device);
        let column = |values: &[f32]| {
            let picked: Vec<f32> = batch.iter().map(|&row| values[row as usize]).collect();
            Tensor::<2>::from_data(TensorData::new(picked, [batch.len(), 1]), self.device)
        };
        let (targets, weights) = (column(&rows.targets), column(&rows.weights));
        let outputs = network.forward(inputs);
        let losses = match rows.task {
            Task::BinaryClassification => {
                relu(outputs.clone()) - outputs.clone() * targets + outputs.abs().neg().exp().log1p()
            }
            Task::Regression => (outputs - targets).square().mul_scalar(0.5),
        };
        (losses * weights).mean()
    }
}

impl Rows<'_> {
    fn mean_loss(&self, network: &Network) -> f64 {
        let (mut current, mut next) = (Vec::new(), Vec::new());
        let (mut sum, mut total) = (0.0, 0.0);
        for &row in &self.valid {
            let row = row as usize;
            let output = f64::from(network.forward_row(self.inputs.row(row), &mut current, &mut next));
            let (target, weight) = (f64::from(self.targets[row]), f64::from(self.weights[row]));
            sum += weight
                * match self.task {
                    Task::BinaryClassification => output.max(0.0) - output * target + (-output.abs()).exp().ln_1p(),
                    Task::Regression => 0.5 * (output - target).powi(2),
                };
            total += weight;
        }
        if total > 0.0 { sum / total } else { f64::INFINITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Matrix;

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

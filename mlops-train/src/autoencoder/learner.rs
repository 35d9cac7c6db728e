//! The autoencoder as Burn differentiates it.

use burn::tensor::{Device, Tensor, TensorData};
use mlops_core::Result;

use crate::{
    mlp::{BurnNetwork, Network},
    neural::{Learner, table::TableBatch},
};

/// The narrowest layer is linear: behind a rectifier its few units would die often, and with them what they tell.
pub(super) const CODE: Option<usize> = Some(1);

/// A perceptron whose targets are its inputs.
#[derive(Debug)]
pub(super) struct Reconstruction {
    pub(super) widths: Vec<usize>,
}

impl Learner for Reconstruction {
    type Module = BurnNetwork;
    type Batch = TableBatch;

    fn init(&self, seed: u64, device: &Device) -> Result<BurnNetwork> {
        let network = Network::random(&[], &self.widths, seed)?.with_straight(CODE);
        Ok(BurnNetwork::from_network(&network, device))
    }

    /// The mean over rows, by their weights, of the mean squared error of a row's numbers.
    fn loss(&self, module: &BurnNetwork, batch: &TableBatch, device: &Device) -> Result<Tensor<1>> {
        let errors = (module.outputs(batch, device) - batch.numbers(device)).square().mean_dim(1);
        let weights = TensorData::new(batch.weights.clone(), [batch.rows(), 1]);
        Ok((errors * Tensor::<2>::from_data(weights, device)).mean())
    }

    fn rows(&self, batch: &TableBatch) -> usize {
        batch.rows()
    }
}

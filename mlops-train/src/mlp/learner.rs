//! The perceptron as Burn differentiates it.

use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{DType, Device, Int, Tensor, TensorData, activation::relu},
};
use mlops_core::{Error, Result};

use super::network::Network;
use crate::{
    data::Task,
    neural::{
        Learner,
        table::{Dense, Embedding, EmbeddingSize, TableBatch, linear, mean_loss},
        to_vec,
    },
};

/// The same vectors and layers as [`Network`].
#[derive(Module, Debug)]
pub(crate) struct BurnNetwork {
    embeddings: Vec<Param<Tensor<2>>>,
    layers: Vec<Linear>,
    #[module(skip)]
    straight: Option<usize>,
}

impl BurnNetwork {
    pub(crate) fn from_network(network: &Network, device: &Device) -> Self {
        let table = |embedding: &Embedding| {
            let EmbeddingSize { codes, dimension } = embedding.size;
            Param::from_data(TensorData::new(embedding.weight.clone(), [codes, dimension]), device)
        };
        Self {
            embeddings: network.embeddings().iter().map(table).collect(),
            layers: network.layers().iter().map(|layer| linear(layer, device)).collect(),
            straight: network.straight(),
        }
    }

    /// The raw outputs of the rows of a batch, in single precision.
    pub(crate) fn outputs(&self, batch: &TableBatch, device: &Device) -> Tensor<2> {
        let dtype = self.layers.first().map_or(DType::F32, |layer| layer.weight.val().dtype());
        self.forward(self.row_tensor(batch, device, dtype)).cast(DType::F32)
    }

    /// What the first layer reads: numbers, and the vectors of categories behind them.
    fn row_tensor(&self, batch: &TableBatch, device: &Device, dtype: DType) -> Tensor<2> {
        let vectors = self.embeddings.iter().zip(&batch.codes).map(|(table, codes)| {
            let codes = Tensor::<1, Int>::from_data(TensorData::from(codes.as_slice()), device);
            table.val().select(0, codes)
        });
        let numbers = (!batch.numbers.is_empty()).then(|| batch.numbers(device).cast(dtype));
        let mut parts: Vec<Tensor<2>> = numbers.into_iter().chain(vectors).collect();
        if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 1) }
    }

    fn forward(&self, rows: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold(rows, |values, (index, layer)| {
            let values = layer.forward(values);
            if index < last && self.straight != Some(index) { relu(values) } else { values }
        })
    }

    /// The weights on the host.
    ///
    /// # Errors
    /// `FailedPrecondition` when they are not finite.
    pub(crate) fn to_network(&self) -> Result<Network> {
        let embedding = |table: &Param<Tensor<2>>| {
            let [codes, dimension] = table.val().dims();
            Ok(Embedding { size: EmbeddingSize { codes, dimension }, weight: to_vec(table.val())? })
        };
        let embeddings = self.embeddings.iter().map(embedding).collect::<Result<_>>()?;
        let layers = self.layers.iter().map(Dense::of).collect::<Result<_>>()?;
        let network = Network::new(embeddings, layers).map_err(|_| {
            Error::failed_precondition(
                "training of the perceptron diverged: weights are not finite; lower learning_rate",
            )
        })?;
        Ok(network.with_straight(self.straight))
    }
}

/// A perceptron of given vectors and widths, from the inputs to the one output, and its loss.
#[derive(Debug)]
pub(crate) struct Perceptron {
    pub(crate) task: Task,
    pub(crate) embeddings: Vec<EmbeddingSize>,
    pub(crate) widths: Vec<usize>,
}

impl Learner for Perceptron {
    type Module = BurnNetwork;
    type Batch = TableBatch;

    fn init(&self, seed: u64, device: &Device) -> Result<BurnNetwork> {
        Ok(BurnNetwork::from_network(&Network::random(&self.embeddings, &self.widths, seed)?, device))
    }

    fn loss(&self, module: &BurnNetwork, batch: &TableBatch, device: &Device) -> Result<Tensor<1>> {
        Ok(mean_loss(self.task, module.outputs(batch, device), batch, device))
    }

    fn rows(&self, batch: &TableBatch) -> usize {
        batch.rows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{neural::table::Inputs, preprocess::Matrix, rng::SeededRng};

    #[test]
    fn plain_forward_agrees_with_burn() {
        let mut matrix = Matrix::zeros(300, 8);
        let mut rng = SeededRng::new(1, 0);
        for row in 0..300 {
            (0..7).for_each(|column| matrix.set(row, column, 3.0 * rng.normal()));
            matrix.set(row, 7, rng.below(5) as f64);
        }
        let counts = [None, None, None, None, None, None, None, Some(5)];
        let inputs = Inputs::with_codes(&matrix, &counts);
        let network = Network::random(&[EmbeddingSize::new(5, 3)], &[10, 32, 32, 1], 2).unwrap();
        let device = Device::flex();
        let batch = TableBatch {
            numbers: (0..300).flat_map(|row| inputs.row(row).to_vec()).collect(),
            codes: vec![(0..300).map(|row| inputs.codes(row)[0] as i32).collect()],
            targets: vec![0.0; 300],
            weights: vec![1.0; 300],
            noise: None,
        };
        let burn_network = BurnNetwork::from_network(&network, &device);
        let expected = to_vec(burn_network.outputs(&batch, &device)).unwrap();
        let found = network.forward(&inputs);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
        }
        assert_eq!(burn_network.to_network().unwrap(), network);
    }
}

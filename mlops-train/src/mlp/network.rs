//! The forward pass: vectors of categories beside the numbers, dense layers with rectifiers between
//! them.
//!
//! Invariant: vectors and neighboring layers fit, all numbers are finite. A row's result never depends
//! on its batch.

#![allow(clippy::indexing_slicing, reason = "layer shapes were checked in Network::new, rows have the input width")]

use mlops_core::{Error, Result};

use crate::{
    neural::table::{Dense, Embedding, EmbeddingSize, Inputs},
    rng::SeededRng,
};

/// Vectors by coded column, and dense layers in order. The first layer reads the numbers of a row and
/// then its vectors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network {
    embeddings: Vec<Embedding>,
    layers: Vec<Dense>,
    /// A layer without a rectifier behind it, besides the last.
    straight: Option<usize>,
}

/// Rows that are computed together.
const BLOCK_ROWS: usize = 64;

/// Largest entry of a fresh vector: a category says little before it is learnt what it says.
const EMBEDDING_BOUND: f64 = 0.05;

impl Network {
    /// Checks the parts.
    ///
    /// # Errors
    /// `DataLoss` when shapes do not fit or a number is not finite.
    pub(crate) fn new(embeddings: Vec<Embedding>, layers: Vec<Dense>) -> Result<Self> {
        let sound = layers.iter().all(Dense::is_sound) && embeddings.iter().all(Embedding::is_sound);
        let chained = layers.windows(2).all(|pair| pair[0].outputs == pair[1].inputs);
        let dimensions: usize = embeddings.iter().map(|embedding| embedding.size.dimension).sum();
        let reads = layers.first().is_some_and(|first| first.inputs >= dimensions);
        if !(sound && chained && reads) {
            return Err(Error::data_loss("weights of the perceptron are not finite or do not fit together"));
        }
        Ok(Self { embeddings, layers, straight: None })
    }

    /// Seeded weights and biases, uniform within `sqrt(6 / (inputs + outputs))` (Glorot and Bengio 2010).
    /// With biases of zero all rectifiers of the first layer bend at the mean of the inputs, and now and
    /// then a fit takes long to get away from there. The wider bound `sqrt(6 / inputs)` makes a first
    /// layer of few inputs so loud that the first epochs are spent on quieting it.
    pub(crate) fn random(sizes: &[EmbeddingSize], widths: &[usize], seed: u64) -> Result<Self> {
        let mut rng = SeededRng::new(seed, 3);
        let mut table =
            |&size: &EmbeddingSize| Embedding::fresh(size, rng.uniform_within(EMBEDDING_BOUND, size.numbers()));
        let embeddings = sizes.iter().map(&mut table).collect();
        let dense = |pair: &[usize]| {
            let bound = (6.0 / (pair[0] + pair[1]).max(1) as f64).sqrt();
            Dense::random(pair[0], pair[1], bound, &mut rng)
        };
        Self::new(embeddings, widths.windows(2).map(dense).collect())
    }

    /// The same without a rectifier behind layer `index`.
    pub(crate) fn with_straight(mut self, index: Option<usize>) -> Self {
        self.straight = index;
        self
    }

    pub(crate) fn straight(&self) -> Option<usize> {
        self.straight
    }

    pub(crate) fn embeddings(&self) -> &[Embedding] {
        &self.embeddings
    }

    pub(crate) fn layers(&self) -> &[Dense] {
        &self.layers
    }

    /// Numbers that the first layer reads, vectors included.
    pub(crate) fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    pub(crate) fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs
    }

    pub(crate) fn parameters(&self) -> usize {
        let vectors: usize = self.embeddings.iter().map(|embedding| embedding.weight.len()).sum();
        vectors + self.layers.iter().map(Dense::parameters).sum::<usize>()
    }

    /// The raw outputs of row after row.
    pub(crate) fn forward(&self, inputs: &Inputs) -> Vec<f32> {
        let mut outputs = Vec::with_capacity(inputs.rows() * self.outputs());
        let (mut current, mut next) = (Vec::new(), Vec::new());
        let last = self.layers.len() - 1;
        for start in (0..inputs.rows()).step_by(BLOCK_ROWS) {
            current.clear();
            for row in start..inputs.rows().min(start + BLOCK_ROWS) {
                current.extend_from_slice(inputs.row(row));
                let vectors = self.embeddings.iter().zip(inputs.codes(row));
                vectors.for_each(|(embedding, &code)| current.extend_from_slice(embedding.vector(code)));
            }
            for (index, layer) in self.layers.iter().enumerate() {
                layer.apply(&current, &mut next);
                if index < last && self.straight != Some(index) {
                    next.iter_mut().for_each(|value| *value = value.max(0.0));
                }
                std::mem::swap(&mut current, &mut next);
            }
            outputs.extend_from_slice(&current);
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Matrix;

    #[test]
    fn two_layers_compute_by_hand() {
        let network = Network::new(
            Vec::new(),
            vec![
                Dense { inputs: 2, outputs: 2, weight: vec![1.0, -1.0, 2.0, 0.5], bias: vec![0.0, 1.0] },
                Dense { inputs: 2, outputs: 1, weight: vec![3.0, -2.0], bias: vec![0.25] },
            ],
        )
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
    fn a_category_adds_what_its_vector_says() {
        let vectors = Embedding { size: EmbeddingSize::new(3, 2), weight: vec![1.0, 2.0, -1.0, 0.5, 0.0, 0.0] };
        let layer = Dense { inputs: 3, outputs: 1, weight: vec![1.0, 10.0, 100.0], bias: vec![0.0] };
        let network = Network::new(vec![vectors], vec![layer]).unwrap();
        let matrix = Matrix::new(2, vec![7.0, 0.0, 7.0, 1.0, 7.0, 2.0]).unwrap();
        let inputs = Inputs::with_codes(&matrix, &[None, Some(3)]);
        assert_eq!(network.forward(&inputs), [217.0, 47.0, 7.0]);
    }

    #[test]
    fn layers_that_do_not_fit_are_refused() {
        let layer =
            |inputs, outputs| Dense { inputs, outputs, weight: vec![0.0; inputs * outputs], bias: vec![0.0; outputs] };
        assert!(Network::new(Vec::new(), vec![]).is_err());
        let vectors = Embedding { size: EmbeddingSize::new(4, 3), weight: vec![0.0; 12] };
        assert!(Network::new(vec![vectors.clone()], vec![layer(2, 2)]).is_err());
        assert_eq!(Network::new(vec![vectors], vec![layer(3, 2)]).unwrap().parameters(), 12 + 8);
        assert!(Network::new(Vec::new(), vec![layer(2, 3), layer(2, 1)]).is_err());
        let mut bad = layer(1, 1);
        bad.weight[0] = f32::NAN;
        assert!(Network::new(Vec::new(), vec![bad]).is_err());
    }
}

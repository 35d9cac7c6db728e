//! The transformer as Burn differentiates it.

use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{DType, Device, Int, Tensor, TensorData, activation, module::layer_norm},
};
use mlops_core::{Error, Result};

use super::network::{Block, NORM_EPSILON, Network, Norm, Shape, Tokenizer};
use crate::{
    data::Task,
    neural::{
        Learner,
        table::{Dense, Embedding, EmbeddingSize, Noise, TableBatch, linear, mean_loss},
        to_vec,
    },
};

#[derive(Module, Debug)]
struct BurnNorm {
    scale: Param<Tensor<1>>,
    shift: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct BurnBlock {
    attention_norm: Option<BurnNorm>,
    query: Linear,
    key: Linear,
    value: Linear,
    mix: Linear,
    dense_norm: BurnNorm,
    expand: Linear,
    contract: Linear,
}

/// The same parts as [`Network`]; what it has no columns for is absent.
#[derive(Module, Debug)]
pub(super) struct BurnTransformer {
    front: Param<Tensor<2>>,
    number_weight: Option<Param<Tensor<2>>>,
    number_bias: Option<Param<Tensor<2>>>,
    categories: Vec<Param<Tensor<2>>>,
    category_bias: Option<Param<Tensor<2>>>,
    blocks: Vec<BurnBlock>,
    head_norm: BurnNorm,
    head: Linear,
}

/// A table of `width` numbers per row; none of no rows.
fn table(values: &[f32], width: usize, device: &Device) -> Option<Param<Tensor<2>>> {
    let rows = values.len() / width.max(1);
    (rows > 0).then(|| Param::from_data(TensorData::new(values.to_vec(), [rows, width]), device))
}

fn host(table: &Param<Tensor<2>>) -> Result<Vec<f32>> {
    to_vec(table.val())
}

impl BurnNorm {
    fn from_norm(norm: &Norm, device: &Device) -> Self {
        let vector = |values: &[f32]| Param::<Tensor<1>>::from_data(TensorData::from(values), device);
        Self { scale: vector(&norm.scale), shift: vector(&norm.shift) }
    }

    fn to_norm(&self) -> Result<Norm> {
        Ok(Norm { scale: to_vec(self.scale.val())?, shift: to_vec(self.shift.val())? })
    }

    fn forward(&self, tokens: Tensor<2>) -> Tensor<2> {
        layer_norm(tokens, self.scale.val(), Some(self.shift.val()), f64::from(NORM_EPSILON))
    }
}

impl BurnBlock {
    fn from_block(block: &Block, device: &Device) -> Self {
        let dense = |layer: &Dense| linear(layer, device);
        Self {
            attention_norm: block.attention_norm.as_ref().map(|norm| BurnNorm::from_norm(norm, device)),
            query: dense(&block.query),
            key: dense(&block.key),
            value: dense(&block.value),
            mix: dense(&block.mix),
            dense_norm: BurnNorm::from_norm(&block.dense_norm, device),
            expand: dense(&block.expand),
            contract: dense(&block.contract),
        }
    }

    fn to_block(&self) -> Result<Block> {
        Ok(Block {
            attention_norm: self.attention_norm.as_ref().map(BurnNorm::to_norm).transpose()?,
            query: Dense::of(&self.query)?,
            key: Dense::of(&self.key)?,
            value: Dense::of(&self.value)?,
            mix: Dense::of(&self.mix)?,
            dense_norm: self.dense_norm.to_norm()?,
            expand: Dense::of(&self.expand)?,
            contract: Dense::of(&self.contract)?,
        })
    }
}

impl BurnTransformer {
    pub(super) fn from_network(network: &Network, device: &Device) -> Self {
        let width = network.shape.width;
        let Tokenizer { front, number_weight, number_bias, categories, category_bias } = &network.tokenizer;
        Self {
            front: Param::from_data(TensorData::new(front.clone(), [1, width]), device),
            number_weight: table(number_weight, width, device),
            number_bias: table(number_bias, width, device),
            categories: categories.iter().filter_map(|vectors| table(&vectors.weight, width, device)).collect(),
            category_bias: table(category_bias, width, device),
            blocks: network.blocks.iter().map(|block| BurnBlock::from_block(block, device)).collect(),
            head_norm: BurnNorm::from_norm(&network.head_norm, device),
            head: linear(&network.head, device),
        }
    }

    /// The weights on the host.
    ///
    /// # Errors
    /// `FailedPrecondition` when they are not finite.
    pub(super) fn to_network(&self, shape: &Shape) -> Result<Network> {
        let rows = |table: &Option<Param<Tensor<2>>>| table.as_ref().map_or_else(|| Ok(Vec::new()), host);
        let vectors = |table: &Param<Tensor<2>>| {
            let [codes, dimension] = table.val().dims();
            Ok(Embedding { size: EmbeddingSize { codes, dimension }, weight: host(table)? })
        };
        let network = Network {
            shape: shape.clone(),
            tokenizer: Tokenizer {
                front: host(&self.front)?,
                number_weight: rows(&self.number_weight)?,
                number_bias: rows(&self.number_bias)?,
                categories: self.categories.iter().map(vectors).collect::<Result<_>>()?,
                category_bias: rows(&self.category_bias)?,
            },
            blocks: self.blocks.iter().map(BurnBlock::to_block).collect::<Result<_>>()?,
            head_norm: self.head_norm.to_norm()?,
            head: Dense::of(&self.head)?,
        };
        network.check().map_err(|_| {
            Error::failed_precondition(
                "training of the transformer diverged: weights are not finite; lower learning_rate",
            )
        })
    }

    /// Tokens of the rows of a batch, `[rows, tokens, width]`.
    fn tokens(&self, batch: &TableBatch, device: &Device) -> Tensor<3> {
        let rows = batch.rows();
        let front = self.front.val();
        let dtype = front.dtype();
        let [_, width] = front.dims();
        let mut parts = vec![front.unsqueeze_dim::<3>(0).expand([rows, 1, width])];
        if let (Some(weight), Some(bias)) = (&self.number_weight, &self.number_bias) {
            let numbers: Tensor<3> = batch.numbers(device).cast(dtype).unsqueeze_dim(2);
            parts.push(numbers * weight.val().unsqueeze_dim(0) + bias.val().unsqueeze_dim(0));
        }
        if let Some(bias) = &self.category_bias {
            let vectors = self.categories.iter().zip(&batch.codes).map(|(table, codes)| {
                let codes = Tensor::<1, Int>::from_data(TensorData::from(codes.as_slice()), device);
                table.val().select(0, codes).unsqueeze_dim::<3>(1)
            });
            parts.push(Tensor::cat(vectors.collect(), 1) + bias.val().unsqueeze_dim(0));
        }
        Tensor::cat(parts, 1)
    }
}

/// What a step drops, and how tokens are laid out.
struct Pass<'a> {
    learner: &'a Transformer,
    rows: usize,
    noise: Option<Noise>,
    device: &'a Device,
}

impl Pass<'_> {
    /// Drops numbers where a step is made; leaves them alone where rows are judged.
    fn drop<const D: usize>(&mut self, values: Tensor<D>, rate: f64) -> Tensor<D> {
        let Some(noise) = self.noise.as_mut().filter(|_| rate > 0.0) else { return values };
        let shape = values.dims();
        let factors = TensorData::new(noise.dropout(shape.iter().product(), rate), shape);
        let factors = Tensor::<D>::from_data(factors, (self.device, values.dtype()));
        values * factors
    }

    /// The first `kept` tokens of each row after a block; tokens are `[rows * tokens, width]`.
    fn block(&mut self, block: &BurnBlock, tokens: Tensor<2>, kept: usize) -> Tensor<2> {
        let Transformer { shape, attention_dropout, hidden_dropout, residual_dropout, .. } = self.learner;
        let all = shape.tokens();
        let normal = match &block.attention_norm {
            Some(norm) => norm.forward(tokens.clone()),
            None => tokens.clone(),
        };
        let queries = self.heads(block.query.forward(self.first(normal.clone(), kept)), kept);
        let keys = self.heads(block.key.forward(normal.clone()), all);
        let values = self.heads(block.value.forward(normal), all);
        let factor = 1.0 / ((shape.width / shape.heads) as f64).sqrt();
        let scores = queries.matmul(keys.swap_dims(2, 3)).mul_scalar(factor);
        let weights = self.drop(activation::softmax(scores, 3), *attention_dropout);
        let mixed = weights.matmul(values).swap_dims(1, 2).reshape([self.rows * kept, shape.width]);
        let added = self.drop(block.mix.forward(mixed), *residual_dropout);
        let tokens = self.first(tokens, kept) + added;
        let expanded = block.expand.forward(block.dense_norm.forward(tokens.clone()));
        let units = expanded.clone().narrow(1, 0, shape.hidden);
        let gates = activation::relu(expanded.narrow(1, shape.hidden, shape.hidden));
        let hidden = self.drop(units * gates, *hidden_dropout);
        let added = self.drop(block.contract.forward(hidden), *residual_dropout);
        tokens + added
    }

    /// The first tokens of each row.
    fn first(&self, tokens: Tensor<2>, kept: usize) -> Tensor<2> {
        let (all, width) = (self.learner.shape.tokens(), self.learner.shape.width);
        if kept == all {
            return tokens;
        }
        tokens.reshape([self.rows, all, width]).narrow(1, 0, kept).reshape([self.rows * kept, width])
    }

    /// `[rows, heads, tokens, width / heads]`.
    fn heads(&self, values: Tensor<2>, tokens: usize) -> Tensor<4> {
        let Shape { width, heads, .. } = self.learner.shape;
        values.reshape([self.rows, tokens, heads, width / heads]).swap_dims(1, 2)
    }
}

/// A transformer of a given shape, its loss, and what its steps drop.
#[derive(Debug)]
pub(super) struct Transformer {
    pub(super) task: Task,
    pub(super) shape: Shape,
    pub(super) attention_dropout: f64,
    pub(super) hidden_dropout: f64,
    pub(super) residual_dropout: f64,
}

impl Transformer {
    /// The raw outputs of the rows of a batch, in single precision.
    fn outputs(&self, module: &BurnTransformer, batch: &TableBatch, device: &Device) -> Tensor<2> {
        let mut pass = Pass { learner: self, rows: batch.rows(), noise: batch.noise.clone(), device };
        let all = self.shape.tokens();
        let tokens = module.tokens(batch, device).reshape([pass.rows * all, self.shape.width]);
        let last = module.blocks.len().saturating_sub(1);
        let tokens = module.blocks.iter().enumerate().fold(tokens, |tokens, (index, block)| {
            // What the last block makes of other tokens is never read.
            pass.block(block, tokens, if index == last { 1 } else { all })
        });
        module.head.forward(activation::relu(module.head_norm.forward(tokens))).cast(DType::F32)
    }
}

impl Learner for Transformer {
    type Module = BurnTransformer;
    type Batch = TableBatch;

    fn init(&self, seed: u64, device: &Device) -> Result<BurnTransformer> {
        Ok(BurnTransformer::from_network(&Network::random(&self.shape, seed)?, device))
    }

    fn loss(&self, module: &BurnTransformer, batch: &TableBatch, device: &Device) -> Result<Tensor<1>> {
        Ok(mean_loss(self.task, self.outputs(module, batch, device), batch, device))
    }

    fn rows(&self, batch: &TableBatch) -> usize {
        batch.rows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{neural::table::Inputs, preprocess::Matrix, rng::SeededRng};

    fn learner(shape: &Shape) -> Transformer {
        Transformer {
            task: Task::Regression,
            shape: shape.clone(),
            attention_dropout: 0.2,
            hidden_dropout: 0.1,
            residual_dropout: 0.1,
        }
    }

    #[test]
    fn plain_forward_agrees_with_burn() {
        let shape = Shape { numbers: 3, codes: vec![5, 4], width: 12, blocks: 3, heads: 3, hidden: 16 };
        let mut rng = SeededRng::new(1, 0);
        let mut row = || vec![rng.normal(), rng.below(5) as f64, 2.0 * rng.normal(), rng.normal(), rng.below(4) as f64];
        let matrix = Matrix::new(5, (0..50).flat_map(|_| row()).collect()).unwrap();
        let inputs = Inputs::with_codes(&matrix, &[None, Some(5), None, None, Some(4)]);
        let network = Network::random(&shape, 2).unwrap();
        let column = |column: usize| (0..50).map(|row| inputs.codes(row)[column] as i32).collect();
        let batch = |noise| TableBatch {
            numbers: (0..50).flat_map(|row| inputs.row(row).to_vec()).collect(),
            codes: vec![column(0), column(1)],
            targets: vec![0.0; 50],
            weights: vec![1.0; 50],
            noise,
        };
        let device = Device::flex();
        let module = BurnTransformer::from_network(&network, &device);
        let learner = learner(&shape);
        let outputs = |noise| to_vec(learner.outputs(&module, &batch(noise), &device)).unwrap();
        let expected = outputs(None);
        for (found, expected) in network.forward(&inputs).iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
        }
        assert_eq!(module.to_network(&shape).unwrap(), network);
        let noisy = outputs(Some(Noise::new(1, 1, 1)));
        assert_ne!(noisy, expected);
        assert_eq!(noisy, outputs(Some(Noise::new(1, 1, 1))));
    }
}

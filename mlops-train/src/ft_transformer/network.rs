//! The transformer's weights and its forward pass on the host.
//!
//! Invariant: shapes fit and all numbers are finite. Rows are computed one by one, so a row's result
//! never depends on its batch.

#![allow(clippy::indexing_slicing, reason = "Network::new checked the shapes, tokens are rows of the width")]

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    neural::table::{Dense, Embedding, EmbeddingSize, Inputs},
    rng::SeededRng,
};

/// How large the parts are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Columns of numbers.
    pub(crate) numbers: usize,
    /// Codes of each column of categories.
    pub(crate) codes: Vec<usize>,
    /// Numbers per token.
    pub(crate) width: usize,
    pub(crate) blocks: usize,
    pub(crate) heads: usize,
    /// Hidden units of a block's dense layers.
    pub(crate) hidden: usize,
}

impl Shape {
    /// Tokens per row.
    pub(crate) fn tokens(&self) -> usize {
        1 + self.numbers + self.codes.len()
    }
}

/// `scale * (x - mean) / deviation + shift` over the numbers of a token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Norm {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
}

/// Added to the variance, as in PyTorch.
pub(crate) const NORM_EPSILON: f32 = 1e-5;

/// Tokens of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tokenizer {
    /// The token in front.
    pub(crate) front: Vec<f32>,
    /// A row per column of numbers: what the number is multiplied by, and a bias.
    pub(crate) number_weight: Vec<f32>,
    pub(crate) number_bias: Vec<f32>,
    /// A table per column of categories, and a row of biases for each.
    pub(crate) categories: Vec<Embedding>,
    pub(crate) category_bias: Vec<f32>,
}

/// Attention between tokens, then two dense layers on each.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    /// None in the first block.
    pub(crate) attention_norm: Option<Norm>,
    pub(crate) query: Dense,
    pub(crate) key: Dense,
    pub(crate) value: Dense,
    pub(crate) mix: Dense,
    pub(crate) dense_norm: Norm,
    /// To twice the hidden units: the rectified second half multiplies the first (ReGLU).
    pub(crate) expand: Dense,
    pub(crate) contract: Dense,
}

/// All of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network {
    pub(crate) shape: Shape,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) blocks: Vec<Block>,
    pub(crate) head_norm: Norm,
    pub(crate) head: Dense,
}

impl Norm {
    fn new(width: usize) -> Self {
        Self { scale: vec![1.0; width], shift: vec![0.0; width] }
    }

    fn is_sound(&self, width: usize) -> bool {
        let numbers = self.scale.iter().chain(&self.shift);
        self.scale.len() == width && self.shift.len() == width && numbers.clone().all(|value| value.is_finite())
    }

    /// Normalizes token after token.
    fn apply(&self, from: &[f32], to: &mut Vec<f32>) {
        to.clear();
        let n = self.scale.len() as f32;
        for token in from.chunks_exact(self.scale.len()) {
            let mean = token.iter().sum::<f32>() / n;
            let variance = token.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / n;
            let factor = 1.0 / (variance + NORM_EPSILON).sqrt();
            let scales = self.scale.iter().zip(&self.shift);
            to.extend(token.iter().zip(scales).map(|(value, (scale, shift))| (value - mean) * factor * scale + shift));
        }
    }
}

impl Network {
    /// Checks the parts against the shape.
    ///
    /// # Errors
    /// `DataLoss` when they do not fit or a number is not finite.
    pub(crate) fn check(self) -> Result<Self> {
        let Shape { numbers, ref codes, width, blocks, heads, hidden } = self.shape;
        let is_dense =
            |layer: &Dense, inputs, outputs| layer.is_sound() && (layer.inputs, layer.outputs) == (inputs, outputs);
        let is_block = |(index, block): (usize, &Block)| {
            block.attention_norm.is_some() == (index > 0)
                && block.attention_norm.as_ref().is_none_or(|norm| norm.is_sound(width))
                && [&block.query, &block.key, &block.value, &block.mix]
                    .iter()
                    .all(|layer| is_dense(layer, width, width))
                && block.dense_norm.is_sound(width)
                && is_dense(&block.expand, width, 2 * hidden)
                && is_dense(&block.contract, hidden, width)
        };
        let Tokenizer { front, number_weight, number_bias, categories, category_bias } = &self.tokenizer;
        let sized =
            |part: &[f32], rows: usize| part.len() == rows * width && part.iter().all(|value| value.is_finite());
        let tables = categories.iter().map(|table| (table.size.codes, table.size.dimension));
        let sound = heads > 0
            && width.is_multiple_of(heads)
            && sized(front, 1)
            && sized(number_weight, numbers)
            && sized(number_bias, numbers)
            && tables.eq(codes.iter().map(|&codes| (codes, width)))
            && categories.iter().all(Embedding::is_sound)
            && sized(category_bias, codes.len())
            && self.blocks.len() == blocks
            && blocks > 0
            && self.blocks.iter().enumerate().all(is_block)
            && self.head_norm.is_sound(width)
            && is_dense(&self.head, width, 1);
        if sound {
            return Ok(self);
        }
        Err(Error::data_loss("weights of the transformer are not finite or do not fit together"))
    }

    /// Seeded weights as in the paper's own program: tokens uniform within `1 / sqrt(width)`, dense
    /// layers within `1 / sqrt(inputs)` with biases of zero.
    pub(crate) fn random(shape: &Shape, seed: u64) -> Result<Self> {
        let mut rng = SeededRng::new(seed, 3);
        Self::filled(shape, |count, bound| rng.uniform_within(bound, count)).check()
    }

    /// A network of weights that `fill` makes, given how many there are and how large they may be.
    pub(crate) fn filled(shape: &Shape, mut fill: impl FnMut(usize, f64) -> Vec<f32>) -> Self {
        let width = shape.width;
        let bound = 1.0 / (width as f64).sqrt();
        let front = fill(width, bound);
        let (number_weight, number_bias) = (fill(shape.numbers * width, bound), fill(shape.numbers * width, bound));
        let category_bias = fill(shape.codes.len() * width, bound);
        let mut table = |&codes: &usize| {
            let size = EmbeddingSize { codes, dimension: width };
            Embedding::fresh(size, fill(size.numbers(), bound))
        };
        let categories = shape.codes.iter().map(&mut table).collect();
        let mut dense = |inputs: usize, outputs: usize| {
            let weight = fill(inputs * outputs, 1.0 / (inputs as f64).sqrt());
            Dense { inputs, outputs, weight, bias: vec![0.0; outputs] }
        };
        let mut block = |index: usize| Block {
            attention_norm: (index > 0).then(|| Norm::new(width)),
            query: dense(width, width),
            key: dense(width, width),
            value: dense(width, width),
            mix: dense(width, width),
            dense_norm: Norm::new(width),
            expand: dense(width, 2 * shape.hidden),
            contract: dense(shape.hidden, width),
        };
        let blocks = (0..shape.blocks).map(&mut block).collect();
        let tokenizer = Tokenizer { front, number_weight, number_bias, categories, category_bias };
        Self { shape: shape.clone(), tokenizer, blocks, head_norm: Norm::new(width), head: dense(width, 1) }
    }

    pub(crate) fn parameters(&self) -> usize {
        let norm = |norm: &Norm| norm.scale.len() + norm.shift.len();
        let block = |block: &Block| {
            let Block { attention_norm, query, key, value, mix, dense_norm, expand, contract } = block;
            let layers = [query, key, value, mix, expand, contract];
            attention_norm.as_ref().map_or(0, norm)
                + norm(dense_norm)
                + layers.map(Dense::parameters).iter().sum::<usize>()
        };
        let Tokenizer { front, number_weight, number_bias, categories, category_bias } = &self.tokenizer;
        let vectors: usize = categories.iter().map(|table| table.weight.len()).sum();
        let tokens = front.len() + number_weight.len() + number_bias.len() + vectors + category_bias.len();
        tokens + self.blocks.iter().map(block).sum::<usize>() + norm(&self.head_norm) + self.head.parameters()
    }

    /// The raw output of every row.
    pub(crate) fn forward(&self, inputs: &Inputs) -> Vec<f32> {
        let mut scratch = Scratch::default();
        (0..inputs.rows()).map(|row| self.forward_row(inputs.row(row), inputs.codes(row), &mut scratch)).collect()
    }

    fn forward_row(&self, numbers: &[f32], codes: &[u32], scratch: &mut Scratch) -> f32 {
        self.tokenizer.apply(numbers, codes, &mut scratch.tokens);
        let last = self.blocks.len() - 1;
        for (index, block) in self.blocks.iter().enumerate() {
            // What the last block makes of other tokens is never read.
            let kept = if index == last { 1 } else { self.shape.tokens() };
            block.apply(&self.shape, kept, scratch);
        }
        self.head_norm.apply(&scratch.tokens, &mut scratch.normal);
        scratch.normal.iter_mut().for_each(|value| *value = value.max(0.0));
        self.head.apply(&scratch.normal, &mut scratch.added);
        scratch.added[0]
    }
}

/// Numbers of one row under way.
#[derive(Debug, Default)]
struct Scratch {
    tokens: Vec<f32>,
    normal: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    weights: Vec<f32>,
    mixed: Vec<f32>,
    added: Vec<f32>,
}

impl Tokenizer {
    fn apply(&self, numbers: &[f32], codes: &[u32], tokens: &mut Vec<f32>) {
        let width = self.front.len();
        tokens.clear();
        tokens.extend_from_slice(&self.front);
        let rows = self.number_weight.chunks_exact(width).zip(self.number_bias.chunks_exact(width));
        for (number, (weights, biases)) in numbers.iter().zip(rows) {
            tokens.extend(weights.iter().zip(biases).map(|(weight, bias)| number * weight + bias));
        }
        let rows = self.categories.iter().zip(self.category_bias.chunks_exact(width));
        for (&code, (table, biases)) in codes.iter().zip(rows) {
            tokens.extend(table.vector(code).iter().zip(biases).map(|(value, bias)| value + bias));
        }
    }
}

impl Block {
    /// Replaces the tokens by the first `kept` of them after this block.
    fn apply(&self, shape: &Shape, kept: usize, scratch: &mut Scratch) {
        let Scratch { tokens, normal, queries, keys, values, weights, mixed, added } = scratch;
        let kept_numbers = kept * shape.width;
        match &self.attention_norm {
            Some(norm) => norm.apply(tokens, normal),
            None => normal.clone_from(tokens),
        }
        self.query.apply(&normal[..kept_numbers], queries);
        self.key.apply(normal, keys);
        self.value.apply(normal, values);
        attend(shape, queries, keys, values, weights, mixed);
        self.mix.apply(mixed, added);
        tokens.truncate(kept_numbers);
        tokens.iter_mut().zip(&*added).for_each(|(token, added)| *token += added);
        self.dense_norm.apply(tokens, normal);
        self.expand.apply(normal, mixed);
        normal.clear();
        for units in mixed.chunks_exact(2 * shape.hidden) {
            let (units, gates) = units.split_at(shape.hidden);
            normal.extend(units.iter().zip(gates).map(|(unit, gate)| unit * gate.max(0.0)));
        }
        self.contract.apply(normal, added);
        tokens.iter_mut().zip(&*added).for_each(|(token, added)| *token += added);
    }
}

/// `softmax(q k / sqrt(n)) v` head by head, `n` numbers each.
fn attend(shape: &Shape, queries: &[f32], keys: &[f32], values: &[f32], weights: &mut Vec<f32>, mixed: &mut Vec<f32>) {
    let (width, size) = (shape.width, shape.width / shape.heads);
    let factor = 1.0 / (size as f32).sqrt();
    mixed.clear();
    mixed.resize(queries.len(), 0.0);
    for (query, mixed) in queries.chunks_exact(width).zip(mixed.chunks_exact_mut(width)) {
        for head in (0..width).step_by(size) {
            let query = &query[head..head + size];
            let score = |key: &[f32]| {
                factor * query.iter().zip(&key[head..head + size]).map(|(query, key)| query * key).sum::<f32>()
            };
            weights.clear();
            weights.extend(keys.chunks_exact(width).map(score));
            let highest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            weights.iter_mut().for_each(|weight| *weight = (*weight - highest).exp());
            let total: f32 = weights.iter().sum();
            for (weight, value) in weights.iter().zip(values.chunks_exact(width)) {
                let share = weight / total;
                let value = &value[head..head + size];
                mixed[head..head + size].iter_mut().zip(value).for_each(|(sum, value)| *sum += share * value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's default: width 192, 3 blocks, 4/3 hidden units.
    fn paper(numbers: usize, codes: Vec<usize>) -> Shape {
        Shape { numbers, codes, width: 192, blocks: 3, heads: 8, hidden: 256 }
    }

    #[test]
    fn parameters_are_as_many_as_the_paper_s_description_has() {
        let (numbers, codes) = (6, vec![9, 18, 9, 17, 8, 7, 4, 44]);
        let shape = paper(numbers, codes.clone());
        assert_eq!(shape.tokens(), 15);
        let (d, h) = (192, 256);
        let tokens = d + 2 * numbers * d + (codes.iter().sum::<usize>() + codes.len()) * d;
        let attention = 4 * (d * d + d);
        let dense = d * 2 * h + 2 * h + h * d + d;
        // Two normalizations a block, but one in the first; one before the head.
        let expected = tokens + 3 * (attention + dense) + 5 * 2 * d + 2 * d + d + 1;
        assert_eq!(Network::random(&shape, 1).unwrap().parameters(), expected);
        assert_eq!(expected, 917_953);
    }

    #[test]
    fn a_seed_names_one_network() {
        let shape = Shape { numbers: 2, codes: vec![4], width: 8, blocks: 2, heads: 2, hidden: 10 };
        assert_eq!(Network::random(&shape, 1).unwrap(), Network::random(&shape, 1).unwrap());
        assert_ne!(Network::random(&shape, 1).unwrap(), Network::random(&shape, 2).unwrap());
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let shape = Shape { numbers: 2, codes: vec![4], width: 8, blocks: 2, heads: 2, hidden: 10 };
        let network = || Network::random(&shape, 1).unwrap();
        let refused = |change: &dyn Fn(&mut Network)| {
            let mut bad = network();
            change(&mut bad);
            assert!(bad.check().is_err());
        };
        network().check().unwrap();
        refused(&|bad| bad.shape.heads = 3);
        refused(&|bad| bad.shape.codes = vec![5]);
        refused(&|bad| bad.blocks[0].attention_norm = Some(Norm::new(8)));
        refused(&|bad| bad.blocks[1].mix.weight[3] = f32::NAN);
        refused(&|bad| drop(bad.blocks.pop()));
        refused(&|bad| bad.tokenizer.number_bias.truncate(8));
    }
}

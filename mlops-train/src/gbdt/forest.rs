//! Trees laid flat for prediction.
//!
//! Invariant: an inner node's children lie side by side behind it, so walking always ends; every
//! index was checked when the forest was made.

#![allow(
    clippy::indexing_slicing,
    reason = "children point forward within the nodes and features are below the row width: checked in Forest::new"
)]

use mlops_core::{Error, Result};

use crate::preprocess::Matrix;

/// Feature number of a leaf.
pub(crate) const LEAF: u16 = u16::MAX;

/// Sixteen bytes: four nodes share a cache line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Node {
    /// Values up to it go left; of a leaf, its contribution to the score.
    pub(crate) value: f64,
    /// The left child; the right one follows it. Zero in a leaf.
    pub(crate) left: u32,
    /// Which number of the row decides, or [`LEAF`].
    pub(crate) feature: u16,
    /// Whether a missing value goes left.
    pub(crate) missing_left: bool,
}

/// A sum of trees over a base score.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forest {
    pub(crate) features: usize,
    pub(crate) base: f64,
    pub(crate) roots: Vec<u32>,
    pub(crate) nodes: Vec<Node>,
}

impl Forest {
    pub(crate) fn empty(features: usize, base: f64) -> Self {
        Self { features, base, roots: Vec::new(), nodes: Vec::new() }
    }

    /// A forest of outside origin.
    ///
    /// # Errors
    /// `DataLoss` when a child does not lie behind its parent, a feature does not exist or a
    /// number is not finite.
    pub(crate) fn new(features: usize, base: f64, roots: Vec<u32>, nodes: Vec<Node>) -> Result<Self> {
        let fits = |(index, node): (usize, &Node)| {
            let inner = node.feature != LEAF;
            let children = node.left as usize > index && (node.left as usize) < nodes.len().saturating_sub(1);
            node.value.is_finite() && (!inner || (children && usize::from(node.feature) < features))
        };
        let rooted = roots.iter().all(|&root| (root as usize) < nodes.len());
        if !base.is_finite() || !rooted || !nodes.iter().enumerate().all(fits) {
            return Err(Error::data_loss("trees of the model file are not well formed"));
        }
        Ok(Self { features, base, roots, nodes })
    }

    /// Appends one tree whose child indices count from its own root.
    pub(crate) fn push_tree(&mut self, tree: &[Node]) {
        let start = self.nodes.len() as u32;
        self.roots.push(start);
        self.nodes.extend(tree.iter().map(|node| match node.feature {
            LEAF => *node,
            _ => Node { left: node.left + start, ..*node },
        }));
    }

    /// The forest whose scores are these times `factor`.
    ///
    /// # Errors
    /// `FailedPrecondition` when one is no double.
    pub(crate) fn times(mut self, factor: f64) -> Result<Self> {
        self.base *= factor;
        let leaves = self.nodes.iter_mut().filter(|node| node.feature == LEAF);
        leaves.for_each(|leaf| leaf.value *= factor);
        if self.base.is_finite() && self.nodes.iter().all(|node| node.value.is_finite()) {
            return Ok(self);
        }
        Err(Error::failed_precondition("the trees leave the range of doubles; give the label a larger unit"))
    }

    /// Keeps the first `trees` trees.
    pub(crate) fn truncate(&mut self, trees: usize) {
        if let Some(&end) = self.roots.get(trees) {
            self.nodes.truncate(end as usize);
            self.roots.truncate(trees);
        }
    }

    /// The raw score of every row. A row's sum runs over the trees in order, whatever rows share
    /// the batch.
    pub(crate) fn scores(&self, matrix: &Matrix) -> Vec<f64> {
        let mut scores = vec![self.base; matrix.rows()];
        for (block, scores) in scores.chunks_mut(BLOCK_ROWS).enumerate() {
            for &root in &self.roots {
                for (offset, score) in scores.iter_mut().enumerate() {
                    *score += self.leaf(root, matrix.row(block * BLOCK_ROWS + offset));
                }
            }
        }
        scores
    }

    fn leaf(&self, root: u32, row: &[f64]) -> f64 {
        let mut node = self.nodes[root as usize];
        while node.feature != LEAF {
            let value = row[usize::from(node.feature)];
            let left = if value.is_nan() { node.missing_left } else { value <= node.value };
            node = self.nodes[node.left as usize + usize::from(!left)];
        }
        node.value
    }
}

/// Rows that walk one tree before the next tree is brought into cache.
const BLOCK_ROWS: usize = 64;

//! TreeSHAP against rows of a background.
//!
//! What a tree says when only the features in `S` are known is its mean over background rows with
//! those features replaced (Janzing et al. 2020, "Feature relevance quantification in explainable
//! AI"). For one background row, a leaf that is reached when `u` features are the explained row's
//! and `v` others the background's gives each of the `u` its value times `(u-1)! v! / (u+v)!` and
//! each of the `v` its value times `-u! (v-1)! / (u+v)!` (Lundberg et al. 2020). Both weights are
//! found by walking the tree where either row could go; background rows that take the same turns
//! walk together, 64 at a time.

#![allow(
    clippy::indexing_slicing,
    reason = "nodes lie within their tree, features within the row: checked in TreeEnsemble"
)]

use mlops_core::Result;

use super::ensemble::{Node, Tree, TreeEnsemble};
use crate::{
    explain::{attribution::Attribution, background::Background},
    preprocess::Matrix,
};

/// Rows that walk together: the bits of a mask.
const GROUP: usize = 64;

/// Explains trees against a background.
#[derive(Debug)]
pub struct InterventionalTreeShap {
    ensemble: TreeEnsemble,
    base_value: f64,
    groups: Vec<Group>,
    weights: Weights,
}

/// Up to 64 background rows.
#[derive(Debug)]
struct Group {
    /// Share of each row in the whole background.
    shares: Vec<f64>,
    /// The share of all rows where they are equal.
    common: Option<f64>,
    /// Per tree and node a mask of the rows that go left.
    left: Vec<Vec<u64>>,
}

impl InterventionalTreeShap {
    /// Explains against these rows, all of the same weight.
    ///
    /// # Errors
    /// `InvalidArgument` for no rows or rows of another width.
    pub fn new(ensemble: &TreeEnsemble, background: &Matrix) -> Result<Self> {
        Self::weighted(ensemble, background, &vec![1.0; background.rows()])
    }

    /// Explains against rows of these weights, such as the centers of clusters.
    ///
    /// # Errors
    /// `InvalidArgument` for no rows, rows of another width, or weights that do not fit them.
    pub fn weighted(ensemble: &TreeEnsemble, background: &Matrix, weights: &[f64]) -> Result<Self> {
        ensemble.check_rows(background)?;
        let shares = Background::shares(background.rows(), weights)?;
        let scores = ensemble.predict(background)?;
        let base_value = scores.iter().zip(&shares).map(|(score, share)| score * share).sum();
        let group = |(index, shares): (usize, &[f64])| Group::new(ensemble, background, index * GROUP, shares);
        Ok(Self {
            ensemble: ensemble.clone(),
            base_value,
            groups: shares.chunks(GROUP).enumerate().map(group).collect(),
            weights: Weights::default(),
        })
    }

    /// Contributions of the numbers of rows to their raw scores.
    ///
    /// # Errors
    /// `InvalidArgument` for rows of another width; `Internal` when contributions do not sum up.
    pub fn explain(&self, rows: &Matrix) -> Result<Attribution> {
        self.ensemble.check_rows(rows)?;
        let features = self.ensemble.features();
        let mut attributions = vec![0.0; rows.rows() * features];
        let mut sides = vec![None; features];
        for (index, tree) in self.ensemble.trees.iter().enumerate() {
            for group in &self.groups {
                for (row, sums) in attributions.chunks_exact_mut(features.max(1)).enumerate() {
                    let row = rows.row(row);
                    let left = &group.left[index];
                    let mut walk = Walk { tree, row, left, group, weights: &self.weights, sides: &mut sides, sums };
                    walk.visit(Place { at: 0, mask: group.everyone(), own: 0, other: 0 });
                }
            }
        }
        self.ensemble.attribution(self.base_value, rows, attributions)
    }
}

impl Group {
    fn new(ensemble: &TreeEnsemble, background: &Matrix, start: usize, shares: &[f64]) -> Self {
        let mask = |tree: &Tree| {
            let goes = |node: &Node| {
                if node.is_leaf() {
                    return 0;
                }
                let bit = |place: usize| u64::from(node.goes_left(background.row(start + place))) << place;
                (0..shares.len()).map(bit).sum()
            };
            tree.nodes.iter().map(goes).collect()
        };
        let first = shares.first().copied();
        Self {
            shares: shares.to_vec(),
            common: first.filter(|&first| shares.iter().all(|share| share.to_bits() == first.to_bits())),
            left: ensemble.trees.iter().map(mask).collect(),
        }
    }

    fn everyone(&self) -> u64 {
        u64::MAX >> (GROUP - self.shares.len())
    }

    fn share(&self, mut mask: u64) -> f64 {
        if let Some(common) = self.common {
            return common * f64::from(mask.count_ones());
        }
        let mut sum = 0.0;
        while mask != 0 {
            sum += self.shares[mask.trailing_zeros() as usize];
            mask &= mask - 1;
        }
        sum
    }
}

/// Whose value a feature has on the way to a node, where the two rows went apart.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Own,
    Other,
}

/// A node with the background rows that come there, and how many features have which side.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    mask: u64,
    own: usize,
    other: usize,
}

struct Walk<'a> {
    tree: &'a Tree,
    row: &'a [f64],
    left: &'a [u64],
    group: &'a Group,
    weights: &'a Weights,
    sides: &'a mut [Option<Side>],
    sums: &'a mut [f64],
}

impl Walk<'_> {
    /// What the leaves below give each feature of the own side, and of the other.
    fn visit(&mut self, place: Place) -> [f64; 2] {
        let Place { at, mask, own, other } = place;
        if mask == 0 {
            return [0.0; 2];
        }
        let node = &self.tree.nodes[at];
        if node.is_leaf() {
            let value = node.value * self.group.share(mask);
            return [value * self.weights.of(own, other), -value * self.weights.of(other, own)];
        }
        let (left, right) = (at + 1, node.right as usize);
        let goes_left = self.left[at];
        let feature = node.feature as usize;
        let (own_child, same) = if node.goes_left(self.row) { (left, goes_left) } else { (right, !goes_left) };
        match self.sides[feature] {
            Some(Side::Own) => self.visit(Place { at: own_child, ..place }),
            Some(Side::Other) => {
                let a = self.visit(Place { at: left, mask: mask & goes_left, ..place });
                let b = self.visit(Place { at: right, mask: mask & !goes_left, ..place });
                [a[0] + b[0], a[1] + b[1]]
            }
            None => {
                let apart = mask & !same;
                let together = self.visit(Place { at: own_child, mask: mask & same, ..place });
                if apart == 0 {
                    return together;
                }
                self.sides[feature] = Some(Side::Own);
                let mine = self.visit(Place { at: own_child, mask: apart, own: own + 1, other });
                self.sides[feature] = Some(Side::Other);
                let theirs = self.visit(Place { at: left + right - own_child, mask: apart, own, other: other + 1 });
                self.sides[feature] = None;
                self.sums[feature] += mine[0] + theirs[1];
                [together[0] + mine[0] + theirs[0], together[1] + mine[1] + theirs[1]]
            }
        }
    }
}

/// `(u - 1)! v! / (u + v)!`, which is 1 / (u C(u + v, u)); zero when `u` is zero.
#[derive(Debug)]
struct Weights(Vec<f64>);

/// Up to so many features on each side the weights are tabled.
const TABLED: usize = 32;

impl Default for Weights {
    fn default() -> Self {
        Self((0..TABLED * TABLED).map(|at| weight(at / TABLED, at % TABLED)).collect())
    }
}

impl Weights {
    fn of(&self, u: usize, v: usize) -> f64 {
        if u < TABLED && v < TABLED { self.0[u * TABLED + v] } else { weight(u, v) }
    }
}

fn weight(u: usize, v: usize) -> f64 {
    if u == 0 {
        return 0.0;
    }
    // C(u + v, u) as a product, smaller side first.
    let (few, many) = (u.min(v), u.max(v));
    let binomial = (1..=few).fold(1.0, |binomial, k| binomial * (many + k) as f64 / k as f64);
    1.0 / (u as f64 * binomial)
}

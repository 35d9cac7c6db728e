//! Trees of any origin, as arrays by node.
//!
//! Invariant: nodes of a tree lie in preorder, so that children come after their parents and every
//! walk ends; features are below the width of a row; numbers are finite. Covers are how many (or
//! how heavy) rows of a sample came by: they say which way an average row would go.

#![allow(clippy::indexing_slicing, reason = "indices were checked when the ensemble was made, rows by width")]

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{explain::attribution::Attribution, preprocess::Matrix};

/// How far sums of contributions may be from the prediction, relative to the largest term.
const TOLERANCE: f64 = 1e-9;

/// Splits above each other at most; guards the stack of recursive walks.
const DEPTH_MAX: usize = 1_000;

/// One tree as parallel arrays by node, the root first: the layout of scikit-learn's `tree_` and
/// of dumps of other libraries.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TreeArrays {
    /// Where values up to the threshold go; negative in a leaf.
    pub left: Vec<i64>,
    /// Where larger values go; negative in a leaf.
    pub right: Vec<i64>,
    /// Which number of the row decides; anything in a leaf.
    pub feature: Vec<i64>,
    /// What it is compared with; anything in a leaf.
    pub threshold: Vec<f64>,
    /// What a leaf adds to the score; anything elsewhere.
    pub value: Vec<f64>,
    /// Weight of the rows that came by when the tree was grown; empty when that is not known.
    #[serde(default)]
    pub cover: Vec<f64>,
    /// Whether missing values (NaN) go left; empty: they go right.
    #[serde(default)]
    pub missing_left: Vec<bool>,
}

/// One node of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    /// Of an inner node; values up to it go left.
    pub(super) threshold: f64,
    /// Of a leaf.
    pub(super) value: f64,
    pub(super) cover: f64,
    /// The left child follows its parent; zero marks a leaf, for no node has the root as its child.
    pub(super) right: u32,
    pub(super) feature: u32,
    pub(super) missing_left: bool,
}

impl Node {
    pub(super) fn is_leaf(&self) -> bool {
        self.right == 0
    }

    pub(super) fn goes_left(&self, row: &[f64]) -> bool {
        let value = row[self.feature as usize];
        if value.is_nan() { self.missing_left } else { value <= self.threshold }
    }
}

/// Nodes in preorder.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

/// Trees whose leaves add up to a score.
///
/// ```
/// use mlops_train::{Matrix, explain::{TreeArrays, TreeEnsemble}};
///
/// let stump = TreeArrays {
///     left: vec![1, -1, -1],
///     right: vec![2, -1, -1],
///     feature: vec![0, -1, -1],
///     threshold: vec![0.5, 0.0, 0.0],
///     value: vec![0.0, -1.0, 3.0],
///     cover: vec![4.0, 3.0, 1.0],
///     ..TreeArrays::default()
/// };
/// let ensemble = TreeEnsemble::sum(1, 10.0, &[stump])?;
/// assert_eq!(ensemble.predict(&Matrix::new(1, vec![0.5, 0.6])?)?, [9.0, 13.0]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TreeEnsemble {
    pub(super) names: Vec<String>,
    pub(super) base: f64,
    pub(super) trees: Vec<Tree>,
}

impl TreeEnsemble {
    /// Trees over rows of `features` numbers whose scores are added to `base`, as boosting does.
    ///
    /// # Errors
    /// `InvalidArgument` naming the tree and what is wrong with it: arrays of different lengths,
    /// a child that does not exist or has two parents, a feature that is not below `features`, a
    /// number that is not finite, a negative cover, more than 1,000 splits above each other.
    pub fn sum(features: usize, base: f64, trees: &[TreeArrays]) -> Result<Self> {
        Self::scaled(features, base, trees, 1.0)
    }

    /// Trees whose scores are averaged, as forests do.
    ///
    /// # Errors
    /// As [`TreeEnsemble::sum`].
    pub fn mean(features: usize, trees: &[TreeArrays]) -> Result<Self> {
        Self::scaled(features, 0.0, trees, trees.len().max(1) as f64)
    }

    fn scaled(features: usize, base: f64, trees: &[TreeArrays], divisor: f64) -> Result<Self> {
        if !base.is_finite() || u32::try_from(features).is_err() {
            return Err(Error::invalid_argument(
                "the base score of trees must be finite, and features fewer than 2^32",
            ));
        }
        let read = |(index, arrays): (usize, &TreeArrays)| {
            let fault = |fault: String| Error::invalid_argument(format!("tree {index}: {fault}"));
            Tree::read(arrays, features, divisor).map_err(fault)
        };
        let trees = trees.iter().enumerate().map(read).collect::<Result<_>>()?;
        Ok(Self { names: (0..features).map(|feature| format!("x{feature}")).collect(), base, trees })
    }

    /// Names the numbers of a row, instead of `x0`, `x1`...
    ///
    /// # Errors
    /// `InvalidArgument` when there are not as many names as numbers.
    pub fn with_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.len() != self.names.len() {
            let (found, width) = (names.len(), self.names.len());
            return Err(Error::invalid_argument(format!("rows of {width} numbers need as many names, found {found}")));
        }
        self.names = names;
        Ok(self)
    }

    /// Counts covers anew: how many of `rows` come by each node.
    ///
    /// # Errors
    /// `InvalidArgument` for no rows or rows of another width.
    pub fn with_covers_of(mut self, rows: &Matrix) -> Result<Self> {
        self.check_rows(rows)?;
        if rows.rows() == 0 {
            return Err(Error::invalid_argument("covers of trees need at least one row"));
        }
        for tree in &mut self.trees {
            tree.nodes.iter_mut().for_each(|node| node.cover = 0.0);
            for row in 0..rows.rows() {
                tree.walk(rows.row(row), |node| node.cover += 1.0);
            }
        }
        Ok(self)
    }

    /// Numbers per row.
    #[must_use]
    pub fn features(&self) -> usize {
        self.names.len()
    }

    /// How many trees.
    #[must_use]
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// The contributions to the scores of rows, once they add up.
    ///
    /// # Errors
    /// As [`TreeEnsemble::predict`]; `Internal` when they do not add up.
    pub(super) fn attribution(&self, base_value: f64, rows: &Matrix, attributions: Vec<f64>) -> Result<Attribution> {
        let (features, predictions) = (self.names.clone(), self.predict(rows)?);
        let attribution = Attribution { features, base_value, predictions, attributions };
        attribution.check_additivity(TOLERANCE)?;
        Ok(attribution)
    }

    /// The score of every row: the base, then tree after tree.
    ///
    /// # Errors
    /// `InvalidArgument` for rows of another width.
    pub fn predict(&self, rows: &Matrix) -> Result<Vec<f64>> {
        self.check_rows(rows)?;
        Ok((0..rows.rows()).map(|row| self.score(rows.row(row))).collect())
    }

    pub(super) fn score(&self, row: &[f64]) -> f64 {
        self.trees.iter().fold(self.base, |sum, tree| sum + tree.nodes[tree.leaf(row)].value)
    }

    pub(super) fn check_rows(&self, rows: &Matrix) -> Result<()> {
        if rows.columns() == self.features() {
            return Ok(());
        }
        let (expected, found) = (self.features(), rows.columns());
        Err(Error::invalid_argument(format!("trees read rows of {expected} numbers, found {found}")))
    }

    /// Share of the squared error that splits on each feature took away when the trees were grown,
    /// averaged over trees (mean decrease in impurity): `n_l n_r / (n_l + n_r) (v_l - v_r)^2` for a
    /// split into sides of covers `n` and mean values `v`. All zero without any split. Features of
    /// many values look better than they are: prefer importance on held-out rows.
    #[must_use]
    pub fn impurity_importance(&self) -> Vec<f64> {
        let mut total = vec![0.0; self.features()];
        for tree in &self.trees {
            let decreases = tree.decreases(self.features());
            let sum: f64 = decreases.iter().sum();
            if sum > 0.0 {
                total.iter_mut().zip(&decreases).for_each(|(total, decrease)| *total += decrease / sum);
            }
        }
        let sum: f64 = total.iter().sum();
        total.iter().map(|total| if sum > 0.0 { total / sum } else { 0.0 }).collect()
    }
}

impl Tree {
    /// Renumbers the nodes that the root reaches.
    fn read(arrays: &TreeArrays, features: usize, divisor: f64) -> Result<Self, String> {
        let count = arrays.left.len();
        let lengths = [arrays.right.len(), arrays.feature.len(), arrays.threshold.len(), arrays.value.len()];
        let optional = [arrays.cover.len(), arrays.missing_left.len()];
        if count == 0 || lengths.iter().any(|&length| length != count) {
            return Err(format!("arrays must have one length above 0, found {count} and {lengths:?}"));
        }
        if optional.iter().any(|&length| length != 0 && length != count) || u32::try_from(count).is_err() {
            return Err(format!("cover and missing_left must be empty or of length {count}, found {optional:?}"));
        }
        let mut nodes: Vec<Node> = Vec::with_capacity(count);
        let mut visited = vec![false; count];
        // What to visit, with the parent to whose right it lies, and its depth.
        let mut pending = vec![(0_usize, None::<usize>, 0_usize)];
        while let Some((at, right_of, depth)) = pending.pop() {
            if std::mem::replace(&mut visited[at], true) || depth > DEPTH_MAX {
                return Err(format!("node {at} has two parents or more than {DEPTH_MAX} splits above it"));
            }
            if let Some(parent) = right_of {
                nodes[parent].right = nodes.len() as u32;
            }
            let node = read_node(arrays, at, features, divisor)?;
            if let Some((left, right)) = children(arrays, at)? {
                pending.push((right, Some(nodes.len()), depth + 1));
                pending.push((left, None, depth + 1));
            }
            nodes.push(node);
        }
        Ok(Self { nodes })
    }

    /// Calls `visit` on every node from the root to the row's leaf.
    fn walk(&mut self, row: &[f64], mut visit: impl FnMut(&mut Node)) {
        let mut at = 0;
        loop {
            let node = &mut self.nodes[at];
            visit(node);
            if node.is_leaf() {
                return;
            }
            at = if node.goes_left(row) { at + 1 } else { node.right as usize };
        }
    }

    pub(super) fn leaf(&self, row: &[f64]) -> usize {
        let mut at = 0;
        loop {
            let node = &self.nodes[at];
            if node.is_leaf() {
                return at;
            }
            at = if node.goes_left(row) { at + 1 } else { node.right as usize };
        }
    }

    /// Shares of a node's rows that go left and right; halves where none came by.
    pub(super) fn shares(&self, at: usize) -> [f64; 2] {
        let covers = [self.nodes[at + 1].cover, self.nodes[self.nodes[at].right as usize].cover];
        let total = covers[0] + covers[1];
        if total > 0.0 { covers.map(|cover| cover / total) } else { [0.5, 0.5] }
    }

    /// The mean value below every node, by covers.
    pub(super) fn means(&self) -> Vec<f64> {
        let mut means = vec![0.0; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate().rev() {
            means[at] = if node.is_leaf() {
                node.value
            } else {
                let [left, right] = self.shares(at);
                left * means[at + 1] + right * means[node.right as usize]
            };
        }
        means
    }

    fn decreases(&self, features: usize) -> Vec<f64> {
        let means = self.means();
        let mut decreases = vec![0.0; features];
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| !node.is_leaf()) {
            let (left, right) = (at + 1, node.right as usize);
            let (left_cover, right_cover) = (self.nodes[left].cover, self.nodes[right].cover);
            if left_cover + right_cover > 0.0 {
                let weight = left_cover * right_cover / (left_cover + right_cover);
                decreases[node.feature as usize] += weight * (means[left] - means[right]).powi(2);
            }
        }
        decreases
    }
}

/// The children of a node, none of a leaf.
fn children(arrays: &TreeArrays, at: usize) -> Result<Option<(usize, usize)>, String> {
    let (left, right) = (arrays.left[at], arrays.right[at]);
    if left < 0 && right < 0 {
        return Ok(None);
    }
    let place = |child: i64| usize::try_from(child).ok().filter(|&child| child < arrays.left.len());
    match (place(left), place(right)) {
        (Some(left), Some(right)) => Ok(Some((left, right))),
        _ => Err(format!("node {at} has children {left} and {right} of {} nodes", arrays.left.len())),
    }
}

fn read_node(arrays: &TreeArrays, at: usize, features: usize, divisor: f64) -> Result<Node, String> {
    let inner = arrays.left[at] >= 0;
    let feature = u32::try_from(arrays.feature[at]).ok().filter(|&feature| (feature as usize) < features);
    let (threshold, value) = (arrays.threshold[at], arrays.value[at] / divisor);
    let cover = arrays.cover.get(at).copied().unwrap_or(0.0);
    // A threshold may be infinite: everything goes one way.
    if (inner && threshold.is_nan()) || (!inner && !value.is_finite()) || !cover.is_finite() || cover < 0.0 {
        return Err(format!("node {at} has threshold {threshold}, value {value} and cover {cover}"));
    }
    let feature = match feature {
        Some(feature) if inner => feature,
        None if inner => return Err(format!("node {at} splits on feature {} of {features}", arrays.feature[at])),
        _ => 0,
    };
    let missing_left = arrays.missing_left.get(at).copied().unwrap_or(false);
    Ok(Node { threshold, value: if inner { 0.0 } else { value }, cover, right: 0, feature, missing_left })
}

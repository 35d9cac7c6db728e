//! TreeSHAP with the shares of the training rows as the background.
//!
//! What a tree says when only the features in `S` are known: at a split on a known feature the row
//! decides, else both sides count by their covers (Lundberg et al. 2020, "From local explanations
//! to global understanding with explainable AI for trees"). For one leaf of value `v` that is
//! `v` times a product over the features on its path, of `o_j` (1 when the row satisfies all their
//! splits there, else 0) if known and `z_j` (the product of the shares) if not. The Shapley value of
//! feature `i` in such a product is Owen's integral (1972, "Multilinear extensions of games")
//!
//! `v (o_i - z_i) integral over t in [0, 1] of prod over j != i of (t o_j + (1 - t) z_j)`,
//!
//! a polynomial of a degree below the number of features on the path, which Gauss and Legendre's
//! rule integrates exactly. Summing products at the points of the rule up the tree, as Yu et al.
//! 2022 ("Linear TreeShap") sum polynomials, costs one visit per node and four points; unlike
//! polynomials, products of positive numbers at points lose no digits.
//!
//! Everything but `o` depends on the tree alone and is tabled once.

#![allow(
    clippy::indexing_slicing,
    reason = "edges point within their tree, features within the row: checked in TreeEnsemble"
)]
#![allow(clippy::needless_range_loop, reason = "lanes of several arrays run side by side")]

use mlops_core::Result;

use super::ensemble::{Tree, TreeEnsemble};
use crate::{
    explain::{attribution::Attribution, quadrature::gauss_legendre},
    preprocess::Matrix,
};

/// Points of the rule that are computed at once.
const LANES: usize = 4;

type Lanes = [f64; LANES];

/// Rows that pass one tree before the next is brought into cache.
const BLOCK_ROWS: usize = 32;

/// Explains trees by the rows they were grown on, through their covers.
///
/// ```
/// use mlops_train::{Matrix, explain::{PathDependentTreeShap, TreeArrays, TreeEnsemble}};
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
/// let explainer = PathDependentTreeShap::new(&TreeEnsemble::sum(1, 10.0, &[stump])?);
/// let explained = explainer.explain(&Matrix::new(1, vec![0.7])?)?;
/// assert_eq!(explained.base_value, 10.0);
/// assert!((explained.attributions[0] - 3.0).abs() < 1e-12);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug)]
pub struct PathDependentTreeShap {
    ensemble: TreeEnsemble,
    base_value: f64,
    tables: Vec<Table>,
}

/// One tree at four points of the rule that integrates it.
#[derive(Debug)]
struct Table {
    weights: Lanes,
    edges: Vec<Edge>,
}

/// The way from a parent to a node; the edges of a tree lie in the order of their lower nodes,
/// without the root.
#[derive(Debug)]
struct Edge {
    threshold: f64,
    /// Of the leaf below; 0 above inner nodes.
    value: f64,
    feature: u32,
    /// The edge above, plus one; zero is the root.
    parent: u32,
    /// The nearest edge above that decides by the same feature, plus one; zero if there is none.
    same_feature: u32,
    /// Whether values up to the threshold pass, and whether missing ones do.
    takes_left: bool,
    takes_missing: bool,
    /// What the product is multiplied by when the row satisfies neither this edge nor the one above
    /// of the same feature, only that one, or both.
    factors: [Lanes; 3],
    /// `(o - z) / (t o + (1 - t) z)` for `o` 0 and 1.
    gains: [Lanes; 2],
}

impl PathDependentTreeShap {
    /// Prepares tables. Without covers both sides of every split count the same.
    #[must_use]
    pub fn new(ensemble: &TreeEnsemble) -> Self {
        let mean = |tree: &Tree| tree.means().first().copied().unwrap_or(0.0);
        Self {
            base_value: ensemble.trees.iter().fold(ensemble.base, |sum, tree| sum + mean(tree)),
            tables: ensemble.trees.iter().flat_map(tables).collect(),
            ensemble: ensemble.clone(),
        }
    }

    /// Contributions of the numbers of rows to their raw scores.
    ///
    /// # Errors
    /// `InvalidArgument` for rows of another width; `Internal` when contributions do not sum up.
    pub fn explain(&self, rows: &Matrix) -> Result<Attribution> {
        self.ensemble.check_rows(rows)?;
        let features = self.ensemble.features();
        let mut attributions = Vec::with_capacity(rows.rows() * features);
        let mut sums = vec![[0.0; LANES]; BLOCK_ROWS * features];
        let mut scratch = Scratch::default();
        for start in (0..rows.rows()).step_by(BLOCK_ROWS) {
            let block = start..rows.rows().min(start + BLOCK_ROWS);
            sums.fill([0.0; LANES]);
            for table in &self.tables {
                for (row, sums) in block.clone().zip(sums.chunks_exact_mut(features.max(1))) {
                    scratch.add(table, rows.row(row), sums);
                }
            }
            attributions.extend(sums[..block.len() * features].iter().map(|lanes| lanes.iter().sum::<f64>()));
        }
        self.ensemble.attribution(self.base_value, rows, attributions)
    }
}

/// What is known of the edges of one tree for one row.
#[derive(Debug, Default)]
struct Scratch {
    /// Whether the row satisfies the edge and all above it of the same feature; first of the root.
    satisfied: Vec<bool>,
    /// The product down to the node, first of the root.
    products: Vec<Lanes>,
    /// Sums of the leaves below.
    below: Vec<Lanes>,
}

impl Scratch {
    /// Adds the contributions of one tree, by lane.
    fn add(&mut self, table: &Table, row: &[f64], sums: &mut [Lanes]) {
        let nodes = table.edges.len() + 1;
        self.satisfied.resize(nodes.max(self.satisfied.len()), true);
        self.products.resize(nodes.max(self.products.len()), [0.0; LANES]);
        self.below.resize(nodes.max(self.below.len()), [0.0; LANES]);
        let (satisfied, products, below) =
            (&mut self.satisfied[..nodes], &mut self.products[..nodes], &mut self.below[..nodes]);
        satisfied[0] = true;
        products[0] = table.weights;
        for (edge, at) in table.edges.iter().zip(1..) {
            let value = row[edge.feature as usize];
            let passes = if value.is_nan() { edge.takes_missing } else { (value <= edge.threshold) == edge.takes_left };
            let above = satisfied[edge.same_feature as usize];
            let passes = passes && above;
            satisfied[at] = passes;
            let (parent, factor) =
                (products[edge.parent as usize], &edge.factors[usize::from(passes) + usize::from(above)]);
            for lane in 0..LANES {
                products[at][lane] = parent[lane] * factor[lane];
                below[at][lane] = products[at][lane] * edge.value;
            }
        }
        for (edge, at) in table.edges.iter().zip(1..nodes).rev() {
            let sum = below[at];
            let mut gain = edge.gains[usize::from(satisfied[at])];
            if edge.same_feature != 0 {
                let above = &table.edges[edge.same_feature as usize - 1];
                let counted = above.gains[usize::from(satisfied[edge.same_feature as usize])];
                (0..LANES).for_each(|lane| gain[lane] -= counted[lane]);
            }
            let (total, parent) = (&mut sums[edge.feature as usize], &mut below[edge.parent as usize]);
            for lane in 0..LANES {
                total[lane] += sum[lane] * gain[lane];
                parent[lane] += sum[lane];
            }
        }
    }
}

/// The tables of one tree, one for each four points that its longest path needs.
fn tables(tree: &Tree) -> Vec<Table> {
    let paths = Paths::of(tree);
    let points = paths.features_max.div_ceil(2).next_multiple_of(LANES);
    let rule = gauss_legendre(points);
    let (rules, _) = rule.as_chunks::<LANES>();
    rules
        .iter()
        .map(|rule| Table {
            weights: rule.map(|(_, weight)| weight),
            edges: (1..tree.nodes.len()).map(|at| paths.edge(tree, at, &rule.map(|(point, _)| point))).collect(),
        })
        .collect()
}

/// Where the nodes of a tree come from.
struct Paths {
    parents: Vec<u32>,
    /// The nearest node above, or the node itself, whose parent splits on the feature that leads
    /// here before; zero if there is none.
    same_feature: Vec<u32>,
    /// The product of the shares of all edges of the same feature down to here.
    shares: Vec<f64>,
    /// The most different features on one path.
    features_max: usize,
}

impl Paths {
    fn of(tree: &Tree) -> Self {
        let count = tree.nodes.len();
        let mut paths =
            Self { parents: vec![0; count], same_feature: vec![0; count], shares: vec![1.0; count], features_max: 0 };
        let mut distinct = vec![0_usize; count];
        for (at, node) in tree.nodes.iter().enumerate().filter(|(_, node)| !node.is_leaf()) {
            let same = paths.last_with(tree, at, node.feature);
            let merged = if same == 0 { 1.0 } else { paths.shares[same as usize] };
            for (child, share) in [at + 1, node.right as usize].into_iter().zip(tree.shares(at)) {
                paths.parents[child] = at as u32;
                paths.same_feature[child] = same;
                paths.shares[child] = share * merged;
                distinct[child] = distinct[at] + usize::from(same == 0);
                paths.features_max = paths.features_max.max(distinct[child]);
            }
        }
        paths
    }

    /// The lowest node from `at` upwards that its parent's split on `feature` leads to; else zero.
    fn last_with(&self, tree: &Tree, mut at: usize, feature: u32) -> u32 {
        while at != 0 {
            let parent = self.parents[at] as usize;
            if tree.nodes[parent].feature == feature {
                return at as u32;
            }
            at = parent;
        }
        0
    }

    fn edge(&self, tree: &Tree, at: usize, points: &Lanes) -> Edge {
        let parent = &tree.nodes[self.parents[at] as usize];
        let takes_left = self.parents[at] as usize + 1 == at;
        let (share, same) = (self.shares[at], self.same_feature[at]);
        let known = points.map(|t| t + (1.0 - t) * share);
        let unknown = points.map(|t| (1.0 - t) * share);
        let factors = if same == 0 {
            [[0.0; LANES], unknown, known]
        } else {
            let above = self.shares[same as usize];
            let known_above = points.map(|t| t + (1.0 - t) * above);
            let ratio = if above > 0.0 { share / above } else { 0.0 };
            [[ratio; LANES], quotient(&unknown, &known_above), quotient(&known, &known_above)]
        };
        let gains = [points.map(|t| -1.0 / (1.0 - t)), known.map(|known| (1.0 - share) / known)];
        Edge {
            threshold: parent.threshold,
            value: tree.nodes[at].value,
            feature: parent.feature,
            parent: self.parents[at],
            same_feature: same,
            takes_left,
            takes_missing: takes_left == parent.missing_left,
            factors,
            gains,
        }
    }
}

fn quotient(dividends: &Lanes, divisors: &Lanes) -> Lanes {
    std::array::from_fn(|lane| dividends[lane] / divisors[lane])
}

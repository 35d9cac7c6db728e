//! Growing one tree: the leaf whose best split gains most is split next.
//!
//! Invariant: the rows of a node are one ascending range of `rows`, parted stably, so that sums
//! are always added in row order.

#![allow(clippy::indexing_slicing, reason = "ranges and bins come from the table and the partition itself")]

use std::ops::Range;

use super::{
    bins::{BinnedTable, MISSING},
    forest::{LEAF, Node},
    histogram::{Histogram, Limits, Split, Sums},
    loss::Derivatives,
    packed::PackedBins,
};

/// One tree, and what splitting on each feature gained.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    /// The bin up to which an inner node goes left, by node.
    bins: Vec<u8>,
    /// Row ranges of the leaves: (node, range of the grown row list).
    pub(crate) leaves: Vec<(u32, Range<usize>)>,
}

impl Tree {
    /// The contribution to a row of the table it was grown on.
    pub(crate) fn value(&self, table: &BinnedTable, row: u32) -> f64 {
        let mut at = 0;
        loop {
            let node = self.nodes[at];
            if node.feature == LEAF {
                return node.value;
            }
            let bin = table.feature(usize::from(node.feature))[row as usize];
            let left = if bin == MISSING { node.missing_left } else { bin <= self.bins[at] };
            at = node.left as usize + usize::from(!left);
        }
    }
}

/// A leaf that can still be split.
struct Candidate {
    node: usize,
    depth: usize,
    range: Range<usize>,
    total: Sums,
    split: Split,
    histogram: Histogram,
}

/// What a tree grows from.
pub(crate) struct Grower<'a> {
    pub(crate) table: &'a BinnedTable,
    pub(crate) limits: Limits<'a>,
    pub(crate) derivatives: &'a [Derivatives],
    /// The bins of the features that this tree sees.
    pub(crate) packed: &'a PackedBins,
    /// Gain per feature, added to.
    pub(crate) gains: &'a mut [f64],
    /// Histograms to be used again.
    pub(crate) spare: &'a mut Vec<Histogram>,
}

impl Grower<'_> {
    /// Grows a tree over `rows`, which are reordered by leaf.
    pub(crate) fn grow(&mut self, rows: &mut [u32]) -> Tree {
        let mut tree = Tree::default();
        let mut candidates = Vec::new();
        let mut scratch = Vec::with_capacity(rows.len());
        let histogram = self.histogram(rows);
        let total = self.total(rows);
        push_node(&mut tree);
        self.consider(&mut tree, &mut candidates, Leaf { node: 0, depth: 0, range: 0..rows.len(), total }, histogram);
        let mut leaves = 1;
        while leaves < self.limits.settings.max_leaves {
            let Some(best) = best_candidate(&candidates) else { break };
            let candidate = candidates.swap_remove(best);
            self.split(&mut tree, &mut candidates, candidate, rows, &mut scratch);
            leaves += 1;
        }
        for candidate in candidates {
            tree.leaves.push((candidate.node as u32, candidate.range));
            self.close(&mut tree, candidate.node, candidate.total);
            self.spare.push(candidate.histogram);
        }
        tree
    }

    fn total(&self, rows: &[u32]) -> Sums {
        let mut total = Sums { rows: rows.len() as u32, ..Sums::default() };
        for &row in rows {
            total.gradient += self.derivatives[row as usize].gradient;
            total.curvature += self.derivatives[row as usize].curvature;
        }
        total
    }

    fn histogram(&mut self, rows: &[u32]) -> Histogram {
        let gathered: Vec<Derivatives> = rows.iter().map(|&row| self.derivatives[row as usize]).collect();
        let mut histogram = self.spare.pop().unwrap_or_else(|| Histogram::zeros(self.packed));
        histogram.fill(self.packed, rows, &gathered);
        histogram
    }

    /// Keeps a leaf for splitting if it can be split, else closes it.
    fn consider(&mut self, tree: &mut Tree, candidates: &mut Vec<Candidate>, leaf: Leaf, histogram: Histogram) {
        let Leaf { node, depth, range, total } = leaf;
        let split = match depth < self.limits.settings.max_depth {
            true => histogram.best_split(self.packed, total, &self.limits),
            false => None,
        };
        if let Some(split) = split {
            candidates.push(Candidate { node, depth, range, total, split, histogram });
            return;
        }
        self.spare.push(histogram);
        tree.leaves.push((node as u32, range));
        self.close(tree, node, total);
    }

    fn close(&self, tree: &mut Tree, node: usize, total: Sums) {
        tree.nodes[node].value = self.limits.settings.learning_rate * total.leaf_value(self.limits.settings.lambda);
    }

    fn split(
        &mut self,
        tree: &mut Tree,
        candidates: &mut Vec<Candidate>,
        candidate: Candidate,
        rows: &mut [u32],
        scratch: &mut Vec<u32>,
    ) {
        let Candidate { node, depth, range, total, split, histogram: mut larger } = candidate;
        self.gains[split.feature] += split.gain;
        let left_node = push_node(tree);
        let right_node = push_node(tree);
        tree.nodes[node] = Node {
            value: self.table.threshold(split.feature, split.bin),
            left: left_node as u32,
            feature: split.feature as u16,
            missing_left: split.missing_left,
        };
        tree.bins[node] = split.bin;
        let middle = range.start + part(self.table, &split, &mut rows[range.clone()], scratch);
        let right = total.less(split.left);
        let left = Leaf { node: left_node, depth: depth + 1, range: range.start..middle, total: split.left };
        let right = Leaf { node: right_node, depth: depth + 1, range: middle..range.end, total: right };
        let left_smaller = left.range.len() <= right.range.len();
        let (small, large) = if left_smaller { (left, right) } else { (right, left) };
        if depth + 1 == self.limits.settings.max_depth {
            self.spare.push(larger);
            for leaf in [small, large] {
                self.close(tree, leaf.node, leaf.total);
                tree.leaves.push((leaf.node as u32, leaf.range));
            }
            return;
        }
        let smaller = self.histogram(&rows[small.range.clone()]);
        larger.subtract(self.packed, &smaller);
        self.consider(tree, candidates, small, smaller);
        self.consider(tree, candidates, large, larger);
    }
}

struct Leaf {
    node: usize,
    depth: usize,
    range: Range<usize>,
    total: Sums,
}

fn push_node(tree: &mut Tree) -> usize {
    tree.nodes.push(Node { value: 0.0, left: 0, feature: LEAF, missing_left: false });
    tree.bins.push(MISSING);
    tree.nodes.len() - 1
}

/// The candidate with the largest gain; of equal ones the oldest node.
fn best_candidate(candidates: &[Candidate]) -> Option<usize> {
    let better = |a: &Candidate, b: &Candidate| a.split.gain.total_cmp(&b.split.gain).then(b.node.cmp(&a.node));
    (0..candidates.len()).max_by(|&a, &b| better(&candidates[a], &candidates[b]))
}

/// Moves the rows that go left to the front, both sides in their former order; gives their count.
///
/// Each row is written to both sides and one of them keeps it: which side it is cannot be guessed, and
/// a wrong guess would cost more.
fn part(table: &BinnedTable, split: &Split, rows: &mut [u32], scratch: &mut Vec<u32>) -> usize {
    let bins = table.feature(split.feature);
    scratch.resize(rows.len(), 0);
    let (mut left, mut right) = (0, 0);
    for index in 0..rows.len() {
        let row = rows[index];
        let bin = bins[row as usize];
        let goes_left = ((bin <= split.bin) & (bin != MISSING)) | (split.missing_left & (bin == MISSING));
        rows[left] = row;
        scratch[right] = row;
        left += usize::from(goes_left);
        right += usize::from(!goes_left);
    }
    rows[left..].copy_from_slice(&scratch[..right]);
    left
}

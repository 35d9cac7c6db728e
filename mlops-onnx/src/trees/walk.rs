//! Following paths: for trees too large to compare everything, and for single rows.
//!
//! Every comparison is brought to the form `x <= threshold`; a leaf is a step that leads to itself and keeps its value
//! where others keep the threshold. So a step is a load, a comparison and a choice, without a branch that depends on
//! data, and a fixed number of paths advance together: their loads overlap, which is where the time goes.

use std::collections::HashMap;

use mlops_core::{Error, Result};

use super::{
    forest::{Child, Compare, Forest},
    real::Real,
};

/// Paths that advance together.
pub(super) const PATHS: usize = 8;
/// Set in `feature`: a missing value passes.
const MISSING_PASSES: u32 = 1 << 31;

/// One step of a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<T> {
    threshold: T,
    feature: u32,
    pass: u32,
    fail: u32,
}

/// Steps of all trees in one array, each tree breadth first.
#[derive(Debug)]
pub(super) struct Walk<T> {
    steps: Vec<Step<T>>,
    /// For each step, the leaf it stands for.
    leaves: Vec<u32>,
    /// Longest path of each tree, in steps.
    depths: Vec<u32>,
    roots: Vec<u32>,
}

impl<T: Real> Walk<T> {
    /// Lays out every tree of the forest. `leaf_value` is what a path ends with.
    ///
    /// # Errors
    /// `ResourceExhausted` beyond `steps_max`.
    pub(super) fn new(
        forest: &Forest,
        column_of: impl Fn(u32) -> u32,
        leaf_value: impl Fn(u32) -> T,
        steps_max: usize,
    ) -> Result<Self> {
        let mut walk = Self { steps: Vec::new(), leaves: Vec::new(), depths: Vec::new(), roots: Vec::new() };
        for &root in &forest.roots {
            walk.add_tree(forest, root, &column_of, &leaf_value, steps_max)?;
        }
        Ok(walk)
    }

    fn add_tree(
        &mut self,
        forest: &Forest,
        root: Child,
        column_of: &impl Fn(u32) -> u32,
        leaf_value: &impl Fn(u32) -> T,
        steps_max: usize,
    ) -> Result<()> {
        let first = self.steps.len();
        self.roots.push(u32::try_from(first).map_err(|_| too_many(steps_max))?);
        let mut places: HashMap<Item, u32> = HashMap::new();
        let mut queue = Vec::new();
        let mut place = |item: Item, queue: &mut Vec<Item>| -> Result<u32> {
            if let Some(&at) = places.get(&item) {
                return Ok(at);
            }
            let at = first + queue.len();
            if at >= steps_max.min(u32::MAX as usize) {
                return Err(too_many(steps_max));
            }
            let at = u32::try_from(at).map_err(|_| too_many(steps_max))?;
            queue.push(item);
            places.insert(item, at);
            Ok(at)
        };
        place(Item::of(root), &mut queue)?;
        let mut next = 0;
        while let Some(&item) = queue.get(next) {
            let itself = u32::try_from(first + next).map_err(|_| too_many(steps_max))?;
            next += 1;
            let (step, leaf) = match item {
                Item::Leaf(leaf) => {
                    (Step { threshold: leaf_value(leaf), feature: 0, pass: itself, fail: itself }, leaf)
                }
                Item::Branch(index) | Item::Below(index) => {
                    let branch = forest.branch(index)?;
                    let threshold = T::of_f64(branch.threshold);
                    let (pass, fail) = (Item::of(branch.pass), Item::of(branch.fail));
                    // `x == t` is `x <= t`, and then not `x <= below t`.
                    let (threshold, missing, pass, fail) = match (branch.compare, item) {
                        (_, Item::Below(_)) => (threshold.below(), false, fail, pass),
                        (Compare::LessOrEqual, _) => (threshold, branch.missing_passes, pass, fail),
                        (Compare::Less, _) => (threshold.below(), branch.missing_passes, pass, fail),
                        (Compare::Equal, _) => (threshold, branch.missing_passes, Item::Below(index), fail),
                    };
                    let flag = if missing { MISSING_PASSES } else { 0 };
                    let (pass, fail) = (place(pass, &mut queue)?, place(fail, &mut queue)?);
                    (Step { threshold, feature: column_of(branch.feature) | flag, pass, fail }, 0)
                }
            };
            self.steps.push(step);
            self.leaves.push(leaf);
        }
        self.depths.push(self.depth(first));
        Ok(())
    }

    /// The longest path from the tree's first step; children lie behind their parents except in shared subtrees, for
    /// which the number of steps is a safe bound.
    fn depth(&self, first: usize) -> u32 {
        let steps = self.steps.get(first..).unwrap_or_default();
        let mut depths = vec![0_u32; steps.len()];
        for (i, step) in steps.iter().enumerate() {
            let own = depths.get(i).copied().unwrap_or(0);
            for child in [step.pass, step.fail] {
                let child = (child as usize).saturating_sub(first);
                if child < i {
                    return u32::try_from(steps.len()).unwrap_or(u32::MAX);
                }
                if child > i
                    && let Some(depth) = depths.get_mut(child)
                {
                    *depth = (*depth).max(own + 1);
                }
            }
        }
        depths.into_iter().max().unwrap_or(0)
    }

    pub(super) fn trees(&self) -> usize {
        self.roots.len()
    }

    /// The steps of a tree.
    pub(super) fn tree_len(&self, tree: usize) -> usize {
        let first = |tree: usize| self.roots.get(tree).map_or(self.steps.len(), |&root| root as usize);
        first(tree + 1).saturating_sub(first(tree))
    }

    /// Longest path of a tree, in steps.
    pub(super) fn tree_depth(&self, tree: usize) -> usize {
        self.depths.get(tree).map_or(0, |&depth| depth as usize)
    }

    /// Leaf value and leaf number that a path ended at.
    #[inline(always)]
    pub(super) fn end(&self, at: u32) -> (T, u32) {
        let value = self.steps.get(at as usize).map_or_else(T::default, |step| step.threshold);
        (value, self.leaves.get(at as usize).copied().unwrap_or(0))
    }

    #[inline(always)]
    fn advance(&self, at: u32, value: impl Fn(usize) -> T) -> u32 {
        let Some(step) = self.steps.get(at as usize) else { return at };
        let x = value((step.feature & !MISSING_PASSES) as usize);
        let passes = (x <= step.threshold) | ((step.feature >= MISSING_PASSES) & x.missing());
        if passes { step.pass } else { step.fail }
    }

    /// Walks `PATHS` rows, given by `value(feature, row)`, down one tree.
    #[inline(always)]
    pub(super) fn rows(&self, tree: usize, value: impl Fn(usize, usize) -> T) -> [u32; PATHS] {
        let root = self.roots.get(tree).copied().unwrap_or(0);
        let depth = self.depths.get(tree).copied().unwrap_or(0);
        self.descend([root; PATHS], depth, value)
    }

    /// Walks one row down `PATHS` trees from tree `first` on; places beyond the last tree are of no meaning.
    #[inline(always)]
    pub(super) fn trees_from(&self, first: usize, row: &[T]) -> [u32; PATHS] {
        let mut at = [0; PATHS];
        let mut depth = 0;
        let trees = self.roots.iter().zip(&self.depths).skip(first);
        for (at, (&root, &tree_depth)) in at.iter_mut().zip(trees) {
            *at = root;
            depth = depth.max(tree_depth);
        }
        self.descend(at, depth, |feature, _| row.get(feature).copied().unwrap_or_default())
    }

    #[inline(always)]
    fn descend(&self, mut at: [u32; PATHS], depth: u32, value: impl Fn(usize, usize) -> T) -> [u32; PATHS] {
        for level in 0..depth {
            let before = at;
            for (path, at) in at.iter_mut().enumerate() {
                *at = self.advance(*at, |feature| value(feature, path));
            }
            if level & 3 == 3 && before == at {
                break;
            }
        }
        at
    }
}

fn too_many(steps_max: usize) -> Error {
    Error::resource_exhausted(format!("the ensemble needs more than the {steps_max} nodes of Limits::tree_nodes_max"))
}

/// What a step stands for: a branch, the second half of an equality, or a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Item {
    Branch(u32),
    Below(u32),
    Leaf(u32),
}

impl Item {
    fn of(child: Child) -> Self {
        match child {
            Child::Branch(index) => Self::Branch(index),
            Child::Leaf(leaf) => Self::Leaf(leaf),
        }
    }
}

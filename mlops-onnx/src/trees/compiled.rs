//! A forest ready to evaluate: code for small trees, steps for all, and who adds to which target.
//!
//! Rows come in blocks of 8 to [`LANES_MAX`], as wide as the rows at hand; a few rows alone are walked. All give the
//! same sums.

use mlops_core::Result;
use pulp::NullaryFnOnce;

use super::{
    forest::{Child, Forest},
    real::Real,
    score::{Aggregate, Scores},
    select::{Code, LANES_MAX, Lanes, registers},
    walk::{PATHS, Walk},
};

/// What a comparison of a whole block costs, in steps of a single row's walk (measured: 5 ns to 3 ns).
const SELECT_STEPS: usize = 2;

/// What a tree's leaves hold.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    /// One weight each, all for this target: paths end with the weight.
    Single(u32),
    /// Any weights: paths end with the number of the leaf.
    Lists,
}

#[derive(Debug)]
pub(super) struct Compiled<T> {
    walk: Walk<T>,
    codes: Vec<Option<Code<T>>>,
    leaves: Vec<Leaves>,
    /// For coded trees with lists: the leaves by their number in the tree.
    members: Vec<Vec<u32>>,
    weights: Weights<T>,
    /// Features that are compared, in ascending order; columns of a block.
    used: Vec<u32>,
    targets: usize,
    /// Comparisons of all coded trees, and the longest paths of the same trees, summed.
    selects: usize,
    steps: usize,
    /// At most so many comparisons and additions for each row.
    row_operations: usize,
}

/// The weights of all leaves, in the ensemble's precision.
#[derive(Debug)]
struct Weights<T> {
    /// First and last place of each leaf's weights.
    ranges: Vec<(u32, u32)>,
    list: Vec<(u32, T)>,
}

impl<T: Real> Weights<T> {
    fn new(forest: &Forest) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let ranges = forest.leaves.iter().map(|range| (place(range.start), place(range.end))).collect();
        let list = forest.weights.iter().map(|weight| (weight.target, T::of_f64(weight.value))).collect();
        Self { ranges, list }
    }

    /// Adds a leaf's weights to a lane.
    #[inline(always)]
    fn add(&self, leaf: u32, scores: &mut Scores<T>, lane: usize, aggregate: Aggregate) {
        let Some(&(from, to)) = self.ranges.get(leaf as usize) else { return };
        for &(target, value) in self.list.get(from as usize..to as usize).unwrap_or_default() {
            scores.add(target as usize, lane, value, aggregate);
        }
    }
}

impl<T: Real> Compiled<T> {
    /// Compiles for precision `T`.
    ///
    /// # Errors
    /// `ResourceExhausted` beyond `nodes_max`.
    pub(super) fn new(forest: &Forest, nodes_max: usize) -> Result<Self> {
        let mut used: Vec<u32> = forest.branches.iter().map(|branch| branch.feature).collect();
        used.sort_unstable();
        used.dedup();
        let column = |feature: u32| used.binary_search(&feature).map_or(0, |i| u32::try_from(i).unwrap_or(0));
        let weight = |leaf: u32| match forest.leaf(leaf) {
            [weight] => T::of_f64(weight.value),
            _ => T::default(),
        };
        let walk = Walk::new(forest, |feature| feature, weight, nodes_max)?;
        let (mut codes, mut leaves, mut members_of) = (Vec::new(), Vec::new(), Vec::new());
        for (tree, &root) in forest.roots.iter().enumerate() {
            // A small file may hold trees whose shared branches would become more code than it has bytes.
            let branches_max = walk.tree_len(tree);
            let members = leaves_of(forest, root);
            let kind = single_target(forest, &members).map_or(Leaves::Lists, Leaves::Single);
            leaves.push(kind);
            if matches!(kind, Leaves::Single(_)) {
                codes.push(Code::new(forest, root, branches_max, &column, &weight));
                members_of.push(Vec::new());
                continue;
            }
            let number = |leaf: u32| members.binary_search(&leaf).ok().and_then(|i| u16::try_from(i).ok()).unwrap_or(0);
            codes.push(Code::new(forest, root, branches_max, &column, &|leaf| T::of_index(number(leaf))));
            members_of.push(members);
        }
        let (members, weights) = (members_of, Weights::new(forest));
        let coded = codes.iter().enumerate().filter_map(|(tree, code)| Some((tree, code.as_ref()?)));
        let (selects, steps) =
            coded.fold((0, 0), |(selects, steps), (tree, code)| (selects + code.len(), steps + walk.tree_depth(tree)));
        let (trees, targets) = (walk.trees(), forest.targets);
        let longest = weights.ranges.iter().map(|(from, to)| to.saturating_sub(*from) as usize).max().unwrap_or(0);
        let depths = (0..trees).map(|tree| walk.tree_depth(tree)).fold(selects, usize::saturating_add);
        let row_operations = depths.saturating_add(trees.saturating_mul(longest.max(1))).saturating_add(targets);
        Ok(Self { walk, codes, leaves, members, weights, used, targets, selects, steps, row_operations })
    }

    /// At most so many comparisons and additions for each row.
    pub(super) fn row_operations(&self) -> usize {
        self.row_operations
    }

    /// Evaluates `rows` rows of `width` values; `finish` gets each row's number and scores, in order.
    pub(super) fn evaluate(
        &self,
        x: &[T],
        width: usize,
        aggregate: Aggregate,
        finish: &mut dyn FnMut(&mut Scores<T>, usize),
    ) {
        if width == 0 {
            return;
        }
        for block in x.chunks(width.saturating_mul(LANES_MAX)) {
            let rows = block.len() / width;
            if rows == 1 || rows.saturating_mul(self.steps) < self.selects.saturating_mul(SELECT_STEPS) {
                for row in block.chunks(width) {
                    let scores = &mut Scores::new(self.targets, 1);
                    self.row(row, aggregate, scores);
                    finish(scores, 0);
                }
                continue;
            }
            let scores = &mut match rows {
                0..=8 => self.block::<8>(block, width, aggregate),
                9..=16 => self.block::<16>(block, width, aggregate),
                17..=32 => self.block::<32>(block, width, aggregate),
                _ => self.block::<LANES_MAX>(block, width, aggregate),
            };
            (0..rows).for_each(|lane| finish(scores, lane));
        }
    }

    fn row(&self, row: &[T], aggregate: Aggregate, scores: &mut Scores<T>) {
        for first in (0..self.walk.trees()).step_by(PATHS) {
            let ends = self.walk.trees_from(first, row);
            let kinds = self.leaves.iter().skip(first);
            for (&at, kind) in ends.iter().zip(kinds) {
                let (value, leaf) = self.walk.end(at);
                match *kind {
                    Leaves::Single(target) => scores.add(target as usize, 0, value, aggregate),
                    Leaves::Lists => self.weights.add(leaf, scores, 0, aggregate),
                }
            }
        }
    }

    /// At most `L` rows.
    fn block<const L: usize>(&self, block: &[T], width: usize, aggregate: Aggregate) -> Scores<T> {
        let columns = transpose::<T, L>(block, width, &self.used);
        let mut scores = Scores::new(self.targets, L);
        pulp::Arch::new().dispatch(Block {
            forest: self,
            columns: &columns,
            block,
            width,
            aggregate,
            scores: &mut scores,
        });
        scores
    }

    /// One large tree for a block, rows in step.
    #[inline(always)]
    fn walk_block(
        &self,
        tree: usize,
        kind: Leaves,
        (block, width): (&[T], usize),
        aggregate: Aggregate,
        scores: &mut Scores<T>,
    ) {
        for (group, rows) in block.chunks(width * PATHS).enumerate() {
            let value = |feature: usize, row: usize| rows.get(row * width + feature).copied().unwrap_or_default();
            let ends = self.walk.rows(tree, value);
            for (lane, &at) in (group * PATHS..).zip(ends.iter().take(rows.len() / width)) {
                let (value, leaf) = self.walk.end(at);
                match kind {
                    Leaves::Single(target) => scores.add(target as usize, lane, value, aggregate),
                    Leaves::Lists => self.weights.add(leaf, scores, lane, aggregate),
                }
            }
        }
    }
}

/// All trees of a forest for at most `L` rows.
struct Block<'a, T, const L: usize> {
    forest: &'a Compiled<T>,
    columns: &'a [Lanes<T, L>],
    block: &'a [T],
    width: usize,
    aggregate: Aggregate,
    scores: &'a mut Scores<T>,
}

/// A closure would not do: it is compiled for the processor at hand only where the compiler happens to inline it.
impl<T: Real, const L: usize> NullaryFnOnce for Block<'_, T, L> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { forest, columns, block, width, aggregate, scores } = self;
        let registers = &mut registers::<T, L>();
        let trees = forest.codes.iter().zip(&forest.leaves).zip(&forest.members).enumerate();
        for (tree, ((code, kind), members)) in trees {
            let Some(code) = code else {
                forest.walk_block(tree, *kind, (block, width), aggregate, scores);
                continue;
            };
            code.run(columns, registers);
            let [result, ..] = registers;
            match *kind {
                Leaves::Single(target) => scores.add_lanes(target as usize, result, aggregate),
                Leaves::Lists => {
                    for (lane, number) in result.iter().enumerate() {
                        let leaf = members.get(number.to_index()).copied().unwrap_or(u32::MAX);
                        forest.weights.add(leaf, scores, lane, aggregate);
                    }
                }
            }
        }
    }
}

/// The features that are compared, each for all rows of the block; lanes beyond the rows repeat nothing.
fn transpose<T: Real, const L: usize>(block: &[T], width: usize, used: &[u32]) -> Vec<Lanes<T, L>> {
    let column = |&feature: &u32| {
        let mut lanes = [T::default(); L];
        for (lane, row) in lanes.iter_mut().zip(block.chunks_exact(width)) {
            *lane = row.get(feature as usize).copied().unwrap_or_default();
        }
        lanes
    };
    used.iter().map(column).collect()
}

/// The leaves that a tree reaches, ascending.
fn leaves_of(forest: &Forest, root: Child) -> Vec<u32> {
    let (mut stack, mut leaves) = (vec![root], Vec::new());
    let mut seen = std::collections::HashSet::new();
    while let Some(child) = stack.pop() {
        match child {
            Child::Leaf(leaf) => leaves.push(leaf),
            Child::Branch(index) if seen.insert(index) => {
                stack.extend(forest.branch(index).into_iter().flat_map(|branch| [branch.pass, branch.fail]));
            }
            Child::Branch(_) => {}
        }
    }
    leaves.sort_unstable();
    leaves.dedup();
    leaves
}

/// The target that every one of these leaves adds one weight to.
fn single_target(forest: &Forest, leaves: &[u32]) -> Option<u32> {
    let mut target = None;
    for &leaf in leaves {
        let [weight] = forest.leaf(leaf) else { return None };
        if *target.get_or_insert(weight.target) != weight.target {
            return None;
        }
    }
    target
}

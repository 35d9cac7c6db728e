//! Small trees without paths: all comparisons for a block of rows, then selects from the leaves up.
//!
//! A tree becomes straight-line code over a few registers of 8 to [`LANES_MAX`] values each. Evaluating the heavier child first
//! keeps the registers below the logarithm of the leaves (Sethi and Ullman 1970). An instruction's loop has no branch,
//! so the compiler turns it into vector code; what an instruction does is decided once per block, not per row.

use super::{
    forest::{Child, Compare, Forest},
    real::Real,
};

/// Most rows that are evaluated together.
pub(super) const LANES_MAX: usize = 64;
/// A tree with more comparisons is walked instead.
const BRANCHES_MAX: usize = 128;
const REGISTERS: usize = 8;

/// One column of a block of `L` rows.
pub(super) type Lanes<T, const L: usize> = [T; L];
pub(super) type Registers<T, const L: usize> = [Lanes<T, L>; REGISTERS];

pub(super) fn registers<T: Real, const L: usize>() -> Registers<T, L> {
    [[T::default(); L]; REGISTERS]
}

#[derive(Debug, Clone, Copy)]
enum From<T> {
    /// Both children are leaves.
    Leaves { pass: T, fail: T },
    /// One is a leaf, the other is in the target register.
    Leaf { leaf: T, passes: bool },
    /// The target register and another.
    Register { other: u8, target_passes: bool },
}

/// One comparison and select.
#[derive(Debug, Clone, Copy)]
pub(super) struct Select<T> {
    threshold: T,
    column: u32,
    compare: Compare,
    missing_passes: bool,
    target: u8,
    from: From<T>,
}

/// The code of one tree.
#[derive(Debug, Default)]
pub(super) struct Code<T> {
    selects: Vec<Select<T>>,
    /// The whole tree, when it is a single leaf.
    constant: Option<T>,
}

/// What compiling a subtree gave.
enum Value<T> {
    Leaf(T),
    Register,
}

impl<T: Real> Code<T> {
    /// Compiles a tree of at most `branches_max` comparisons, shared ones counted for each path; none for a larger.
    pub(super) fn new(
        forest: &Forest,
        root: Child,
        branches_max: usize,
        column_of: &impl Fn(u32) -> u32,
        leaf_value: &impl Fn(u32) -> T,
    ) -> Option<Self> {
        let mut budget = branches_max.min(BRANCHES_MAX);
        registers_needed(forest, root, &mut budget)?;
        let mut code = Self { selects: Vec::new(), constant: None };
        if let Value::Leaf(value) = code.compile(forest, root, 0, column_of, leaf_value)? {
            code.constant = Some(value);
        }
        Some(code)
    }

    /// Recursion is bounded by [`BRANCHES_MAX`], which the caller has checked.
    fn compile(
        &mut self,
        forest: &Forest,
        child: Child,
        target: usize,
        column_of: &impl Fn(u32) -> u32,
        leaf_value: &impl Fn(u32) -> T,
    ) -> Option<Value<T>> {
        let index = match child {
            Child::Leaf(leaf) => return Some(Value::Leaf(leaf_value(leaf))),
            Child::Branch(index) => index,
        };
        let branch = forest.branch(index).ok()?;
        let need = |child| registers_needed(forest, child, &mut BRANCHES_MAX.clone());
        let pass_first = need(branch.pass)? >= need(branch.fail)?;
        let (first, second) = if pass_first { (branch.pass, branch.fail) } else { (branch.fail, branch.pass) };
        let first = self.compile(forest, first, target, column_of, leaf_value)?;
        let other = if matches!(first, Value::Register) { target + 1 } else { target };
        let second = self.compile(forest, second, other, column_of, leaf_value)?;
        let from = match (first, second) {
            (Value::Leaf(first), Value::Leaf(second)) if pass_first => From::Leaves { pass: first, fail: second },
            (Value::Leaf(first), Value::Leaf(second)) => From::Leaves { pass: second, fail: first },
            (Value::Register, Value::Leaf(leaf)) => From::Leaf { leaf, passes: !pass_first },
            (Value::Leaf(leaf), Value::Register) => From::Leaf { leaf, passes: pass_first },
            (Value::Register, Value::Register) => {
                From::Register { other: u8::try_from(other).ok()?, target_passes: pass_first }
            }
        };
        self.selects.push(Select {
            threshold: T::of_f64(branch.threshold),
            column: column_of(branch.feature),
            compare: branch.compare,
            missing_passes: branch.missing_passes,
            target: u8::try_from(target).ok().filter(|&target| usize::from(target) < REGISTERS)?,
            from,
        });
        Some(Value::Register)
    }

    /// Comparisons that a block takes.
    pub(super) fn len(&self) -> usize {
        self.selects.len()
    }

    /// Evaluates a block; the result is in register 0.
    #[inline(always)]
    pub(super) fn run<const L: usize>(&self, columns: &[Lanes<T, L>], registers: &mut Registers<T, L>) {
        if let (Some(value), [first, ..]) = (self.constant, registers.as_mut_slice()) {
            *first = [value; L];
        }
        for select in &self.selects {
            let Some(column) = columns.get(select.column as usize) else { continue };
            let t = select.threshold;
            match (select.compare, select.missing_passes) {
                (Compare::LessOrEqual, false) => apply(select, registers, column, |x| x <= t),
                (Compare::LessOrEqual, true) => apply(select, registers, column, |x| (x <= t) | x.missing()),
                (Compare::Less, false) => apply(select, registers, column, |x| x < t),
                (Compare::Less, true) => apply(select, registers, column, |x| (x < t) | x.missing()),
                (Compare::Equal, false) => apply(select, registers, column, |x| x == t),
                (Compare::Equal, true) => apply(select, registers, column, |x| (x == t) | x.missing()),
            }
        }
    }
}

/// What a register holds is read before it is written: a choice between a new value and the one in its place becomes a
/// masked store where the processor has such, which takes several times as long as choosing and storing.
#[inline(always)]
fn apply<T: Real, const L: usize>(
    select: &Select<T>,
    registers: &mut Registers<T, L>,
    column: &Lanes<T, L>,
    passes: impl Fn(T) -> bool,
) {
    let target = usize::from(select.target);
    match select.from {
        From::Leaves { pass, fail } => {
            let Some(to) = registers.get_mut(target) else { return };
            for (to, &x) in to.iter_mut().zip(column) {
                *to = T::choose(passes(x), pass, fail);
            }
        }
        From::Leaf { leaf, passes: leaf_passes } => {
            let Some(to) = registers.get_mut(target) else { return };
            let before = *to;
            let lanes = to.iter_mut().zip(before).zip(column);
            if leaf_passes {
                lanes.for_each(|((to, before), &x)| *to = T::choose(passes(x), leaf, before));
            } else {
                lanes.for_each(|((to, before), &x)| *to = T::choose(passes(x), before, leaf));
            }
        }
        From::Register { other, target_passes } => {
            let Ok([to, other]) = registers.get_disjoint_mut([target, usize::from(other)]) else { return };
            let before = *to;
            let lanes = to.iter_mut().zip(before).zip(other.iter()).zip(column);
            if target_passes {
                lanes.for_each(|(((to, before), &other), &x)| *to = T::choose(passes(x), before, other));
            } else {
                lanes.for_each(|(((to, before), &other), &x)| *to = T::choose(passes(x), other, before));
            }
        }
    }
}

/// Registers that a subtree takes; none when it has more comparisons than the budget.
fn registers_needed(forest: &Forest, child: Child, budget: &mut usize) -> Option<usize> {
    let Child::Branch(index) = child else { return Some(0) };
    *budget = budget.checked_sub(1)?;
    let branch = forest.branch(index).ok()?;
    let pass = registers_needed(forest, branch.pass, budget)?;
    let fail = registers_needed(forest, branch.fail, budget)?;
    Some(if pass == fail { pass + 1 } else { pass.max(fail) })
}

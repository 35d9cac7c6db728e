//! An ensemble in one plain form, whichever operator version it came from.
//!
//! Invariant (after [`Forest::check`]): every child exists, no path returns to a node it left, every weight goes to a
//! target below `targets`. Within a tree, a subtree may have several parents.

use std::ops::Range;

use mlops_core::{Error, Result};

/// How a branch compares its feature with its threshold. The greater-than forms are the less-than forms with children
/// exchanged, and so is "not equal".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    LessOrEqual,
    Less,
    Equal,
}

/// Where a branch leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    Branch(u32),
    Leaf(u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Branch {
    pub(super) compare: Compare,
    /// Whether a missing value counts as passing.
    pub(super) missing_passes: bool,
    pub(super) feature: u32,
    pub(super) threshold: f64,
    pub(super) pass: Child,
    pub(super) fail: Child,
}

/// What a leaf adds to a target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    pub(super) target: u32,
    pub(super) value: f64,
}

#[derive(Debug, Default)]
pub(super) struct Forest {
    pub(super) branches: Vec<Branch>,
    /// For each leaf its part of `weights`.
    pub(super) leaves: Vec<Range<usize>>,
    pub(super) weights: Vec<Weight>,
    pub(super) roots: Vec<Child>,
    pub(super) targets: usize,
    /// Columns that a row must have.
    pub(super) features: usize,
    /// Whether a stored value needs double precision.
    pub(super) double: bool,
}

impl Branch {
    /// A branch as a file names it; `None` for a mode that is not known.
    pub(super) fn parse(mode: &str, missing_passes: bool, feature: u32, threshold: f64) -> Option<(Self, bool)> {
        let (compare, exchanged) = match mode {
            "BRANCH_LEQ" => (Compare::LessOrEqual, false),
            "BRANCH_LT" => (Compare::Less, false),
            "BRANCH_GTE" => (Compare::Less, true),
            "BRANCH_GT" => (Compare::LessOrEqual, true),
            "BRANCH_EQ" => (Compare::Equal, false),
            "BRANCH_NEQ" => (Compare::Equal, true),
            _ => return None,
        };
        // A missing value equals nothing, so "not equal" holds for it.
        let missing_passes = if mode == "BRANCH_NEQ" { false } else { missing_passes != exchanged };
        let nowhere = Child::Leaf(0);
        Some((Self { compare, missing_passes, feature, threshold, pass: nowhere, fail: nowhere }, exchanged))
    }

    /// Sets the children by the names that the file gives them.
    pub(super) fn with_children(mut self, on_true: Child, on_false: Child, exchanged: bool) -> Self {
        (self.pass, self.fail) = if exchanged { (on_false, on_true) } else { (on_true, on_false) };
        self
    }
}

impl Forest {
    pub(super) fn branch(&self, index: u32) -> Result<&Branch> {
        self.branches.get(index as usize).ok_or_else(|| Error::internal("a tree refers to a branch that it lacks"))
    }

    /// The weights of a leaf.
    pub(super) fn leaf(&self, index: u32) -> &[Weight] {
        let range = self.leaves.get(index as usize).cloned().unwrap_or_default();
        self.weights.get(range).unwrap_or_default()
    }

    /// Checks the invariant.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is wrong.
    pub(super) fn check(&self) -> Result<()> {
        if self.targets == 0 {
            return Err(Error::invalid_argument("a tree ensemble has no target or class"));
        }
        if let Some(weight) = self.weights.iter().find(|weight| weight.target as usize >= self.targets) {
            return Err(Error::invalid_argument(format!(
                "a leaf adds to target {}, but the ensemble has {}",
                weight.target, self.targets
            )));
        }
        let mut seen = vec![Visit::New; self.branches.len()];
        self.roots.iter().try_for_each(|&root| self.check_paths(root, &mut seen))
    }

    /// Depth-first with an explicit stack: a path that meets a branch it is still inside of is a cycle.
    fn check_paths(&self, root: Child, seen: &mut [Visit]) -> Result<()> {
        let mut stack = vec![(root, false)];
        while let Some((child, leaving)) = stack.pop() {
            let index = match child {
                Child::Branch(index) => index,
                Child::Leaf(leaf) if (leaf as usize) < self.leaves.len() => continue,
                Child::Leaf(leaf) => {
                    return Err(Error::invalid_argument(format!("a tree leads to missing leaf {leaf}")));
                }
            };
            let Some(visit) = seen.get_mut(index as usize) else {
                return Err(Error::invalid_argument(format!("a tree leads to missing node {index}")));
            };
            match (*visit, leaving) {
                (_, true) => *visit = Visit::Done,
                (Visit::Done, _) => {}
                (Visit::Inside, _) => {
                    return Err(Error::invalid_argument(format!("a tree has a cycle at node {index}")));
                }
                (Visit::New, _) => {
                    *visit = Visit::Inside;
                    let branch = self.branch(index)?;
                    stack.extend([(child, true), (branch.pass, false), (branch.fail, false)]);
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    New,
    Inside,
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(pass: Child, fail: Child) -> Branch {
        Branch { compare: Compare::Less, missing_passes: false, feature: 0, threshold: 0.0, pass, fail }
    }

    fn check(branches: Vec<Branch>) -> Result<()> {
        let forest = Forest {
            branches,
            leaves: std::iter::repeat_n(0..0, 1).collect(),
            roots: vec![Child::Branch(0)],
            targets: 1,
            features: 1,
            ..Forest::default()
        };
        forest.check()
    }

    #[test]
    fn cycles_and_missing_children_are_found_and_shared_subtrees_are_not_mistaken_for_them() {
        let leaf = Child::Leaf(0);
        check(vec![branch(Child::Branch(1), Child::Branch(1)), branch(leaf, leaf)]).unwrap();
        let cycle = check(vec![branch(Child::Branch(1), leaf), branch(leaf, Child::Branch(0))]).unwrap_err();
        assert!(cycle.message().contains("cycle"));
        assert!(check(vec![branch(Child::Branch(0), leaf)]).is_err());
        assert!(check(vec![branch(Child::Branch(9), leaf)]).unwrap_err().message().contains("missing node 9"));
        assert!(check(vec![branch(Child::Leaf(1), leaf)]).unwrap_err().message().contains("missing leaf 1"));
    }

    #[test]
    fn greater_forms_exchange_children_and_where_missing_values_go() {
        let leaves = (Child::Leaf(1), Child::Leaf(2));
        let parse = |mode: &str, missing| {
            let (branch, exchanged) = Branch::parse(mode, missing, 0, 1.0).unwrap();
            let branch = branch.with_children(leaves.0, leaves.1, exchanged);
            (branch.compare, branch.missing_passes, branch.pass)
        };
        assert_eq!(parse("BRANCH_LT", true), (Compare::Less, true, Child::Leaf(1)));
        assert_eq!(parse("BRANCH_GTE", false), (Compare::Less, true, Child::Leaf(2)));
        assert_eq!(parse("BRANCH_GT", true), (Compare::LessOrEqual, false, Child::Leaf(2)));
        assert_eq!(parse("BRANCH_NEQ", false), (Compare::Equal, false, Child::Leaf(2)));
        assert!(Branch::parse("LEAF", false, 0, 0.0).is_none());
    }
}

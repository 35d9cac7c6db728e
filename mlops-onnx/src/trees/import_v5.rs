//! Ensembles of `ai.onnx.ml` version 5: inner nodes and leaves in lists of their own, children by position.
//!
//! A set-membership branch becomes a chain of equality branches that share both children.

use mlops_core::{Error, Result};

use super::{
    forest::{Branch, Child, Compare, Forest, Weight},
    import::{feature_id, floats, index, sized, unknown_mode},
};
use crate::graph::NodeDef;

const MODES: [&str; 7] =
    ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER"];

fn tensor_of<'a>(node: &'a NodeDef, name: &str) -> Result<&'a crate::Tensor> {
    node.tensor(name)?.ok_or_else(|| Error::invalid_argument(format!("attribute {name:?} is missing")))
}

/// The whole ensemble.
pub(super) fn read(node: &NodeDef, nodes_max: usize) -> Result<Forest> {
    let targets = usize::try_from(node.int("n_targets", 1)?).unwrap_or(0);
    let splits = tensor_of(node, "nodes_splits")?;
    let double = splits.data_type() == mlops_core::DataType::Float64;
    let splits = splits.converted::<f64>()?;
    let modes = tensor_of(node, "nodes_modes")?.converted::<i64>()?;
    let count = modes.len();
    let mut forest = Forest { targets, double, ..Forest::default() };
    read_leaves(node, &mut forest)?;

    let list = |name: &str| sized(name, node.ints(name)?, count);
    let features = list("nodes_featureids")?;
    let splits = sized("nodes_splits", &splits, count)?;
    let pass = list("nodes_truenodeids")?.iter().zip(list("nodes_trueleafs")?);
    let fail = list("nodes_falsenodeids")?.iter().zip(list("nodes_falseleafs")?);
    let missing = node.ints("nodes_missing_value_tracks_true")?;
    let missing =
        if missing.is_empty() { &vec![0; count] } else { sized("nodes_missing_value_tracks_true", missing, count)? };
    let mut members = Members::read(node)?;
    // The first `count` branches stand at the positions that the file refers to; further members of a set follow.
    let mut extra = Vec::new();
    let nodes = modes.iter().zip(features).zip(splits).zip(missing).zip(pass.zip(fail));
    for ((((&mode, &feature), &split), &missing), ((&pass, &pass_leaf), (&fail, &fail_leaf))) in nodes {
        let name = usize::try_from(mode)
            .ok()
            .and_then(|mode| MODES.get(mode))
            .ok_or_else(|| unknown_mode(&mode.to_string()))?;
        let feature = feature_id(feature, &mut forest.features)?;
        let (pass, fail) = (child(pass, pass_leaf)?, child(fail, fail_leaf)?);
        if *name != "BRANCH_MEMBER" {
            let parsed = Branch::parse(name, missing != 0, feature, split);
            let (branch, exchanged) = parsed.ok_or_else(|| unknown_mode(name))?;
            forest.branches.push(branch.with_children(pass, fail, exchanged));
            continue;
        }
        let set = members.next_set()?;
        let chain = Chain { feature, missing_passes: missing != 0, pass, fail, first_extra: count + extra.len() };
        let (first, rest) = chain.branches(&set)?;
        forest.branches.push(first);
        extra.extend(rest);
        if count + extra.len() > nodes_max {
            return Err(Error::resource_exhausted(format!(
                "set members need more than the {nodes_max} nodes of Limits::tree_nodes_max"
            )));
        }
    }
    forest.branches.extend(extra);
    for &root in node.ints("tree_roots")? {
        forest.roots.push(child(root, 0)?);
    }
    forest.check()?;
    Ok(forest)
}

fn read_leaves(node: &NodeDef, forest: &mut Forest) -> Result<()> {
    let values = tensor_of(node, "leaf_weights")?.converted::<f64>()?;
    let targets = sized("leaf_targetids", node.ints("leaf_targetids")?, values.len())?;
    for (&target, &value) in targets.iter().zip(values.iter()) {
        let target = u32::try_from(target)
            .map_err(|_| Error::invalid_argument(format!("leaf target {target} is out of range")))?;
        let at = forest.weights.len();
        forest.weights.push(Weight { target, value });
        forest.leaves.push(at..at + 1);
    }
    Ok(())
}

fn child(position: i64, is_leaf: i64) -> Result<Child> {
    let position = u32::try_from(position)
        .map_err(|_| Error::invalid_argument(format!("a tree refers to position {position}, which is out of range")))?;
    Ok(if is_leaf == 0 { Child::Branch(position) } else { Child::Leaf(position) })
}

/// The sets of `membership_values`, each ended by a not-a-number.
struct Members {
    values: std::vec::IntoIter<f64>,
}

impl Members {
    fn read(node: &NodeDef) -> Result<Self> {
        let (values, _) = match node.tensor("membership_values")? {
            Some(tensor) => (tensor.converted::<f64>()?.into_owned(), true),
            None => floats(node, "membership_values")?,
        };
        Ok(Self { values: values.into_iter() })
    }

    fn next_set(&mut self) -> Result<Vec<f64>> {
        if self.values.len() == 0 {
            return Err(Error::invalid_argument("attribute \"membership_values\" has fewer sets than nodes need"));
        }
        Ok(self.values.by_ref().take_while(|value| !value.is_nan()).collect())
    }
}

/// A membership branch in the making.
struct Chain {
    feature: u32,
    missing_passes: bool,
    pass: Child,
    fail: Child,
    first_extra: usize,
}

impl Chain {
    fn branches(&self, set: &[f64]) -> Result<(Branch, Vec<Branch>)> {
        let mut branches = Vec::with_capacity(set.len());
        // An empty set never passes: a comparison with not-a-number.
        let nothing = [f64::NAN];
        let set = if set.is_empty() { &nothing } else { set };
        for (i, &threshold) in set.iter().enumerate() {
            let last = i + 1 == set.len();
            let fail = if last { self.fail } else { Child::Branch(index(self.first_extra + i + 1)?) };
            branches.push(Branch {
                compare: Compare::Equal,
                missing_passes: self.missing_passes && i == 0,
                feature: self.feature,
                threshold,
                pass: self.pass,
                fail,
            });
        }
        let rest = branches.split_off(1);
        let first = branches.pop().ok_or_else(|| Error::internal("a chain has no branch"))?;
        Ok((first, rest))
    }
}

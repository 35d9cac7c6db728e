//! Ensembles of `ai.onnx.ml` versions 1 and 3: parallel lists of nodes and weights.

use std::collections::HashMap;

use mlops_core::{Error, Result};

use super::forest::{Branch, Child, Forest, Weight};
use crate::graph::NodeDef;

/// Values of a list attribute in single precision, or of its tensor form in double.
pub(super) fn floats(node: &NodeDef, name: &str) -> Result<(Vec<f64>, bool)> {
    let tensor_name = format!("{name}_as_tensor");
    if let Some(tensor) = node.tensor(&tensor_name)? {
        let double = tensor.data_type() == mlops_core::DataType::Float64;
        return Ok((tensor.converted::<f64>()?.into_owned(), double));
    }
    Ok((node.floats(name)?.iter().map(|&value| f64::from(value)).collect(), false))
}

/// Reads the lists whose weights are called `{weights}_ids`, `{weights}_nodeids`...: `class` or `target`.
pub(super) fn read(node: &NodeDef, weights: &str, targets: usize) -> Result<Forest> {
    let (values, double) = floats(node, "nodes_values")?;
    let (weight_values, double_weights) = floats(node, &format!("{weights}_weights"))?;
    let modes = node.texts("nodes_modes")?;
    let count = modes.len();
    let list = |name: &str| sized(name, node.ints(name)?, count);
    let tree_ids = list("nodes_treeids")?;
    let node_ids = list("nodes_nodeids")?;
    let features = list("nodes_featureids")?;
    let (on_true, on_false) = (list("nodes_truenodeids")?, list("nodes_falsenodeids")?);
    let values = sized("nodes_values", &values, count)?;
    let missing = node.ints("nodes_missing_value_tracks_true")?;
    let missing =
        if missing.is_empty() { &vec![0; count] } else { sized("nodes_missing_value_tracks_true", missing, count)? };

    let mut forest = Forest { targets, double: double || double_weights, ..Forest::default() };
    let mut exchanged = Vec::new();
    let mut places: HashMap<(i64, i64), Child> = HashMap::with_capacity(count);
    let mut last_tree = None;
    let mut trees_seen = std::collections::HashSet::new();
    let nodes = modes.iter().zip(tree_ids).zip(node_ids).zip(features).zip(values).zip(missing);
    for (((((mode, &tree), &id), &feature), &value), &missing) in nodes {
        let place = if mode == "LEAF" {
            forest.leaves.push(0..0);
            Child::Leaf(index(forest.leaves.len())?)
        } else {
            let feature = feature_id(feature, &mut forest.features)?;
            let parsed = Branch::parse(mode, missing != 0, feature, value);
            let (branch, exchange) = parsed.ok_or_else(|| unknown_mode(mode))?;
            forest.branches.push(branch);
            exchanged.push(exchange);
            Child::Branch(index(forest.branches.len())?)
        };
        if places.insert((tree, id), place).is_some() {
            return Err(Error::invalid_argument(format!("tree {tree} has node {id} twice")));
        }
        // The first node of a tree is its root.
        if last_tree != Some(tree) && trees_seen.insert(tree) {
            forest.roots.push(place);
        }
        last_tree = Some(tree);
    }
    let find = |tree: i64, id: i64| {
        let place = places.get(&(tree, id)).copied();
        place.ok_or_else(|| Error::invalid_argument(format!("tree {tree} refers to node {id}, which it lacks")))
    };
    let children = modes.iter().zip(tree_ids).zip(on_true).zip(on_false).filter(|(((mode, _), _), _)| *mode != "LEAF");
    let slots = forest.branches.iter_mut().zip(exchanged);
    for ((branch, exchanged), (((_, &tree), &on_true), &on_false)) in slots.zip(children) {
        *branch = branch.with_children(find(tree, on_true)?, find(tree, on_false)?, exchanged);
    }
    read_weights(node, weights, &weight_values, &find, &mut forest)?;
    forest.check()?;
    Ok(forest)
}

fn read_weights(
    node: &NodeDef,
    weights: &str,
    values: &[f64],
    find: &impl Fn(i64, i64) -> Result<Child>,
    forest: &mut Forest,
) -> Result<()> {
    let count = values.len();
    let list = |part: &str| {
        let name = format!("{weights}_{part}");
        sized(&name, node.ints(&name)?, count)
    };
    let (targets, trees, nodes) = (list("ids")?, list("treeids")?, list("nodeids")?);
    let mut by_leaf: Vec<(u32, Weight)> = Vec::with_capacity(count);
    for (((&target, &tree), &id), &value) in targets.iter().zip(trees).zip(nodes).zip(values) {
        let target =
            u32::try_from(target).map_err(|_| Error::invalid_argument(format!("{weights} {target} is negative")))?;
        // A weight of an inner node is never reached.
        if let Child::Leaf(leaf) = find(tree, id)? {
            by_leaf.push((leaf, Weight { target, value }));
        }
    }
    by_leaf.sort_by_key(|(leaf, _)| *leaf);
    let mut at = 0;
    for (leaf, range) in (0_u32..).zip(&mut forest.leaves) {
        let from = at;
        while by_leaf.get(at).is_some_and(|(owner, _)| *owner == leaf) {
            at += 1;
        }
        *range = from..at;
    }
    forest.weights = by_leaf.into_iter().map(|(_, weight)| weight).collect();
    Ok(())
}

/// A feature number, and the width that it asks of rows.
pub(super) fn feature_id(feature: i64, width: &mut usize) -> Result<u32> {
    // The topmost bit is a flag in the compiled form.
    let id = u32::try_from(feature).ok().filter(|&id| id < 1 << 24).ok_or_else(|| {
        Error::invalid_argument(format!("a tree compares feature {feature}; features are numbered from 0 to 2^24"))
    })?;
    *width = (*width).max(id as usize + 1);
    Ok(id)
}

pub(super) fn unknown_mode(mode: &str) -> Error {
    Error::unimplemented(format!("a tree has nodes of mode {mode:?}, which is unknown"))
}

/// The index of the last of `count` things.
pub(super) fn index(count: usize) -> Result<u32> {
    let index = u32::try_from(count.saturating_sub(1));
    index.map_err(|_| Error::resource_exhausted("an ensemble has more than 2^32 nodes"))
}

/// A list of the length that the others have.
pub(super) fn sized<'a, T>(name: &str, list: &'a [T], count: usize) -> Result<&'a [T]> {
    if list.len() == count {
        return Ok(list);
    }
    Err(Error::invalid_argument(format!("attribute {name:?} has {} entries, others have {count}", list.len())))
}

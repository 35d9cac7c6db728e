//! Writes small ONNX models by hand, so that tests and benchmarks can make good and broken ones.

/// One length-delimited field.
pub(crate) fn bytes(number: u64, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

pub(crate) fn int(number: u64, value: i64) -> Vec<u8> {
    [varint(number << 3), varint(value as u64)].concat()
}

fn attribute(name: &str, kind: i64, value: Vec<u8>) -> Vec<u8> {
    bytes(5, &[bytes(1, name.as_bytes()), value, int(20, kind)].concat())
}

pub(crate) fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    let packed: Vec<u8> = values.iter().flat_map(|&value| varint(value as u64)).collect();
    attribute(name, 7, bytes(8, &packed))
}

pub(crate) fn floats(name: &str, values: &[f32]) -> Vec<u8> {
    let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    attribute(name, 6, bytes(7, &packed))
}

pub(crate) fn texts(name: &str, values: &[&str]) -> Vec<u8> {
    attribute(name, 8, values.iter().flat_map(|value| bytes(9, value.as_bytes())).collect())
}

pub(crate) fn number(name: &str, value: i64) -> Vec<u8> {
    attribute(name, 2, int(3, value))
}

pub(crate) fn node(operator: &str, domain: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let names =
        |number, names: &[&str]| names.iter().flat_map(|name| bytes(number, name.as_bytes())).collect::<Vec<_>>();
    let head = [names(1, inputs), names(2, outputs), bytes(3, b"n"), bytes(4, operator.as_bytes())].concat();
    bytes(1, &[head, attributes.concat(), bytes(7, domain.as_bytes())].concat())
}

/// An input (field 11) or output (field 12) of floats; a dimension of 0 is open.
pub(crate) fn value(number: u64, name: &str, dims: &[i64]) -> Vec<u8> {
    let dim = |&dim: &i64| bytes(1, &if dim == 0 { bytes(2, b"N") } else { int(1, dim) });
    let tensor = [int(1, 1), bytes(2, &dims.iter().flat_map(dim).collect::<Vec<_>>())].concat();
    bytes(number, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat())
}

/// A stored tensor: type, dimensions, raw values.
pub(crate) fn stored(name: &str, data_type: i64, dims: &[i64], raw: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| int(1, dim)).collect();
    bytes(5, &[dims, int(2, data_type), bytes(8, name.as_bytes()), bytes(9, raw)].concat())
}

/// A whole model of these parts of a graph.
pub(crate) fn model(parts: &[Vec<u8>]) -> Vec<u8> {
    let opset = |domain: &str, version| bytes(8, &[bytes(1, domain.as_bytes()), int(2, version)].concat());
    [int(1, 8), bytes(7, &parts.concat()), opset("", 17), opset("ai.onnx.ml", 3)].concat()
}

/// A regressor of complete random trees over `features` columns, with splits between 0 and 1.
pub(crate) fn forest(trees: usize, depth: u32, features: u64, targets: i64) -> Vec<u8> {
    let mut random = {
        let mut state = 88_172_645_463_325_252_u64;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 11
        }
    };
    let inner = (1_usize << depth) - 1;
    let (mut tree_ids, mut node_ids, mut feature_ids, mut values, mut modes) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut passes, mut fails) = (vec![], vec![]);
    let (mut leaf_trees, mut leaf_nodes, mut leaf_targets, mut weights) = (vec![], vec![], vec![], vec![]);
    let mut unit = |scale: f32| (random() % 1_000_000) as f32 / 1_000_000.0 * scale;
    for tree in 0..trees as i64 {
        for node in 0..2 * inner as i64 + 1 {
            let leaf = node >= inner as i64;
            tree_ids.push(tree);
            node_ids.push(node);
            feature_ids.push(if leaf { 0 } else { (unit(features as f32) as i64).min(features as i64 - 1) });
            values.push(if leaf { 0.0 } else { unit(1.0) });
            modes.push(if leaf { "LEAF" } else { "BRANCH_LEQ" });
            passes.push(if leaf { 0 } else { 2 * node + 1 });
            fails.push(if leaf { 0 } else { 2 * node + 2 });
            for target in (0..targets).filter(|_| leaf) {
                leaf_trees.push(tree);
                leaf_nodes.push(node);
                leaf_targets.push(target);
                weights.push(unit(0.1) - 0.05);
            }
        }
    }
    let attributes = [
        ints("nodes_treeids", &tree_ids),
        ints("nodes_nodeids", &node_ids),
        ints("nodes_featureids", &feature_ids),
        floats("nodes_values", &values),
        texts("nodes_modes", &modes),
        ints("nodes_truenodeids", &passes),
        ints("nodes_falsenodeids", &fails),
        ints("target_treeids", &leaf_trees),
        ints("target_nodeids", &leaf_nodes),
        ints("target_ids", &leaf_targets),
        floats("target_weights", &weights),
        number("n_targets", targets),
    ];
    model(&[
        node("TreeEnsembleRegressor", "ai.onnx.ml", &["X"], &["Y"], &attributes),
        value(11, "X", &[0, features as i64]),
        value(12, "Y", &[0, targets]),
    ])
}

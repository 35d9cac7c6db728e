//! What is no model, or a broken one, is refused when it is loaded, by name and without a panic.

use mlops_core::ErrorKind;
use mlops_onnx::{Limits, OnnxGraph, OnnxModel, Tensor};
use proptest::prelude::*;

use crate::build::{bytes, floats, forest, int, ints, model, node, number, stored, texts, value};

fn x_and_y() -> [Vec<u8>; 2] {
    [value(11, "X", &[0, 2]), value(12, "Y", &[0, 2])]
}

/// The error of a graph of these nodes between X and Y, each of two columns.
fn refused(nodes: &[Vec<u8>], kind: ErrorKind, says: &str) {
    let error = OnnxModel::from_bytes(&model(&[nodes, &x_and_y()].concat())).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(says), "{error}");
}

#[test]
fn graphs_that_do_not_hold_together_are_refused_by_name() {
    let relu = |from: &str, to: &str| node("Relu", "", &[from], &[to], &[]);
    OnnxModel::from_bytes(&model(&[[relu("X", "Y")].as_slice(), &x_and_y()].concat())).unwrap();
    refused(&[relu("Z", "Y")], ErrorKind::InvalidArgument, "value \"Z\" is not computed");
    refused(&[], ErrorKind::InvalidArgument, "value \"Y\" is not computed");
    refused(
        &[relu("A", "B"), relu("B", "A"), node("Add", "", &["X", "A"], &["Y"], &[])],
        ErrorKind::InvalidArgument,
        "own output",
    );
    refused(&[relu("Y", "Y")], ErrorKind::InvalidArgument, "own output");
    refused(&[relu("X", "Y"), relu("X", "Y")], ErrorKind::InvalidArgument, "defined twice");
    refused(&[relu("X", "X")], ErrorKind::InvalidArgument, "defined twice");
    refused(&[node("Frobnicate", "", &["X"], &["Y"], &[])], ErrorKind::Unimplemented, "Frobnicate");
    refused(&[node("Relu", "elsewhere", &["X"], &["Y"], &[])], ErrorKind::Unimplemented, "elsewhere");
    refused(&[node("Relu", "", &[], &["Y"], &[])], ErrorKind::InvalidArgument, "input 0 is missing");
    refused(&[node("Relu", "", &["X"], &["Y", "Z"], &[])], ErrorKind::InvalidArgument, "outputs");
    refused(&[node("Concat", "", &["X", "X"], &["Y"], &[number("axis", 7)])], ErrorKind::InvalidArgument, "axis 7");
    refused(
        &[node("Softmax", "", &["X"], &["Y"], &[floats("axis", &[1.0])])],
        ErrorKind::InvalidArgument,
        "must be of type Int",
    );
    refused(&[node("ReduceSum", "", &["X"], &["Y"], &[])], ErrorKind::InvalidArgument, "not one row for each");
    let scaler =
        node("Scaler", "ai.onnx.ml", &["X"], &["Y"], &[floats("offset", &[0.0; 3]), floats("scale", &[1.0; 3])]);
    refused(&[scaler], ErrorKind::InvalidArgument, "3 values for 2 columns");
}

#[test]
fn sizes_that_a_file_claims_are_not_believed() {
    let claims = stored("S", 7, &[2], &[i64::MAX.to_le_bytes(), 8_i64.to_le_bytes()].concat());
    let expand = node("ConstantOfShape", "", &["S"], &["Y"], &[]);
    refused(&[claims, expand], ErrorKind::ResourceExhausted, "elements_max");
    let empty = stored("S", 1, &[1 << 40, 1 << 20], &[]);
    refused(
        &[empty, node("Add", "", &["X", "S"], &["Y"], &[])],
        ErrorKind::InvalidArgument,
        "does not hold 0 elements",
    );
    let tight = Limits { items_max: 3, ..Limits::default() };
    let many = model(&[node("Relu", "", &["X"], &["Y"], &[]), x_and_y().concat()]);
    assert_eq!(OnnxModel::with_limits(&many, &tight).unwrap_err().kind(), ErrorKind::ResourceExhausted);
    let few = Limits { tree_nodes_max: 10, ..Limits::default() };
    assert_eq!(OnnxModel::with_limits(&forest(5, 3, 4, 1), &few).unwrap_err().kind(), ErrorKind::ResourceExhausted);
}

#[test]
fn work_that_a_small_file_asks_for_is_bounded_before_it_is_done() {
    let limits = |operations_max| Limits { operations_max, ..Limits::default() };
    // Two thousand squared, times itself, again and again: 8e9 multiplications a node in a file of a few hundred bytes.
    let square = stored("S", 7, &[2], &[2_000_i64.to_le_bytes(), 2_000_i64.to_le_bytes()].concat());
    let product = |from: &str, to: &str| node("MatMul", "", &[from, from], &[to], &[]);
    let nodes = [
        square,
        node("ConstantOfShape", "", &["S"], &["A"], &[]),
        product("A", "B"),
        product("B", "C"),
        node("ReduceMax", "", &["C"], &["M"], &[number("keepdims", 0)]),
        node("Add", "", &["X", "M"], &["Y"], &[]),
    ];
    let error = OnnxModel::with_limits(&model(&[nodes.as_slice(), &x_and_y()].concat()), &limits(1 << 32)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains("MatMul") && error.message().contains("operations_max"), "{error}");
    // More rows than the bound has room for, through trees.
    let graph = OnnxGraph::with_limits(&forest(5, 3, 4, 1), &limits(2_000)).unwrap();
    let run = |rows: usize| graph.run(&[("X", Tensor::new([rows, 4], vec![0.5_f32; rows * 4]).unwrap())]);
    run(1).unwrap();
    let error = run(1_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.message().contains("send fewer rows"), "{error}");
    // Each run has all of it again.
    for _ in 0..100 {
        run(1).unwrap();
    }
}

#[test]
fn trees_with_cycles_or_gaps_are_refused() {
    let tree = |passes: &[i64], fails: &[i64], features: &[i64]| {
        let lists = [
            ints("nodes_treeids", &[0, 0, 0]),
            ints("nodes_nodeids", &[0, 1, 2]),
            ints("nodes_featureids", features),
            floats("nodes_values", &[0.0; 3]),
            texts("nodes_modes", &["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"]),
            ints("nodes_truenodeids", passes),
            ints("nodes_falsenodeids", fails),
            ints("target_treeids", &[0]),
            ints("target_nodeids", &[2]),
            ints("target_ids", &[0]),
            floats("target_weights", &[1.0]),
        ];
        [node("TreeEnsembleRegressor", "ai.onnx.ml", &["X"], &["Y"], &lists)]
    };
    refused(&tree(&[1, 0, 0], &[2, 2, 0], &[0; 3]), ErrorKind::InvalidArgument, "cycle");
    refused(&tree(&[1, 9, 0], &[2, 2, 0], &[0; 3]), ErrorKind::InvalidArgument, "refers to node 9");
    refused(
        &tree(&[1, 2, 0], &[2, 2, 0], &[5, 0, 0]),
        ErrorKind::InvalidArgument,
        "compare feature 5, but rows have 2",
    );
    refused(&tree(&[1, 2], &[2, 2, 0], &[0; 3]), ErrorKind::InvalidArgument, "nodes_truenodeids");
    refused(&tree(&[1, 2, 0], &[2, 2, 0], &[-1, 0, 0]), ErrorKind::InvalidArgument, "feature -1");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Any change of a good file ends in a model or an error.
    #[test]
    fn damaged_files_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>(), keep in any::<bool>()) {
        let mut file = forest(3, 2, 4, 2);
        let size = file.len();
        for (at, byte) in changes {
            file[at.index(size)] = byte;
        }
        if !keep {
            file.truncate(cut.index(size));
        }
        let limits = Limits { elements_max: 1 << 16, live_bytes_max: 1 << 22, ..Limits::default() };
        let _ = OnnxModel::with_limits(&file, &limits);
    }

    /// Nor do bytes that were never a model.
    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let graph = [bytes(7, &noise), bytes(8, &int(2, 17))].concat();
        let _ = OnnxGraph::from_bytes(&noise);
        let _ = OnnxGraph::from_bytes(&graph);
    }
}

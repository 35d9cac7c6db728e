//! Rows in any number give the same answers, and a signature may present the same model in other columns.

use std::sync::Arc;

use mlops_core::{
    DataType, ErrorKind, Model, Signature, TensorSpec,
    arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, cast::AsArray, types::Float32Type},
};
use mlops_onnx::{Limits, OnnxGraph, OnnxModel, Tensor};

use crate::build::{floats, forest, model, node, value};

fn rows(count: usize, features: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count * features).map(|_| next()).collect()
}

/// A plain loop over the trees is what a batch must equal, bit by bit: single rows are walked, blocks are selected.
#[test]
fn blocks_walks_and_single_rows_give_the_same_bits() {
    for (trees, depth, targets) in [(1, 0, 1), (30, 3, 1), (9, 5, 1), (7, 8, 1), (11, 3, 3), (5, 9, 2)] {
        let graph = OnnxGraph::from_bytes(&forest(trees, depth, 5, targets)).unwrap();
        let x = rows(200, 5);
        let run = |from: usize, to: usize| {
            let part = Tensor::new([to - from, 5], x[from * 5..to * 5].to_vec()).unwrap();
            graph.run(&[("X", part)]).unwrap().remove(0).1.values::<f32>().unwrap().to_vec()
        };
        let all = run(0, 200);
        for size in [1, 3, 6, 64, 65, 130] {
            let parts: Vec<f32> = (0..200).step_by(size).flat_map(|from| run(from, (from + size).min(200))).collect();
            let same = all.iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same && all.len() == parts.len(), "{trees} trees of depth {depth}, {size} rows at a time");
        }
    }
}

#[test]
fn a_missing_value_takes_the_false_branch_in_every_form() {
    let graph = OnnxGraph::from_bytes(&forest(20, 4, 3, 1)).unwrap();
    let run = |values: Vec<f32>| {
        let x = Tensor::new([values.len() / 3, 3], values).unwrap();
        graph.run(&[("X", x)]).unwrap().remove(0).1.values::<f32>().unwrap().to_vec()
    };
    // Every split lies below two, so that both go where the comparison fails.
    assert_eq!(run([f32::NAN; 3].repeat(10)), run([2.0; 3].repeat(10)));
    assert_eq!(run(vec![f32::NAN; 3]), run(vec![2.0; 3]));
}

#[test]
fn a_signature_may_name_columns_and_let_numbers_be_missing() {
    let scaler =
        node("Scaler", "ai.onnx.ml", &["X"], &["Y"], &[floats("offset", &[1.0, 2.0]), floats("scale", &[2.0, 3.0])]);
    let file = model(&[scaler, value(11, "X", &[0, 2]), value(12, "Y", &[0, 2])]);
    let own = OnnxModel::from_bytes(&file).unwrap();
    assert_eq!(own.signature().inputs(), [TensorSpec::tensor("X", DataType::Float32, [2])]);
    let columns =
        [TensorSpec::column("age", DataType::Float64).nullable(), TensorSpec::column("visits", DataType::Int64)];
    let signature = Signature::new(columns, own.signature().outputs().to_vec()).unwrap();
    let model = own.with_signature(signature.clone()).unwrap();
    let age: ArrayRef = Arc::new(Float64Array::from(vec![Some(3.0), None]));
    let visits: ArrayRef = Arc::new(Int64Array::from(vec![4, 5]));
    let batch = RecordBatch::try_new(signature.input_schema(), vec![age, visits]).unwrap();
    let answer = model.predict(&batch).unwrap();
    let values = answer.column(0).as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
    assert_eq!((values[0], values[1], values[3]), (4.0, 6.0, 9.0));
    assert!(values[2].is_nan());

    let own = || OnnxModel::from_bytes(&file).unwrap();
    let three = ["a", "b", "c"].map(|name| TensorSpec::column(name, DataType::Float32));
    let wide = Signature::new(three, own().signature().outputs().to_vec()).unwrap();
    assert!(own().with_signature(wide).unwrap_err().message().contains("3 columns"));
    let other =
        Signature::new(own().signature().inputs().to_vec(), [TensorSpec::column("Z", DataType::Float32)]).unwrap();
    assert!(own().with_signature(other).unwrap_err().message().contains("output \"Z\""));
}

#[test]
fn a_model_of_one_row_is_run_row_by_row() {
    let sum = node("ReduceSum", "", &["X"], &["Y"], &[]);
    let file = model(&[sum, value(11, "X", &[1, 2]), value(12, "Y", &[1, 1])]);
    let model = OnnxModel::from_bytes(&file).unwrap();
    let spec = &model.signature().inputs()[0];
    assert_eq!(spec.row_shape, [2]);
    let items: ArrayRef = Arc::new(mlops_core::arrow_array::Float32Array::from(vec![1.0, 2.0, 3.0, 4.0]));
    let field = Arc::new(mlops_core::arrow_schema::Field::new_list_field(items.data_type().clone(), true));
    let list = mlops_core::arrow_array::FixedSizeListArray::try_new(field, 2, items, None).unwrap();
    let batch = RecordBatch::try_new(model.signature().input_schema(), vec![Arc::new(list)]).unwrap();
    let answer = model.predict(&batch).unwrap();
    let values = answer.column(0).as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
    assert_eq!(values, [3.0, 7.0]);
    // A row reads two elements and writes one; the rows of a request share its operations.
    let tight = OnnxModel::with_limits(&file, &Limits { operations_max: 5, ..Limits::default() }).unwrap();
    tight.predict(&batch.slice(0, 1)).unwrap();
    assert_eq!(tight.predict(&batch).unwrap_err().kind(), ErrorKind::ResourceExhausted);
}

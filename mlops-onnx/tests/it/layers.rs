//! Layers of a network, which run as one step, give what their operators give one by one.

use mlops_core::ErrorKind;
use mlops_onnx::{Limits, OnnxGraph, Tensor};
use proptest::prelude::*;

use crate::build::{floats, model, node, number, stored, value};

fn raw(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// How a layer is written.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// `Gemm` instead of `MatMul` and `Add`; with its second matrix turned.
    general: Option<bool>,
    /// Where the row stands that is added: before or after what it is added to; as a vector or as a matrix of one row.
    bias: Option<(bool, bool)>,
    rectified: bool,
}

/// A graph of one layer from X to Y; what lies between is an output too where it has to be `apart`.
fn layer(form: Form, apart: bool, weights: &[f32], bias: &[f32]) -> Vec<u8> {
    let (n, k) = (bias.len(), weights.len() / bias.len());
    let (width, depth) = (i64::try_from(n).unwrap(), i64::try_from(k).unwrap());
    let turned = form.general == Some(true);
    let (dims, weights) = if turned {
        let turned: Vec<f32> = (0..n * k).map(|place| weights[place % k * n + place / k]).collect();
        ([width, depth], turned)
    } else {
        ([depth, width], weights.to_vec())
    };
    let row: &[i64] = if form.bias.is_some_and(|(_, matrix)| matrix) { &[1, width] } else { &[width] };
    let mut parts = vec![stored("W", 1, &dims, &raw(&weights)), stored("C", 1, row, &raw(bias))];
    let last = if form.rectified { "S" } else { "Y" };
    match (form.general, form.bias) {
        (Some(turned), bias) => {
            let inputs: &[&str] = if bias.is_some() { &["X", "W", "C"] } else { &["X", "W"] };
            parts.push(node("Gemm", "", inputs, &[last], &[number("transB", i64::from(turned))]));
        }
        (None, None) => parts.push(node("MatMul", "", &["X", "W"], &[last], &[])),
        (None, Some((before, _))) => {
            parts.push(node("MatMul", "", &["X", "W"], &["P"], &[]));
            parts.push(node("Add", "", if before { &["C", "P"] } else { &["P", "C"] }, &[last], &[]));
        }
    }
    if form.rectified {
        parts.push(node("Relu", "", &["S"], &["Y"], &[]));
    }
    parts.extend([value(11, "X", &[0, depth]), value(12, "Y", &[0, width])]);
    if apart && form.general.is_none() && form.bias.is_some() {
        parts.push(value(12, "P", &[0, width]));
    }
    if apart && form.rectified {
        parts.push(value(12, "S", &[0, width]));
    }
    model(&parts)
}

/// Shape and bits of the answer. Which NaN comes of an operation is not promised, so all have those of one.
fn bits(graph: &OnnxGraph, x: Tensor) -> (Vec<usize>, Vec<u32>) {
    let outputs = graph.run(&[("X", x)]).unwrap();
    let (_, y) = outputs.into_iter().find(|(name, _)| name == "Y").unwrap();
    let bits = |value: &f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
    (y.shape().to_vec(), y.values::<f32>().unwrap().iter().map(bits).collect())
}

fn number_or_gap() -> impl Strategy<Value = f32> {
    prop_oneof![20 => -3.0_f32..3.0, 1 => Just(0.0), 1 => Just(-0.0), 1 => Just(f32::NAN), 1 => Just(f32::INFINITY)]
}

proptest! {
    #[test]
    fn a_layer_is_its_operators_to_the_bit(
        form in (prop::option::of(any::<bool>()), prop::option::of(any::<(bool, bool)>()), any::<bool>())
            .prop_map(|(general, bias, rectified)| Form { general, bias, rectified }),
        (k, n, rows) in (1_usize..9, 1_usize..9, 0_usize..4),
        numbers in prop::collection::vec(number_or_gap(), 9 * 9 + 9 + 4 * 9),
    ) {
        let (weights, rest) = numbers.split_at(k * n);
        let (bias, rest) = rest.split_at(n);
        let x = || Tensor::new([rows, k], rest[..rows * k].to_vec()).unwrap();
        let graph = |apart| OnnxGraph::from_bytes(&layer(form, apart, weights, bias)).unwrap();
        let (one, apart) = (graph(false), graph(true));
        prop_assert_eq!(bits(&one, x()), bits(&apart, x()));
        if form.general.is_none() {
            let cube = || Tensor::new([1, rows, k], rest[..rows * k].to_vec()).unwrap();
            prop_assert_eq!(bits(&one, cube()), bits(&apart, cube()));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_the_operator_that_refuses_it() {
    let form = Form { general: None, bias: Some((false, false)), rectified: true };
    let graph = OnnxGraph::from_bytes(&layer(form, false, &[1.0; 6], &[0.0; 3])).unwrap();
    let error = graph.run(&[("X", Tensor::new([2, 5], vec![0.0_f32; 10]).unwrap())]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("(MatMul): shapes [2, 5] and [2, 3] do not multiply"), "{error}");
    // With a factor it is another operation.
    let factors = [floats("none", &[]), number("transA", 1)].concat();
    let parts = [
        stored("W", 1, &[2, 3], &raw(&[1.0; 6])),
        node("Gemm", "", &["X", "W"], &["Y"], &[factors]),
        value(11, "X", &[0, 5]),
        value(12, "Y", &[0, 3]),
    ];
    let graph = OnnxGraph::from_bytes(&model(&parts)).unwrap();
    let y = graph.run(&[("X", Tensor::new([2, 5], vec![1.0_f32; 10]).unwrap())]).unwrap().remove(0).1;
    assert_eq!((y.shape(), y.values::<f32>().unwrap()), ([5, 3].as_slice(), [2.0; 15].as_slice()));
}

#[test]
fn weights_that_nodes_share_are_turned_once() {
    let bytes = |nodes: usize| {
        let mut parts = vec![stored("W", 1, &[64, 64], &raw(&[1.0; 64 * 64]))];
        for place in 0..nodes {
            let (from, to) = (format!("X{place}"), format!("X{}", place + 1));
            parts.push(node("Gemm", "", &[&from, "W"], &[&to], &[number("transB", 1)]));
        }
        parts.extend([value(11, "X0", &[0, 64]), value(12, &format!("X{nodes}"), &[0, 64])]);
        OnnxGraph::from_bytes(&model(&parts)).unwrap().memory_bytes()
    };
    // What a node takes in the file, and no matrix of 16 KiB.
    assert!(bytes(9) < bytes(1) + 4_096, "{} {}", bytes(9), bytes(1));
}

#[test]
fn a_layer_spends_what_its_operators_spend() {
    let file = layer(Form { general: None, bias: Some((false, false)), rectified: true }, false, &[1.0; 6], &[0.0; 3]);
    let run = |limits: Limits, shape: &[usize]| {
        let x = Tensor::new(shape, vec![1.0_f32; shape.iter().product()]).unwrap();
        OnnxGraph::with_limits(&file, &limits).unwrap().run(&[("X", x)])
    };
    let operations = |operations_max| Limits { operations_max, ..Limits::default() };
    // X 8, the product 4 * 3 * 2, W 6, C 3, the sum 12, what is rectified 12, Y 12.
    run(operations(77), &[4, 2]).unwrap();
    assert_eq!(run(operations(76), &[4, 2]).unwrap_err().kind(), ErrorKind::ResourceExhausted);
    // The same one by one, where each of P and S is written and read.
    run(operations(101), &[1, 4, 2]).unwrap();
    assert_eq!(run(operations(100), &[1, 4, 2]).unwrap_err().kind(), ErrorKind::ResourceExhausted);
    // P and S are alive at once.
    let alive = |live_bytes_max| run(Limits { live_bytes_max, ..Limits::default() }, &[1, 4, 2]);
    alive(96).unwrap();
    let error = alive(95).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.message().contains("(Add)") && error.message().contains("live_bytes_max"), "{error}");
}

//! Exported models answer what onnxruntime 1.32.0 answers.
//!
//! `tests/data` is written by `.ci/onnx_matrix.py --golden`: scikit-learn 1.9.1 by skl2onnx 1.20.0, XGBoost 3.2.0 and
//! LightGBM 4.7.0 by onnxmltools 1.16.0, and two hand-made ensembles.

use std::{fs, path::Path};

use mlops_core::Model;
use mlops_onnx::{Data, OnnxGraph, OnnxModel, Tensor, Text};
use serde_json::Value;

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("INF") => f64::INFINITY,
        Some("-INF") => f64::NEG_INFINITY,
        _ => value.as_f64().unwrap_or(f64::NAN),
    }
}

fn tensor(value: &Value) -> (String, Tensor) {
    let shape: Vec<usize> =
        value["shape"].as_array().unwrap().iter().map(|dim| dim.as_u64().unwrap() as usize).collect();
    let values = value["data"].as_array().unwrap();
    let data: Data = match value["datatype"].as_str().unwrap() {
        "FP32" => values.iter().map(|v| number(v) as f32).collect::<Vec<_>>().into(),
        "INT64" => values.iter().map(|v| v.as_i64().unwrap()).collect::<Vec<_>>().into(),
        "BYTES" => values.iter().map(|v| Text::from(v.as_str().unwrap())).collect::<Vec<_>>().into(),
        other => panic!("datatype {other}"),
    };
    (value["name"].as_str().unwrap().to_owned(), Tensor::new(shape, data).unwrap())
}

fn check(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let json: Value = serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
    let read = |key: &str| json[key].as_array().unwrap().iter().map(tensor).collect::<Vec<_>>();
    let (inputs, wanted) = (read("inputs"), read("outputs"));
    let inputs: Vec<(&str, Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let found = OnnxGraph::from_bytes(&bytes).unwrap().run(&inputs).unwrap();
    for ((name, wanted), (_, found)) in wanted.iter().zip(&found) {
        assert_eq!(found.shape(), wanted.shape(), "{path:?} {name}");
        let Ok(wanted_values) = wanted.values::<f32>() else {
            assert_eq!(found, wanted, "{path:?} {name}");
            continue;
        };
        for (a, b) in found.values::<f32>().unwrap().iter().zip(wanted_values) {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{path:?} {name}: {a} is not {b}");
        }
    }
    let model = OnnxModel::from_bytes(&bytes).unwrap();
    let names: Vec<&str> = model.signature().outputs().iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, wanted.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
}

#[test]
fn exported_models_answer_as_the_reference_runtime() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let models: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
    assert!(models.len() >= 8, "{models:?}");
    models.iter().for_each(|path| check(path));
}

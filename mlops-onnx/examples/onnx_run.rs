//! Runs an ONNX model on inputs from a JSON file and prints its outputs as JSON.
//!
//! ```text
//! onnx_run MODEL.onnx INPUTS.json [--repeat N | --rows]
//! ```
//!
//! Inputs and outputs are in the tensor form of Open Inference: `[{"name", "datatype", "shape", "data"}]`, with `null`
//! for not-a-number and `"INF"`, `"-INF"` for what JSON cannot say. With `--repeat` the model runs N times more and
//! `{"microseconds": ...}`, the median of a run, is printed instead. With `--rows` the model is run on a record batch as
//! well, and must answer the same.

#![allow(clippy::disallowed_methods, reason = "a program that measures takes the time itself")]

use std::{process::ExitCode, sync::Arc, time::Instant};

use mlops_core::{
    DataType, Error, Model, Result,
    arrow_array::{
        ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
        StringArray,
    },
    arrow_schema::Field,
};
use mlops_onnx::{Data, OnnxGraph, OnnxModel, Tensor, Text};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {}", error.kind(), error.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<Value> {
    let [model, inputs, options @ ..] = arguments else {
        return Err(Error::invalid_argument("usage: onnx_run MODEL.onnx INPUTS.json [--repeat N]"));
    };
    let read = |path: &String| std::fs::read(path).map_err(|error| Error::not_found(format!("{path}: {error}")));
    let bytes = read(model)?;
    let model = OnnxGraph::from_bytes(&bytes)?;
    let inputs: Vec<Value> = serde_json::from_slice(&read(inputs)?).map_err(|error| odd(&error.to_string()))?;
    let inputs = inputs.iter().map(tensor).collect::<Result<Vec<_>>>()?;
    let inputs: Vec<(&str, Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    if let [option, count] = options
        && option == "--repeat"
    {
        let count: usize = count.parse().map_err(|_| odd("--repeat takes a number"))?;
        let mut times: Vec<f64> = Vec::with_capacity(count);
        for _ in 0..count.max(1) {
            let start = Instant::now();
            std::hint::black_box(model.run(&inputs)?);
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        return Ok(json!({ "microseconds": times.get(times.len() / 2) }));
    }
    if options.iter().any(|option| option == "--rows") {
        by_rows(&OnnxModel::from_bytes(&bytes)?, &inputs, &model.run(&inputs)?)?;
    }
    Ok(model.run(&inputs)?.iter().map(|(name, tensor)| output(name, tensor)).collect())
}

/// Answers as a model on record batches are those on tensors.
fn by_rows(model: &OnnxModel, inputs: &[(&str, Tensor)], wanted: &[(String, Tensor)]) -> Result<()> {
    let rows = inputs.first().and_then(|(_, tensor)| tensor.shape().first().copied()).unwrap_or(0);
    let columns = inputs.iter().map(|(_, tensor)| column(tensor)).collect::<Result<Vec<_>>>()?;
    let batch = RecordBatch::try_new(model.signature().input_schema(), columns)?;
    let outputs = model.predict(&batch)?;
    for ((name, tensor), found) in wanted.iter().zip(outputs.columns()) {
        if found.len() != rows || format!("{:?}", column(tensor)?) != format!("{found:?}") {
            return Err(Error::internal(format!("output {name:?} differs between tensors and rows")));
        }
    }
    Ok(())
}

fn column(tensor: &Tensor) -> Result<ArrayRef> {
    let flat: ArrayRef = match tensor.data() {
        Data::Float32(values) => Arc::new(Float32Array::from(values.to_vec())),
        Data::Float64(values) => Arc::new(Float64Array::from(values.to_vec())),
        Data::Int64(values) => Arc::new(Int64Array::from(values.to_vec())),
        Data::Int32(values) => Arc::new(Int32Array::from(values.to_vec())),
        Data::Bool(values) => Arc::new(BooleanArray::from(values.to_vec())),
        Data::String(values) => Arc::new(StringArray::from_iter_values(values.iter())),
        other => return Err(odd(&format!("{} has no column here", other.data_type()))),
    };
    tensor.shape().iter().skip(1).rev().try_fold(flat, |inner, &dim| {
        let field = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
        Ok(Arc::new(FixedSizeListArray::try_new(field, dim as i32, inner, None)?) as ArrayRef)
    })
}

fn odd(what: &str) -> Error {
    Error::invalid_argument(format!("inputs: {what}"))
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("INF") => f64::INFINITY,
        Some("-INF") => f64::NEG_INFINITY,
        _ => value.as_f64().unwrap_or(f64::NAN),
    }
}

fn tensor(value: &Value) -> Result<(String, Tensor)> {
    let name = value["name"].as_str().ok_or_else(|| odd("a tensor has no name"))?.to_owned();
    let list = |key: &str| value[key].as_array().ok_or_else(|| odd(&format!("tensor {name:?} has no {key}")));
    let shape: Vec<usize> = list("shape")?.iter().filter_map(Value::as_u64).map(|dim| dim as usize).collect();
    let values = list("data")?;
    let data: Data = match value["datatype"].as_str().unwrap_or_default().parse::<DataType>()? {
        DataType::Float32 => values.iter().map(|v| number(v) as f32).collect::<Vec<_>>().into(),
        DataType::Float64 => values.iter().map(number).collect::<Vec<_>>().into(),
        DataType::Int64 => values.iter().map(|v| v.as_i64().unwrap_or(0)).collect::<Vec<_>>().into(),
        DataType::Int32 => values.iter().map(|v| v.as_i64().unwrap_or(0) as i32).collect::<Vec<_>>().into(),
        DataType::Bool => values.iter().map(|v| v.as_bool().unwrap_or(false)).collect::<Vec<_>>().into(),
        DataType::String => values.iter().map(|v| Text::from(v.as_str().unwrap_or(""))).collect::<Vec<_>>().into(),
        other => return Err(odd(&format!("datatype {other} is not supported"))),
    };
    Ok((name, Tensor::new(shape, data)?))
}

fn float(value: f64) -> Value {
    match value {
        f64::INFINITY => json!("INF"),
        f64::NEG_INFINITY => json!("-INF"),
        _ => json!(value),
    }
}

fn output(name: &str, tensor: &Tensor) -> Value {
    let data: Vec<Value> = match tensor.data() {
        Data::Float32(values) => values.iter().map(|&v| float(f64::from(v))).collect(),
        Data::Float64(values) => values.iter().map(|&v| float(v)).collect(),
        Data::Int64(values) => values.iter().map(|v| json!(v)).collect(),
        Data::Int32(values) => values.iter().map(|v| json!(v)).collect(),
        Data::Bool(values) => values.iter().map(|v| json!(v)).collect(),
        Data::String(values) => values.iter().map(|v| json!(&**v)).collect(),
        other => vec![json!(format!("{other:?}"))],
    };
    json!({ "name": name, "datatype": tensor.data_type().oip_name(), "shape": tensor.shape(), "data": data })
}

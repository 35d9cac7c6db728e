//! Between the protocols' JSON and tensors.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use serde_json::value::RawValue;

use super::wire::{Code, Dim, Examples, Head, Shape, SignatureDef, TensorDef, VersionState};
use crate::{
    protocol::{Form, Layout, Shown, json, transposed, write},
    repository::{LoadedVersion, ModelStatus},
    server::TensorReply,
    tensor::{Tensor, TensorInfo, TensorType},
};

/// The one signature that a model has here.
pub(super) const SIGNATURE: &str = "serving_default";

const FORM: Form =
    Form { keys: &[("instances", Layout::Rows), ("inputs", Layout::Columns)], bare: false, answer: None };

/// Reads the body of `:predict`.
///
/// # Errors
/// `InvalidArgument` for another signature, both or neither of the forms, and inputs that do not fit.
pub(super) fn read_predict(body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
    let body = json::quoted(body);
    check_signature(&body)?;
    FORM.read(&body, version)
}

fn check_signature(body: &[u8]) -> Result<()> {
    let head: Head = serde_json::from_slice(body).map_err(not_json)?;
    match head.signature_name.as_deref() {
        None | Some("" | SIGNATURE) => Ok(()),
        Some(other) => {
            Err(Error::invalid_argument(format!("the model has no signature {other:?}; it has {SIGNATURE:?}")))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for map_err")]
fn not_json(error: serde_json::Error) -> Error {
    Error::invalid_argument(format!("the body is not the JSON of this call: {error}"))
}

/// Writes the answer to `:predict`; `tokens` as in [`json::Scalars::of`].
///
/// # Errors
/// As [`write`].
pub(super) fn write_predict(reply: &TensorReply, shown: Shown, tokens: bool) -> Result<Vec<u8>> {
    write(reply, shown, tokens, Some(if shown == Shown::Columns { "outputs" } else { "predictions" }))
}

/// Reads the body of `:classify` and `:regress`: one object of features per example, completed by the context.
///
/// # Errors
/// As [`read_predict`].
pub(super) fn read_examples(body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, ())> {
    let body = json::quoted(body);
    check_signature(&body)?;
    let Examples { context, examples } = serde_json::from_slice(&body).map_err(not_json)?;
    let complete = |example: &BTreeMap<String, &'_ RawValue>| {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in context.iter().chain(example) {
            all.insert(name.clone(), single(name, value.get(), version).to_owned());
        }
        all
    };
    let rows: Vec<BTreeMap<String, String>> = examples.iter().map(complete).collect();
    let Some(first) = rows.first() else { return Err(Error::invalid_argument("examples is empty")) };
    let names: Vec<String> = first.keys().cloned().collect();
    if rows.iter().any(|row| !row.keys().eq(names.iter())) {
        return Err(Error::invalid_argument("every example must have the same features as the first"));
    }
    let raw = rows.into_iter().map(|row| row.into_values().map(RawValue::from_string).collect());
    let raw = raw.collect::<std::result::Result<Vec<Vec<Box<RawValue>>>, _>>().map_err(not_json)?;
    let values: Vec<Vec<&RawValue>> = raw.iter().map(|row| row.iter().map(AsRef::as_ref).collect()).collect();
    Ok((transposed(&names, &values, version)?, ()))
}

/// A feature of one value may stand in an array of its own.
fn single<'a>(name: &str, value: &'a str, version: &LoadedVersion) -> &'a str {
    let scalar = version.inputs.iter().any(|info| info.name == name && info.shape.len() == 1);
    let inner = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::trim);
    match inner {
        Some(inner) if scalar && !inner.is_empty() => inner,
        _ => value,
    }
}

fn is_float(tensor: &Tensor) -> bool {
    matches!(tensor.data_type(), TensorType::Fp32 | TensorType::Fp64)
}

/// Writes the answer to `:classify`: pairs of label and score for each row, from the first output that is one float
/// per class; a class without a name is called by its number.
///
/// # Errors
/// `FailedPrecondition` for a model without such an output.
pub(super) fn write_classes(reply: &TensorReply, (): (), tokens: bool) -> Result<Vec<u8>> {
    let scores = reply.outputs.iter().find(|tensor| is_float(tensor) && tensor.shape().len() == 2);
    let scores = scores.ok_or_else(|| {
        Error::failed_precondition("the model gives no score per class, so it cannot classify; call :predict")
    })?;
    let classes = scores.shape().get(1).copied().unwrap_or(0);
    let per_class = Tensor::new(
        scores.name(),
        scores.data_type(),
        [scores.rows() * classes],
        std::sync::Arc::clone(scores.values()),
    )?;
    let values = json::Scalars::of(&per_class, tokens)?;
    let mut out = b"{\"result\":[".to_vec();
    for row in 0..scores.rows() {
        out.extend_from_slice(if row > 0 { b",[" } else { b"[" });
        for class in 0..classes {
            let comma = if class > 0 { "," } else { "" };
            out.extend_from_slice(format!("{comma}[\"{class}\",").as_bytes());
            values.row(row * classes + class, &mut out)?;
            out.push(b']');
        }
        out.push(b']');
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// Writes the answer to `:regress`: a number for each row, from the first output that is one float.
///
/// # Errors
/// `FailedPrecondition` for a model without such an output.
pub(super) fn write_values(reply: &TensorReply, (): (), tokens: bool) -> Result<Vec<u8>> {
    let one = |tensor: &&Tensor| is_float(tensor) && matches!(tensor.shape(), [_] | [_, 1]);
    let value = reply.outputs.iter().find(one).ok_or_else(|| {
        Error::failed_precondition("the model gives no single number per row, so it cannot regress; call :predict")
    })?;
    let flat = Tensor::new(value.name(), value.data_type(), [value.rows()], std::sync::Arc::clone(value.values()))?;
    let mut out = b"{\"result\":".to_vec();
    json::Scalars::of(&flat, tokens)?.whole(&mut out)?;
    out.push(b'}');
    Ok(out)
}

/// A line of the repository in TensorFlow Serving's words.
pub(super) fn version_state(status: &ModelStatus) -> Option<VersionState> {
    let state = match status.state {
        "READY" => "AVAILABLE",
        "UNLOADING" => "UNLOADING",
        _ => "END",
    };
    let error_code = if status.reason.is_some() { "UNAVAILABLE" } else { "OK" };
    Some(VersionState {
        version: status.version?.to_string(),
        state,
        status: Code { error_code, error_message: status.reason.clone().unwrap_or_default() },
    })
}

/// The one signature of a version.
pub(super) fn signature(version: &LoadedVersion) -> SignatureDef {
    let tensors = |infos: &[TensorInfo]| infos.iter().map(|info| (info.name.clone(), tensor_def(info))).collect();
    SignatureDef {
        inputs: tensors(&version.inputs),
        outputs: tensors(&version.outputs),
        method_name: "tensorflow/serving/predict",
    }
}

fn tensor_def(info: &TensorInfo) -> TensorDef {
    let dtype = match info.data_type {
        TensorType::Bool => "DT_BOOL",
        TensorType::Uint8 => "DT_UINT8",
        TensorType::Uint16 => "DT_UINT16",
        TensorType::Uint32 => "DT_UINT32",
        TensorType::Uint64 => "DT_UINT64",
        TensorType::Int8 => "DT_INT8",
        TensorType::Int16 => "DT_INT16",
        TensorType::Int32 => "DT_INT32",
        TensorType::Int64 => "DT_INT64",
        TensorType::Fp16 => "DT_HALF",
        TensorType::Bf16 => "DT_BFLOAT16",
        TensorType::Fp32 => "DT_FLOAT",
        TensorType::Fp64 => "DT_DOUBLE",
        TensorType::Bytes => "DT_STRING",
    };
    let dim = info.shape.iter().map(|size| Dim { size: size.to_string(), name: String::new() }).collect();
    TensorDef { dtype, tensor_shape: Shape { dim, unknown_rank: false }, name: info.name.clone() }
}

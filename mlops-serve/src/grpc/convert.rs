//! Between the messages and tensors: every check of a request, and the form of an answer.
//!
//! Invariant: a request is checked as over REST, by [`Inputs`], and answered in raw contents always: the readers of
//! Triton's client take typed ones for empty.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, PrimitiveArray,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use bytes::Bytes;
use mlops_core::{Error, Result};

use super::messages::{
    InferParameter, InferTensor, InferTensorContents, ModelInferRequest, ModelInferResponse, ParameterChoice,
    Parameters,
};
use crate::{
    executor::Priority,
    oip::binary,
    protocol::{Inputs, known_output, largest},
    repository::LoadedVersion,
    server::TensorReply,
    tensor::{Tensor, TensorInfo, TensorType, element_count},
};

/// A checked request.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) tensors: Vec<Tensor>,
    /// Which outputs in which order, and how many classes of each; empty means all.
    pub(super) outputs: Vec<(String, Option<usize>)>,
    pub(super) routing_key: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) priority: Priority,
    /// Whether the answer says that it is the last one.
    pub(super) mark_final: bool,
}

/// Bytes of tensor data in a request.
pub(super) fn data_bytes(request: &ModelInferRequest) -> usize {
    let raw = request.raw_input_contents.iter().map(Bytes::len);
    let typed = request.inputs.iter().filter_map(|input| input.contents.as_ref()).map(prost::Message::encoded_len);
    raw.chain(typed).fold(0, usize::saturating_add)
}

/// Reads and checks a request against the version that describes the model.
///
/// # Errors
/// `InvalidArgument` for anything that the model's metadata does not admit.
pub(super) fn check(request: &ModelInferRequest, version: &LoadedVersion) -> Result<Checked> {
    let raw = &request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        return Err(Error::invalid_argument(format!(
            "raw_input_contents has {} entries for {} inputs; one per input, or none, is expected",
            raw.len(),
            request.inputs.len()
        )));
    }
    let mut inputs = Inputs::of(version);
    for (index, input) in request.inputs.iter().enumerate() {
        let (info, shape) = inputs.declared(&input.name, &input.datatype, &input.shape)?;
        let count = element_count(&info.name, &shape)?;
        let values = match (&input.contents, raw.get(index)) {
            (None, Some(raw)) => binary::decode(&info.name, info.data_type, count, raw)?,
            (Some(contents), None) => typed(info, contents, count)?,
            (Some(_), Some(_)) => {
                return Err(Error::invalid_argument(format!(
                    "input {:?} has contents although raw_input_contents is used",
                    info.name
                )));
            }
            (None, None) if count == 0 => binary::decode(&info.name, info.data_type, 0, &[])?,
            (None, None) => return Err(Error::invalid_argument(format!("input {:?} has no data", info.name))),
        };
        inputs.push(Tensor::new(&info.name, info.data_type, shape, values)?);
    }
    let tensors = inputs.finish()?;
    let outputs = request.outputs.iter().map(|output| {
        let name = known_output(version, &output.name)?.name.clone();
        let classes = classes(&output.parameters, &name)?;
        Ok((name, classes))
    });
    Ok(Checked {
        outputs: outputs.collect::<Result<_>>()?,
        routing_key: text(&request.parameters, "routing_key"),
        timeout: number(&request.parameters, "timeout").filter(|&us| us > 0).map(Duration::from_micros),
        priority: Priority::from_level(number(&request.parameters, "priority").unwrap_or(0)),
        mark_final: flag(&request.parameters, "triton_enable_empty_final_response"),
        tensors,
    })
}

fn choice<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a ParameterChoice> {
    parameters.get(name)?.parameter_choice.as_ref()
}

fn text(parameters: &Parameters, name: &str) -> Option<String> {
    match choice(parameters, name)? {
        ParameterChoice::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn flag(parameters: &Parameters, name: &str) -> bool {
    matches!(choice(parameters, name), Some(ParameterChoice::Bool(true)))
}

/// The number of classes that the classification extension asks for.
fn classes(parameters: &Parameters, output: &str) -> Result<Option<usize>> {
    if choice(parameters, "classification").is_none() {
        return Ok(None);
    }
    let count = number(parameters, "classification").and_then(|count| usize::try_from(count).ok());
    count.filter(|count| *count > 0).map(Some).ok_or_else(|| {
        Error::invalid_argument(format!("classification of output {output:?} must be a whole number above 0"))
    })
}

fn number(parameters: &Parameters, name: &str) -> Option<u64> {
    match choice(parameters, name)? {
        ParameterChoice::Int64(value) => u64::try_from(*value).ok(),
        ParameterChoice::Uint64(value) => Some(*value),
        _ => None,
    }
}

/// The values of the one field that the datatype uses; every other field must be empty.
fn typed(info: &TensorInfo, contents: &InferTensorContents, count: usize) -> Result<ArrayRef> {
    let name = info.name.as_str();
    let fields = [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ];
    let wanted = field_of(info)?;
    if let Some((other, _)) = fields.iter().find(|(field, length)| *field != wanted && *length > 0) {
        return Err(Error::invalid_argument(format!(
            "input {name:?} is {} and takes {wanted}, found {other}",
            info.data_type
        )));
    }
    let length = fields.iter().find(|(field, _)| *field == wanted).map_or(0, |(_, length)| *length);
    if length != count {
        return Err(Error::invalid_argument(format!(
            "{wanted} of input {name:?} must hold the {count} elements of the shape, found {length}"
        )));
    }
    Ok(match info.data_type {
        TensorType::Bool => Arc::new(BooleanArray::from(contents.bool_contents.clone())),
        TensorType::Int8 => narrow::<Int8Type, _>(info, &contents.int_contents)?,
        TensorType::Int16 => narrow::<Int16Type, _>(info, &contents.int_contents)?,
        TensorType::Int32 => narrow::<Int32Type, _>(info, &contents.int_contents)?,
        TensorType::Int64 => narrow::<Int64Type, _>(info, &contents.int64_contents)?,
        TensorType::Uint8 => narrow::<UInt8Type, _>(info, &contents.uint_contents)?,
        TensorType::Uint16 => narrow::<UInt16Type, _>(info, &contents.uint_contents)?,
        TensorType::Uint32 => narrow::<UInt32Type, _>(info, &contents.uint_contents)?,
        TensorType::Uint64 => narrow::<UInt64Type, _>(info, &contents.uint64_contents)?,
        TensorType::Fp32 => narrow::<Float32Type, _>(info, &contents.fp32_contents)?,
        TensorType::Fp64 => narrow::<Float64Type, _>(info, &contents.fp64_contents)?,
        _ => Arc::new(BinaryArray::from_iter_values(&contents.bytes_contents)),
    })
}

/// The field of `InferTensorContents` that carries a datatype.
fn field_of(info: &TensorInfo) -> Result<&'static str> {
    Ok(match info.data_type {
        TensorType::Bool => "bool_contents",
        TensorType::Int8 | TensorType::Int16 | TensorType::Int32 => "int_contents",
        TensorType::Int64 => "int64_contents",
        TensorType::Uint8 | TensorType::Uint16 | TensorType::Uint32 => "uint_contents",
        TensorType::Uint64 => "uint64_contents",
        TensorType::Fp32 => "fp32_contents",
        TensorType::Fp64 => "fp64_contents",
        TensorType::Bytes => "bytes_contents",
        TensorType::Fp16 | TensorType::Bf16 => {
            return Err(Error::invalid_argument(format!(
                "input {:?}: {} has no typed contents; send it in raw_input_contents",
                info.name, info.data_type
            )));
        }
    })
}

fn narrow<T, V>(info: &TensorInfo, values: &[V]) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    V: TryInto<T::Native> + Copy,
{
    let values = values.iter().map(|value| (*value).try_into()).collect::<std::result::Result<Vec<T::Native>, _>>();
    let values = values.map_err(|_| {
        Error::invalid_argument(format!("input {:?} has a value that {} cannot hold", info.name, info.data_type))
    })?;
    Ok(Arc::new(PrimitiveArray::<T>::from_iter_values(values)))
}

/// The answer to a request; outputs in the order that was asked for.
///
/// # Errors
/// `Internal` when the model did not give an output it describes.
pub(super) fn respond(
    model_name: String,
    id: String,
    reply: &TensorReply,
    wanted: &[(String, Option<usize>)],
    mark_final: bool,
) -> Result<ModelInferResponse> {
    let wanted: Vec<(&str, Option<usize>)> = match wanted {
        [] => reply.outputs.iter().map(|tensor| (tensor.name(), None)).collect(),
        some => some.iter().map(|(name, classes)| (name.as_str(), *classes)).collect(),
    };
    let (mut outputs, mut raw_output_contents) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
    for (name, classes) in wanted {
        let tensor = reply.outputs.iter().find(|tensor| tensor.name() == name);
        let tensor = tensor.ok_or_else(|| Error::internal(format!("the model did not give its output {name:?}")))?;
        let tensor = match classes {
            Some(count) => &largest(tensor, count)?,
            None => tensor,
        };
        raw_output_contents.push(Bytes::from(binary::encode(tensor.values())));
        outputs.push(InferTensor {
            name: name.to_owned(),
            datatype: tensor.data_type().name().to_owned(),
            shape: tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect(),
            parameters: HashMap::new(),
            contents: None,
        });
    }
    let mut parameters = HashMap::new();
    if mark_final {
        let last = InferParameter { parameter_choice: Some(ParameterChoice::Bool(true)) };
        parameters.insert("triton_final_response".to_owned(), last);
    }
    let model_version = reply.version.to_string();
    Ok(ModelInferResponse { model_name, model_version, id, parameters, outputs, raw_output_contents })
}

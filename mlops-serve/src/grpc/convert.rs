//! Between the messages and tensors: every check of a request, and the form of an answer.
//!
//! Invariant: a request is checked as over REST, by [`Inputs`], and answered in raw contents always: the readers of
//! Triton's client take typed ones for empty.

use std::{collections::HashMap, sync::Arc};

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
    oip::{
        binary,
        wish::{self, Parameters as _, WishedOutput},
    },
    protocol::{Inputs, Question},
    repository::LoadedVersion,
    server::TensorReply,
    tensor::{Tensor, TensorInfo, TensorType, element_count},
};

/// What an answer should look like.
#[derive(Debug)]
pub(super) struct Wish {
    id: String,
    /// Which outputs in which order; empty means all.
    outputs: Vec<WishedOutput>,
    /// Whether the answer says that it is the last one.
    mark_final: bool,
}

impl wish::Parameters for Parameters {
    fn has(&self, name: &str) -> bool {
        choice(self, name).is_some()
    }
    fn text(&self, name: &str) -> Option<&str> {
        match choice(self, name)? {
            ParameterChoice::String(text) => Some(text),
            _ => None,
        }
    }
    fn number(&self, name: &str) -> Option<u64> {
        match choice(self, name)? {
            ParameterChoice::Int64(value) => u64::try_from(*value).ok(),
            ParameterChoice::Uint64(value) => Some(*value),
            _ => None,
        }
    }
    fn flag(&self, name: &str) -> Option<bool> {
        match choice(self, name)? {
            ParameterChoice::Bool(flag) => Some(*flag),
            _ => None,
        }
    }
}

fn choice<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a ParameterChoice> {
    parameters.get(name)?.parameter_choice.as_ref()
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
pub(super) fn check(request: ModelInferRequest, version: &LoadedVersion) -> Result<Question<Wish>> {
    let raw = &request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        // Those in shared memory have no entry.
        request.inputs.iter().try_for_each(|input| wish::not_shared("input", &input.name, &input.parameters))?;
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
            (None, None) => {
                wish::not_shared("input", &info.name, &input.parameters)?;
                return Err(Error::invalid_argument(format!("input {:?} has no data", info.name)));
            }
        };
        inputs.push(Tensor::new(&info.name, info.data_type, shape, values)?);
    }
    let tensors = inputs.finish()?;
    let outputs = request.outputs.iter().map(|output| WishedOutput::of(&output.name, &output.parameters, version));
    let outputs = outputs.collect::<Result<_>>()?;
    let options = wish::options(Some(&request.id), &request.parameters)?;
    let mark_final = request.parameters.flag("triton_enable_empty_final_response").unwrap_or(false);
    Ok(Question { tensors, options, wish: Wish { id: request.id, outputs, mark_final } })
}

/// The values of the one field that the datatype uses; every other field must be empty.
pub(crate) fn typed(info: &TensorInfo, contents: &InferTensorContents, count: usize) -> Result<ArrayRef> {
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
pub(super) fn respond(model_name: String, reply: &TensorReply, wish: Wish) -> Result<ModelInferResponse> {
    let wanted = if wish.outputs.is_empty() { WishedOutput::all(&reply.outputs) } else { wish.outputs };
    let (mut outputs, mut raw_output_contents) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
    for output in wanted {
        let tensor = output.granted(&reply.outputs)?;
        raw_output_contents.push(Bytes::from(binary::encode(tensor.values())));
        outputs.push(InferTensor {
            name: output.name,
            datatype: tensor.data_type().name().to_owned(),
            shape: tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect(),
            parameters: HashMap::new(),
            contents: None,
        });
    }
    let mut parameters = HashMap::new();
    if wish.mark_final {
        let last = InferParameter { parameter_choice: Some(ParameterChoice::Bool(true)) };
        parameters.insert("triton_final_response".to_owned(), last);
    }
    let model_version = reply.version.to_string();
    Ok(ModelInferResponse { model_name, model_version, id: wish.id, parameters, outputs, raw_output_contents })
}

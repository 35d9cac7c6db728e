//! Between the protocol and tensors: every check of a request, and the form of an answer.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use mlops_core::{Error, Result};
use serde_json::{Value, json};

use super::{
    binary,
    wire::{InferRequest, InferResponse, Parameters, RequestInput, RequestOutput, ResponseOutput},
};
use crate::{
    executor::Priority,
    protocol::{Inputs, json as tensor_json, known_output, largest},
    repository::LoadedVersion,
    tensor::{Tensor, element_count},
};

/// What an answer should look like.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// Which outputs in which order; empty means all.
    outputs: Vec<WishedOutput>,
    binary_by_default: bool,
}

/// How one output should look.
#[derive(Debug)]
struct WishedOutput {
    name: String,
    binary: Option<bool>,
    /// Only the largest values, as text.
    classes: Option<usize>,
}

/// A checked request.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) id: Option<String>,
    pub(super) routing_key: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) priority: Priority,
    pub(super) tensors: Vec<Tensor>,
    pub(super) wish: Wish,
}

fn flag(parameters: Option<&Parameters>, name: &str) -> Option<bool> {
    parameters?.get(name)?.as_bool()
}

/// Reads and checks a body against the version that describes the model. `header_length` is the length of the JSON
/// part when binary tensors follow it; 0 is a body of nothing but the values of the one input.
pub(super) fn check(body: &Bytes, header_length: Option<&str>, version: &LoadedVersion) -> Result<Checked> {
    let Some(text) = header_length else { return check_json(body, Bytes::new(), version) };
    let length: usize = text
        .trim()
        .parse()
        .map_err(|_| Error::invalid_argument("Inference-Header-Content-Length is not a whole number"))?;
    if length > body.len() {
        return Err(Error::invalid_argument(format!(
            "Inference-Header-Content-Length is {length}, the whole body has {} bytes",
            body.len()
        )));
    }
    if length == 0 {
        return check_raw(body, version);
    }
    check_json(body.get(..length).unwrap_or_default(), body.slice(length..), version)
}

fn check_json(json: &[u8], mut binary_part: Bytes, version: &LoadedVersion) -> Result<Checked> {
    let request: InferRequest<'_> = serde_json::from_slice(json)
        .map_err(|error| Error::invalid_argument(format!("the request is not Open Inference JSON: {error}")))?;
    let mut inputs = Inputs::of(version);
    for input in &request.inputs {
        let tensor = read_input(input, &mut binary_part, &inputs)?;
        inputs.push(tensor);
    }
    if !binary_part.is_empty() {
        return Err(Error::invalid_argument(format!(
            "{} bytes are left over behind the binary tensors",
            binary_part.len()
        )));
    }
    let tensors = inputs.finish()?;
    let parameters = request.parameters.as_ref();
    let text = |name: &str| parameters.and_then(|all| all.get(name)).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| parameters.and_then(|all| all.get(name)).and_then(Value::as_u64);
    let timeout_us = number("timeout").filter(|&us| us > 0);
    Ok(Checked {
        routing_key: text("routing_key"),
        timeout: timeout_us.map(Duration::from_micros),
        priority: Priority::from_level(number("priority").unwrap_or(0)),
        wish: wish(request.outputs.as_deref().unwrap_or_default(), parameters, version)?,
        id: request.id,
        tensors,
    })
}

/// A body without JSON: one row of the model's one input, of which at most one dimension is variable beside the rows.
/// A `BYTES` body is its one element. Everything is answered in binary.
fn check_raw(body: &Bytes, version: &LoadedVersion) -> Result<Checked> {
    let [info] = version.inputs.as_slice() else {
        let count = version.inputs.len();
        return Err(Error::invalid_argument(format!("a body without JSON needs a model with one input, not {count}")));
    };
    let refuse = |text: &str| Error::invalid_argument(format!("input {:?} as a body without JSON: {text}", info.name));
    let free = info.shape.iter().skip(1).filter(|dim| **dim < 0).count();
    let fixed: Vec<usize> = info.shape.iter().skip(1).filter_map(|dim| usize::try_from(*dim).ok()).collect();
    let row = element_count(&info.name, &fixed)?;
    let bytes = match info.data_type.element_bytes() {
        Some(_) => body.clone(),
        None if row == 1 => {
            let length = u32::try_from(body.len()).map_err(|_| refuse("it has more than 4 GiB"))?;
            length.to_le_bytes().into_iter().chain(body.iter().copied()).collect()
        }
        None => return Err(refuse("a row has more than one BYTES element")),
    };
    let elements = info.data_type.element_bytes().map_or(1, |size| bytes.len() / size);
    if free > 1 || (free == 1 && row == 0) {
        return Err(refuse("more than one dimension is variable"));
    }
    let variable = elements.checked_div(row).unwrap_or(0);
    let dims = info.shape.iter().skip(1).map(|dim| usize::try_from(*dim).unwrap_or(variable));
    let shape: Vec<usize> = if info.shape.is_empty() { Vec::new() } else { std::iter::once(1).chain(dims).collect() };
    let count = element_count(&info.name, &shape)?;
    let values = binary::decode(&info.name, info.data_type, count, &bytes)?;
    let tensors = vec![Tensor::new(&info.name, info.data_type, shape, values)?];
    let wish = Wish { outputs: Vec::new(), binary_by_default: true };
    Ok(Checked { id: None, routing_key: None, timeout: None, priority: Priority::Normal, tensors, wish })
}

fn read_input(input: &RequestInput<'_>, binary_part: &mut Bytes, inputs: &Inputs<'_>) -> Result<Tensor> {
    let name = input.name.as_str();
    let (info, shape) = inputs.declared(name, &input.datatype, &input.shape)?;
    let data_type = info.data_type;
    let count = element_count(name, &shape)?;
    let size = input.parameters.as_ref().and_then(|all| all.get("binary_data_size"));
    let values = match (input.data, size) {
        (Some(data), None) => tensor_json::decode(name, data_type, count, data)?,
        (None, Some(size)) => {
            let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
            let size = size.filter(|size| *size <= binary_part.len()).ok_or_else(|| {
                Error::invalid_argument(format!(
                    "binary_data_size of input {name:?} exceeds the {} bytes that are there",
                    binary_part.len()
                ))
            })?;
            binary::decode(name, data_type, count, &binary_part.split_to(size))?
        }
        (Some(_), Some(_)) => {
            return Err(Error::invalid_argument(format!("input {name:?} has both data and binary_data_size")));
        }
        (None, None) => return Err(Error::invalid_argument(format!("input {name:?} has no data"))),
    };
    Tensor::new(name, data_type, shape, values)
}

/// The number of classes that the classification extension asks for.
fn classes(parameters: Option<&Parameters>, output: &str) -> Result<Option<usize>> {
    let Some(wanted) = parameters.and_then(|all| all.get("classification")) else { return Ok(None) };
    let count = wanted.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    count.map(Some).ok_or_else(|| {
        Error::invalid_argument(format!("classification of output {output:?} must be a whole number above 0"))
    })
}

fn wish(outputs: &[RequestOutput], parameters: Option<&Parameters>, version: &LoadedVersion) -> Result<Wish> {
    let mut wanted = Vec::with_capacity(outputs.len());
    for output in outputs {
        known_output(version, &output.name)?;
        let parameters = output.parameters.as_ref();
        wanted.push(WishedOutput {
            name: output.name.clone(),
            binary: flag(parameters, "binary_data"),
            classes: classes(parameters, &output.name)?,
        });
    }
    Ok(Wish { outputs: wanted, binary_by_default: flag(parameters, "binary_data_output").unwrap_or(false) })
}

fn classified(tensor: &Tensor, classes: Option<usize>) -> Result<Cow<'_, Tensor>> {
    match classes {
        Some(count) => largest(tensor, count).map(Cow::Owned),
        None => Ok(Cow::Borrowed(tensor)),
    }
}

/// The body of an answer, and the length of its JSON part when binary tensors follow.
pub(super) fn respond(
    (model, version): (&str, u64),
    id: Option<&str>,
    tensors: &[Tensor],
    wish: &Wish,
) -> Result<(Vec<u8>, Option<usize>)> {
    let plain = |tensor: &Tensor| WishedOutput { name: tensor.name().to_owned(), binary: None, classes: None };
    let all: Vec<WishedOutput> = tensors.iter().map(plain).collect();
    let wanted = if wish.outputs.is_empty() { &all } else { &wish.outputs };
    let (mut outputs, mut tail) = (Vec::with_capacity(wanted.len()), Vec::new());
    for WishedOutput { name, binary, classes } in wanted {
        let tensor = tensors.iter().find(|tensor| tensor.name() == name);
        let tensor = tensor.ok_or_else(|| Error::internal(format!("the model did not give its output {name:?}")))?;
        let tensor = classified(tensor, *classes)?;
        let (mut parameters, mut data) = (None, None);
        if binary.unwrap_or(wish.binary_by_default) {
            let bytes = binary::encode(tensor.values());
            parameters = Some(json!({ "binary_data_size": bytes.len() }));
            tail.push(bytes);
        } else {
            data = Some(tensor_json::encode(name, tensor.values())?);
        }
        let (shape, datatype) = (tensor.shape().to_vec(), tensor.data_type().name());
        outputs.push(ResponseOutput { name, shape, datatype, parameters, data });
    }
    let response = InferResponse { model_name: model, model_version: version.to_string(), id, outputs };
    let mut body =
        serde_json::to_vec(&response).map_err(|error| Error::internal("the answer is not JSON").with_source(error))?;
    let header_length = (!tail.is_empty()).then_some(body.len());
    body.extend(tail.into_iter().flatten());
    Ok((body, header_length))
}

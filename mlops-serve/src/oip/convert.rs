//! Between the protocol and tensors: every check of a request, and the form of an answer.

use std::fmt;

use bytes::Bytes;
use mlops_core::{Error, Result};

use super::{
    binary, plain,
    wire::{InferRequest, RequestInput},
    wish::{self, Parameters as _, WishedOutput},
};
use crate::{
    protocol::{
        Inputs, Question,
        json::{self as tensor_json, append},
    },
    repository::LoadedVersion,
    server::InferOptions,
    tensor::{Tensor, element_count},
};

/// Room for the JSON of a small answer.
const ANSWER_BYTES: usize = 256;

/// What an answer should look like.
#[derive(Debug, Default)]
pub(super) struct Wish {
    id: Option<String>,
    /// Which outputs in which order; empty means all.
    outputs: Vec<WishedOutput>,
    binary_by_default: bool,
}

impl Wish {
    /// Every output, in JSON, under the same id.
    pub(super) fn everything(self) -> Self {
        Self { id: self.id, ..Self::default() }
    }
}

/// Reads and checks a body against the version that describes the model. `header_length` is the length of the JSON
/// part when binary tensors follow it; 0 is a body of nothing but the values of the one input.
pub(super) fn check(body: &Bytes, header_length: Option<&str>, version: &LoadedVersion) -> Result<Question<Wish>> {
    let Some(text) = header_length else { return check_request(parse(text_of(body)?)?, Bytes::new(), version) };
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
    let head = text_of(body.get(..length).unwrap_or_default())?;
    let request = plain::read(head).map_or_else(|| parse(head), Ok)?;
    check_request(request, body.slice(length..), version)
}

fn not_json(error: impl fmt::Display) -> Error {
    Error::invalid_argument(format!("the request is not Open Inference JSON: {error}"))
}

/// Checked as a whole, which takes less than checking each of its texts.
fn text_of(json: &[u8]) -> Result<&str> {
    str::from_utf8(json).map_err(not_json)
}

fn parse(json: &str) -> Result<InferRequest<'_>> {
    serde_json::from_str(json).map_err(not_json)
}

fn check_request(request: InferRequest<'_>, mut binary_part: Bytes, version: &LoadedVersion) -> Result<Question<Wish>> {
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
    let wanted = request.outputs.as_deref().unwrap_or_default().iter();
    let wish = Wish {
        outputs: wanted
            .map(|output| WishedOutput::of(&output.name, &output.parameters, version))
            .collect::<Result<_>>()?,
        binary_by_default: request.parameters.flag("binary_data_output").unwrap_or(false),
        id: request.id,
    };
    Ok(Question { tensors, options: wish::options(wish.id.as_deref(), &request.parameters)?, wish })
}

/// A body without JSON: one row of the model's one input, of which at most one dimension is variable beside the rows.
/// A `BYTES` body is its one element. Everything is answered in binary.
fn check_raw(body: &Bytes, version: &LoadedVersion) -> Result<Question<Wish>> {
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
    let wish = Wish { binary_by_default: true, ..Wish::default() };
    Ok(Question { tensors, options: InferOptions::default(), wish })
}

fn read_input(input: &RequestInput<'_>, binary_part: &mut Bytes, inputs: &Inputs<'_>) -> Result<Tensor> {
    let name = input.name.as_ref();
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
        (None, None) => {
            wish::not_shared("input", name, &input.parameters)?;
            return Err(Error::invalid_argument(format!("input {name:?} has no data")));
        }
    };
    Tensor::new(name, data_type, shape, values)
}

/// The body of an answer, and the length of its JSON part when binary tensors follow. Written field by field, without a
/// tree in between.
pub(super) fn respond(
    (model, version): (&str, u64),
    tensors: &[Tensor],
    wish: &Wish,
) -> Result<(Vec<u8>, Option<usize>)> {
    let (mut body, mut tail) = (Vec::with_capacity(ANSWER_BYTES), None);
    body.extend_from_slice(b"{\"model_name\":");
    append(model, &mut body)?;
    body.extend_from_slice(b",\"model_version\":\"");
    append(&version, &mut body)?;
    body.push(b'"');
    if let Some(id) = &wish.id {
        body.extend_from_slice(b",\"id\":");
        append(id, &mut body)?;
    }
    body.extend_from_slice(b",\"outputs\":[");
    if wish.outputs.is_empty() {
        for (place, tensor) in tensors.iter().enumerate() {
            write_output(tensor.name(), tensor, wish.binary_by_default, place, (&mut body, &mut tail))?;
        }
    }
    for (place, output) in wish.outputs.iter().enumerate() {
        let binary = output.binary.unwrap_or(wish.binary_by_default);
        write_output(&output.name, &*output.granted(tensors)?, binary, place, (&mut body, &mut tail))?;
    }
    body.extend_from_slice(b"]}");
    let Some(tail) = tail else { return Ok((body, None)) };
    let header_length = body.len();
    body.extend_from_slice(&tail);
    Ok((body, Some(header_length)))
}

fn write_output(
    name: &str,
    tensor: &Tensor,
    binary: bool,
    place: usize,
    (body, tail): (&mut Vec<u8>, &mut Option<Vec<u8>>),
) -> Result<()> {
    body.extend_from_slice(if place == 0 { b"{\"name\":" } else { b",{\"name\":" });
    append(name, body)?;
    body.extend_from_slice(b",\"shape\":");
    append(tensor.shape(), body)?;
    body.extend_from_slice(b",\"datatype\":\"");
    body.extend_from_slice(tensor.data_type().name().as_bytes());
    if binary {
        let tail = tail.get_or_insert_default();
        let before = tail.len();
        binary::append(tensor.values(), tail);
        body.extend_from_slice(b"\",\"parameters\":{\"binary_data_size\":");
        append(&(tail.len() - before), body)?;
        body.push(b'}');
    } else {
        body.extend_from_slice(b"\",\"data\":");
        tensor_json::encode(name, tensor.values(), body)?;
    }
    body.push(b'}');
    Ok(())
}

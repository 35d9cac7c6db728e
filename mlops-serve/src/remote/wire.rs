//! Open Inference over REST as a client speaks it: requests from tensors, tensors from answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::transport::{Question, broken, damaged};
use crate::{
    oip::binary,
    protocol::json as tensor_json,
    tensor::{Tensor, element_count},
};

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: BTreeMap<&'static str, Value>,
    inputs: Vec<Input<'a>>,
}

#[derive(Serialize)]
struct Input<'a> {
    name: &'a str,
    shape: &'a [usize],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    outputs: Vec<Output<'a>>,
}

#[derive(Deserialize)]
struct Output<'a> {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    #[serde(default)]
    parameters: Option<BTreeMap<String, Value>>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

/// The body of an attempt that may take so many microseconds, and the length of its JSON where binary tensors follow.
pub(super) fn body(question: &Question, id: Option<&str>, micros_left: u64) -> Result<(Vec<u8>, Option<usize>)> {
    let in_binary = !question.raw.is_empty();
    let mut inputs = Vec::with_capacity(question.tensors.len());
    for (index, tensor) in question.tensors.iter().enumerate() {
        let raw = question.raw.get(index);
        let data = if raw.is_some() { None } else { Some(tensor_json::encoded(tensor.name(), tensor.values())?) };
        let parameters = raw.map(|raw| json!({ "binary_data_size": raw.len() }));
        let (name, shape, datatype) = (tensor.name(), tensor.shape(), tensor.data_type().name());
        inputs.push(Input { name, shape, datatype, parameters, data });
    }
    // The unit is Triton's, and ours.
    let mut parameters: BTreeMap<&'static str, Value> = [("timeout", micros_left.into())].into();
    if in_binary {
        parameters.insert("binary_data_output", true.into());
    }
    let request = Request { id, parameters, inputs };
    let mut body =
        serde_json::to_vec(&request).map_err(|error| Error::internal("the request is not JSON").with_source(error))?;
    let header_length = in_binary.then_some(body.len());
    question.raw.iter().for_each(|raw| body.extend_from_slice(raw));
    Ok((body, header_length))
}

/// The tensors of an answer, in the order that is expected, and as they are described.
///
/// # Errors
/// `Internal` when the answer is not of the protocol, or not what the metadata said.
pub(super) fn read(body: &Bytes, header_length: Option<usize>, question: &Question) -> Result<Vec<Tensor>> {
    let length = header_length.unwrap_or(body.len());
    let json = body.get(..length).ok_or_else(|| broken("says that its JSON is longer than it is"))?;
    let response: Response<'_> = serde_json::from_slice(json)
        .map_err(|error| Error::internal("the answer of the remote model cannot be read").with_source(error))?;
    let mut rest = body.slice(length..);
    let mut found = Vec::new();
    for output in &response.outputs {
        let size = output.parameters.as_ref().and_then(|all| all.get("binary_data_size")).and_then(Value::as_u64);
        let raw = match size.map(usize::try_from) {
            Some(Ok(size)) if size <= rest.len() => Some(rest.split_to(size)),
            Some(_) => return Err(broken("is shorter than it says")),
            None => None,
        };
        let Some(info) = question.expected(&output.name, &output.datatype, &output.shape)? else { continue };
        let count = element_count(&info.name, &output.shape)?;
        let values = match (raw, output.data) {
            (Some(raw), _) => binary::decode(&info.name, info.data_type, count, &raw),
            (None, Some(data)) => tensor_json::decode(&info.name, info.data_type, count, data),
            (None, None) => return Err(broken(&format!("has no data for output {:?}", output.name))),
        };
        let values = values.map_err(|error| damaged(&error))?;
        found.push(Tensor::new(&info.name, info.data_type, output.shape.clone(), values)?);
    }
    question.in_order(&found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Float32Array;
    use proptest::prelude::*;

    use super::*;
    use crate::{TensorType, tensor::TensorInfo};

    fn asked() -> Question {
        Question::new(Vec::new(), true, Arc::from([TensorInfo::new("y", TensorType::Fp32, [-1, 2])]), 1)
    }

    #[test]
    fn an_answer_must_be_what_the_metadata_said() {
        let read = |json: &str| read(&Bytes::from(json.to_owned()), None, &asked()).map(|tensors| tensors[0].rows());
        let answer = |fields: &str| format!(r#"{{"outputs": [{{"name": "y", {fields}}}]}}"#);
        assert_eq!(read(&answer(r#""datatype": "FP32", "shape": [1, 2], "data": [1, 2]"#)).unwrap(), 1);
        for (fields, fault) in [
            (r#""datatype": "FP64", "shape": [1, 2], "data": [1, 2]"#, "FP64"),
            (r#""datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]"#, "with 1 rows"),
            (r#""datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]"#, "[1, 3]"),
            (r#""datatype": "FP32", "shape": [1, 2], "data": [1]"#, "is damaged"),
            (r#""datatype": "FP32", "shape": [1, 2]"#, "no data"),
            (r#""datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}"#, "shorter"),
        ] {
            let error = read(&answer(fields)).unwrap_err();
            assert!(error.message().contains(fault), "{fields}: {error}");
        }
        assert!(read(r#"{"outputs": []}"#).unwrap_err().message().contains("lacks output \"y\""));
        assert!(read("<html>").is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), length in 0_usize..300) {
            let _ = read(&body.into(), Some(length), &asked());
        }

        #[test]
        fn what_is_written_in_binary_is_what_a_server_reads(values in prop::collection::vec(any::<f32>(), 2..20)) {
            let rows = values.len() / 2;
            let values = &values[..rows * 2];
            let tensor = Tensor::new("x", TensorType::Fp32, [rows, 2], Arc::new(Float32Array::from(values.to_vec())));
            let question = Question::new(vec![tensor.unwrap()], true, Arc::from([]), rows);
            let (body, length) = body(&question, Some("a"), 7).unwrap();
            let length = length.unwrap();
            let json: Value = serde_json::from_slice(&body[..length]).unwrap();
            prop_assert_eq!(&json["parameters"]["timeout"], &json!(7));
            prop_assert_eq!(&json["inputs"][0]["parameters"]["binary_data_size"], &json!(body.len() - length));
            let sent: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            prop_assert_eq!(&body[length..], &sent[..]);
        }
    }
}

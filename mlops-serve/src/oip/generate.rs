//! Triton's generate extension: named values in, named values out, as one JSON object or as one server-sent event.
//!
//! Models here answer once per request, so a stream has one event. A key that is no input of the model is a parameter,
//! and none has a meaning here.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{HeaderValue, header},
};
use mlops_core::{Error, Result};
use serde_json::value::RawValue;

use crate::{
    protocol::{
        Answer, Incoming, Inputs, Named,
        json::{Scalars, decode_rows},
        predict,
    },
    repository::LoadedVersion,
    server::{Server, TensorReply},
    tensor::{Tensor, TensorInfo, element_count},
};

pub(super) async fn generate(State(server): State<Server>, named: Named, incoming: Incoming) -> Answer {
    let target = named.target()?;
    let model = target.model.clone();
    predict(&server, target, incoming, read_body, move |reply, ()| write_object(&model, reply)).await
}

pub(super) async fn stream(State(server): State<Server>, named: Named, incoming: Incoming) -> Answer {
    let target = named.target()?;
    let model = target.model.clone();
    let write = move |reply: &TensorReply, ()| {
        // The object has no line ends, so it is one line of an event.
        Ok([b"data: ".as_slice(), &write_object(&model, reply)?, b"\n\n"].concat())
    };
    let mut response = predict(&server, target, incoming, read_body, write).await?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

fn read_body(body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, ())> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body)
        .map_err(|error| Error::invalid_argument(format!("the body is not a JSON object: {error}")))?;
    let mut inputs = Inputs::of(version);
    for info in &version.inputs {
        if let Some(data) = fields.get(&info.name) {
            inputs.push(one_row(info, data)?);
        }
    }
    Ok((inputs.finish()?, ()))
}

/// A scalar or a flat array as the one row of an input: the row's elements must be as many as the fixed dimensions
/// ask for, and one variable dimension takes the rest.
fn one_row(info: &TensorInfo, data: &RawValue) -> Result<Tensor> {
    let values: Vec<&RawValue> = match serde_json::from_str(data.get()) {
        Ok(values) => values,
        Err(_) => vec![data],
    };
    let flat = decode_rows(info, &values)?;
    let count = flat.values().len();
    let inner: Vec<Option<usize>> = info.shape.iter().skip(1).map(|dim| usize::try_from(*dim).ok()).collect();
    let fixed: Vec<usize> = inner.iter().flatten().copied().collect();
    let mut rest = count.checked_div(element_count(&info.name, &fixed)?);
    let dims = inner.into_iter().map(|dim| dim.or_else(|| rest.replace(1)).unwrap_or(1));
    let shape: Vec<usize> = match info.shape.first() {
        None => Vec::new(),
        Some(_) => std::iter::once(1).chain(dims).collect(),
    };
    Tensor::new(&info.name, info.data_type, shape, std::sync::Arc::clone(flat.values()))
}

/// Model, version, and each output: its value when it has one element, else a flat array.
fn write_object(model: &str, reply: &TensorReply) -> Result<Vec<u8>> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let version = reply.version.to_string();
    let mut out = format!("{{\"model_name\":{},\"model_version\":{}", text(model), text(&version)).into_bytes();
    for tensor in &reply.outputs {
        out.extend_from_slice(format!(",{}:", text(tensor.name())).as_bytes());
        let count = tensor.values().len();
        let flat = Tensor::new(tensor.name(), tensor.data_type(), [count], std::sync::Arc::clone(tensor.values()))?;
        let scalars = Scalars::of(&flat, false)?;
        if count == 1 { scalars.row(0, &mut out)? } else { scalars.whole(&mut out)? }
    }
    out.push(b'}');
    Ok(out)
}

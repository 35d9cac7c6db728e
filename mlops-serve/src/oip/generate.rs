//! Triton's generate extension: named values in, named values out, as one JSON object or as one server-sent event.
//!
//! Models here answer once per request, so a stream has one event. A member that is no input of the model is the `id`
//! of the request or a parameter, alone or in `parameters`, and no parameter has a meaning here.

use std::fmt;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::IntoResponse as _,
};
use bytes::Bytes;
use mlops_core::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::wish;
use crate::{
    protocol::{
        Answer, Incoming, Inputs, Named, Origin, Question, Target, ask, bytes_of, finish,
        json::{Scalars, decode_rows},
    },
    repository::LoadedVersion,
    server::{Server, TensorReply},
    tensor::{Tensor, TensorInfo, element_count},
};

pub(super) async fn generate(State(server): State<Server>, named: Named, incoming: Incoming) -> Answer {
    answered(&server, named.target()?, incoming, "application/json", |object| object).await
}

pub(super) async fn stream(State(server): State<Server>, named: Named, incoming: Incoming) -> Answer {
    // The object has no line ends, so it is one line of an event.
    let event = |object: Vec<u8>| [b"data: ".as_slice(), &object, b"\n\n"].concat();
    answered(&server, named.target()?, incoming, "text/event-stream", event).await
}

async fn answered(
    server: &Server,
    target: Target,
    mut incoming: Incoming,
    content_type: &'static str,
    framed: impl FnOnce(Vec<u8>) -> Vec<u8> + Send + 'static,
) -> Answer {
    let read = |body: Bytes, version: &_| read_body(&body, version);
    let (reply, id) = ask(server, &target, &mut incoming, read).await?;
    let origin = Origin::of(&reply);
    let (bytes, model) = (bytes_of(&reply.outputs), target.model);
    let write = move || Ok(framed(write_object(&model, id.as_deref(), &reply)?));
    let body = finish(server, bytes, write).await?;
    Ok(origin.told(([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], body).into_response()))
}

/// The tensors of a body, and its id if it has one.
fn read_body(body: &[u8], version: &LoadedVersion) -> Result<Question<Option<String>>> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let members = Members(version).deserialize(&mut json).and_then(|members| json.end().map(|()| members));
    let members =
        members.map_err(|error| Error::invalid_argument(format!("the body is no JSON object of inputs: {error}")))?;
    let (mut inputs, mut id) = (Inputs::of(version), None);
    for (name, data) in members {
        match version.inputs.iter().find(|info| info.name == name) {
            Some(info) => inputs.push(one_row(info, data)?),
            None if name == ID => {
                let text: Option<String> = serde_json::from_str(data.get())
                    .map_err(|_| Error::invalid_argument("the id of the request is not a string"))?;
                id = text.filter(|text| !text.is_empty());
            }
            None if data.get().starts_with('{') || data.get() == "null" => {}
            None => return Err(Error::invalid_argument("the parameters of the request are not an object")),
        }
    }
    let options = wish::options(id.as_deref(), &None::<super::parameters::Parameters<'_>>)?;
    Ok(Question { tensors: inputs.finish()?, options, wish: id })
}

const ID: &str = "id";
const PARAMETERS: &str = "parameters";

/// Reads the members of an object that have a meaning: the inputs of the version, [`ID`] and [`PARAMETERS`], each at
/// most once. All others are skipped.
struct Members<'a>(&'a LoadedVersion);

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Vec<(String, &'de RawValue)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let is_input = self.0.inputs.iter().any(|info| info.name == name);
            if !is_input && name != ID && name != PARAMETERS {
                map.next_value::<IgnoredAny>()?;
            } else if members.iter().any(|(taken, _)| *taken == name) {
                return Err(A::Error::custom(format!("{name:?} is given twice")));
            } else {
                members.push((name, map.next_value()?));
            }
        }
        Ok(members)
    }
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

/// Model, version, the id that the request had, and each output: its value when it has one element, else a flat array.
fn write_object(model: &str, id: Option<&str>, reply: &TensorReply) -> Result<Vec<u8>> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let version = reply.version.to_string();
    let mut out = format!("{{\"model_name\":{},\"model_version\":{}", text(model), text(&version)).into_bytes();
    if let Some(id) = id {
        out.extend_from_slice(format!(",\"id\":{}", text(id)).as_bytes());
    }
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

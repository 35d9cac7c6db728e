//! Explanations in the words of Open Inference: a request for an inference, answered by what the inputs contributed.
//!
//! The protocol has no such call; this one takes its request and gives its answer, so that its clients can read it: the
//! tensors `attributions` (rows, targets, features), `predictions` (rows, targets) and `base_values` (targets), and the
//! names `targets` and `features`.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Float64Array};
use axum::{
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, header},
    response::IntoResponse as _,
};
use mlops_core::{Result, Version};

use super::{
    convert::{self, Wish},
    infer::HEADER_LENGTH,
};
use crate::{
    explain::Explanation,
    protocol::{Answer, Incoming, parse_version},
    server::{Explained, Server},
    tensor::{Tensor, TensorType},
};

type Body = std::result::Result<Bytes, BytesRejection>;

pub(super) async fn explain(
    State(server): State<Server>,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    answer(&server, &model, None, &headers, body).await
}

pub(super) async fn explain_version(
    State(server): State<Server>,
    Path((model, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    answer(&server, &model, Some(parse_version(&version)?), &headers, body).await
}

async fn answer(server: &Server, model: &str, version: Option<Version>, headers: &HeaderMap, body: Body) -> Answer {
    let incoming = Incoming::new(headers, body)?;
    let wanted = server.inner.awake(model, version).await?;
    wanted.explainer()?;
    let header_length = headers.get(HEADER_LENGTH).map(|value| value.to_str().unwrap_or_default().to_owned());
    let described_by = Arc::clone(&wanted.described_by);
    let parse = move |body: Bytes| convert::check(&body, header_length.as_deref(), &described_by);
    let checked = incoming.read(server, parse).await?;
    let Explained { explanation, version } = server.explain_tensors(wanted, &checked.tensors).await?;
    let tensors = tensors(explanation)?;
    let (body, _) = convert::respond((model, version.0), checked.id.as_deref(), &tensors, &Wish::default())?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn tensors(explanation: Explanation) -> Result<Vec<Tensor>> {
    let (rows, targets, features) = (explanation.rows(), explanation.targets.len(), explanation.features.len());
    let numbers = |name, shape: Vec<usize>, values: Vec<f64>| {
        Tensor::new(name, TensorType::Fp64, shape, Arc::new(Float64Array::from(values)) as ArrayRef)
    };
    let names = |name, names: &[String]| {
        let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(names));
        Tensor::new(name, TensorType::Bytes, [names.len()], values)
    };
    Ok(vec![
        numbers("attributions", vec![rows, targets, features], explanation.attributions)?,
        numbers("predictions", vec![rows, targets], explanation.predictions)?,
        numbers("base_values", vec![targets], explanation.base_values)?,
        names("targets", &explanation.targets)?,
        names("features", &explanation.features)?,
    ])
}

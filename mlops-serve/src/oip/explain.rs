//! Explanations in the words of Open Inference: a request for an inference, answered by what the inputs contributed.
//!
//! The protocol has no such call; this one takes its request and gives its answer, so that its clients can read it: the
//! tensors `attributions` (rows, targets, features), `predictions` (rows, targets) and `base_values` (targets), and the
//! names `targets` and `features`.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Float64Array};
use axum::{extract::State, http::header, response::IntoResponse as _};
use mlops_core::Result;

use super::{convert, infer::header_length};
use crate::{
    explain::Explanation,
    protocol::{Answer, Incoming, Named, ask_why},
    server::{Explained, Server},
    tensor::{Tensor, TensorType},
};

pub(super) async fn explain(State(server): State<Server>, named: Named, mut incoming: Incoming) -> Answer {
    let target = named.target()?;
    let length = header_length(&incoming.headers);
    let read = move |body, version: &_| convert::check(&body, length.as_deref(), version);
    let (Explained { explanation, version }, wish) = ask_why(&server, &target, &mut incoming, read).await?;
    let tensors = tensors(explanation)?;
    let (body, _) = convert::respond((&target.model, version.0), &tensors, &wish.everything())?;
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

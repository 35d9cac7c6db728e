//! The JSON of Open Inference v2, field for field. Unknown fields are ignored, as the specification asks.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::parameters::Parameters;

#[derive(Debug, Deserialize)]
pub(super) struct InferRequest<'a> {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default, borrow)]
    pub(super) parameters: Option<Parameters<'a>>,
    #[serde(borrow)]
    pub(super) inputs: Vec<RequestInput<'a>>,
    #[serde(default, borrow)]
    pub(super) outputs: Option<Vec<RequestOutput<'a>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RequestInput<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) shape: Vec<u64>,
    #[serde(borrow)]
    pub(super) datatype: Cow<'a, str>,
    #[serde(default, borrow)]
    pub(super) parameters: Option<Parameters<'a>>,
    #[serde(default, borrow)]
    pub(super) data: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RequestOutput<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(default, borrow)]
    pub(super) parameters: Option<Parameters<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct ServerMetadata<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'static str,
    pub(super) extensions: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct ModelMetadata<'a> {
    pub(super) name: &'a str,
    pub(super) versions: Vec<String>,
    pub(super) platform: &'a str,
    pub(super) inputs: Vec<TensorMetadata<'a>>,
    pub(super) outputs: Vec<TensorMetadata<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct TensorMetadata<'a> {
    pub(super) name: &'a str,
    pub(super) datatype: &'static str,
    pub(super) shape: &'a [i64],
}

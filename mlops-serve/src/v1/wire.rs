//! The JSON of status and metadata.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What every call may carry beside its inputs.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Head {
    #[serde(default)]
    pub(super) signature_name: Option<String>,
}

/// The body of `:classify` and `:regress`.
#[derive(Debug, Deserialize)]
pub(super) struct Examples<'a> {
    /// Features of every example.
    #[serde(default, borrow)]
    pub(super) context: BTreeMap<String, &'a RawValue>,
    #[serde(borrow)]
    pub(super) examples: Vec<BTreeMap<String, &'a RawValue>>,
}

#[derive(Debug, Serialize)]
pub(super) struct ModelState {
    /// KServe's part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ready: Option<bool>,
    pub(super) model_version_status: Vec<VersionState>,
}

#[derive(Debug, Serialize)]
pub(super) struct VersionState {
    pub(super) version: String,
    pub(super) state: &'static str,
    pub(super) status: Code,
}

#[derive(Debug, Serialize)]
pub(super) struct Code {
    pub(super) error_code: &'static str,
    pub(super) error_message: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    pub(super) model_spec: ModelSpec,
    pub(super) metadata: SignatureMetadata,
}

#[derive(Debug, Serialize)]
pub(super) struct ModelSpec {
    pub(super) name: String,
    pub(super) signature_name: &'static str,
    pub(super) version: String,
}

#[derive(Debug, Serialize)]
pub(super) struct SignatureMetadata {
    pub(super) signature_def: SignatureDefs,
}

#[derive(Debug, Serialize)]
pub(super) struct SignatureDefs {
    pub(super) signature_def: BTreeMap<&'static str, SignatureDef>,
}

#[derive(Debug, Serialize)]
pub(super) struct SignatureDef {
    pub(super) inputs: BTreeMap<String, TensorDef>,
    pub(super) outputs: BTreeMap<String, TensorDef>,
    pub(super) method_name: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct TensorDef {
    pub(super) dtype: &'static str,
    pub(super) tensor_shape: Shape,
    pub(super) name: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Shape {
    pub(super) dim: Vec<Dim>,
    pub(super) unknown_rank: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Dim {
    /// A number as text, as protobuf writes 64-bit integers in JSON.
    pub(super) size: String,
    pub(super) name: String,
}

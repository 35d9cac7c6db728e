//! Bodies of predictions, which TorchServe leaves to its handlers: JSON, a form, or bytes.

use axum::http::{HeaderMap, header};
use mlops_core::Result;

use crate::{
    protocol::{Form, Layout, Shown, media_type, multipart},
    repository::LoadedVersion,
    tensor::Tensor,
};

/// Rows in an array, one row as an object, or KServe's two envelopes; answered by the bare value.
pub(super) static FORM: Form =
    Form { keys: &[("instances", Layout::Rows), ("inputs", Layout::Columns)], bare: true, answer: None };

/// What a body is, as far as its headers tell.
#[derive(Debug)]
pub(super) enum Content {
    Json,
    /// Nobody said: JSON, or else the value of a model that takes bytes, as `curl -T FILE` sends it.
    Unsaid,
    /// The value of a model that takes bytes.
    Bytes,
    /// A form, by its content type.
    Parts(String),
}

impl Content {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let kind = media_type(headers).to_ascii_lowercase();
        match kind.split_once('/') {
            None => Self::Unsaid,
            Some(("multipart", "form-data")) => {
                let whole = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                Self::Parts(whole.unwrap_or_default().to_owned())
            }
            Some(("text" | "image" | "audio" | "video", _) | ("application", "octet-stream")) => Self::Bytes,
            // Among them what curl says of JSON when nobody tells it better.
            Some(_) => Self::Json,
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// `InvalidArgument` for a body that is not what its headers say, or does not fit the model.
    pub(super) fn read(&self, body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
        match self {
            Self::Json => FORM.read(body, version),
            Self::Unsaid => FORM.read_or_take(body, version),
            Self::Bytes => FORM.take_or_read(body, version),
            Self::Parts(content_type) => {
                FORM.read_fields(&multipart::parts(&multipart::boundary(content_type)?, body)?, version)
            }
        }
    }
}

//! Open Inference on the path of a cloud's own contract, where clients that were written for Triton behind SageMaker and
//! Vertex AI send it.
//!
//! A body is told by its `inputs`, each with a datatype, which no form of rows has. Binary tensors come under a content
//! type of their own, `application/vnd.CLOUD-triton.binary+json;json-header-size=BYTES`, for these paths pass no other
//! header on. Everything else is rows, which the contract reads and writes itself.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::IntoResponse as _,
};
use bytes::Bytes;
use mlops_core::Result;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    convert::{self, Wish},
    infer::{HEADER_LENGTH, write},
};
use crate::{
    protocol::{
        Answer, Failure, Incoming, Origin, Question, Shown, Target, ask, bytes_of, encoding, finish, media_type,
    },
    repository::LoadedVersion,
    server::{InferOptions, Server, TensorReply},
    tensor::Tensor,
};

/// A cloud whose path it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    /// The media type of bodies with binary tensors.
    binary: &'static str,
    /// Whether the length of the JSON part of an answer is told in the content type, too.
    tells_in_type: bool,
}

pub(crate) const SAGEMAKER: Host = Host { binary: "application/vnd.sagemaker-triton.binary+json", tells_in_type: true };
pub(crate) const VERTEX: Host = Host { binary: "application/vnd.vertex-ai-triton.binary+json", tells_in_type: false };

/// How the contract reads and writes what is not Open Inference.
pub(crate) struct Rows<R, W> {
    pub(crate) read: R,
    pub(crate) write: W,
    /// Of what is written.
    pub(crate) content_type: &'static str,
}

/// How an answer is written.
enum Written {
    Rows(Shown),
    Tensors(Wish),
}

impl Host {
    /// Whether the body has binary tensors.
    pub(crate) fn is_binary(self, headers: &HeaderMap) -> bool {
        media_type(headers).eq_ignore_ascii_case(self.binary)
    }

    /// Answers a request in the form that it has.
    ///
    /// # Errors
    /// 400 for binary tensors whose content type does not say where they begin; what the body, the model or the server
    /// refuses.
    pub(crate) async fn answer<R, W>(
        self,
        server: &Server,
        target: Target,
        mut incoming: Incoming,
        rows: Rows<R, W>,
    ) -> Answer
    where
        R: FnOnce(&[u8], &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> + Send + 'static,
        W: FnOnce(&TensorReply, Shown) -> Result<Vec<u8>> + Send + 'static,
    {
        let size = if self.is_binary(&incoming.headers) { Some(self.header_size(&incoming.headers)?) } else { None };
        let Rows { read, write: write_rows, content_type } = rows;
        let read = move |body: Bytes, version: &LoadedVersion| {
            if size.is_some() || is_request(&body) {
                let Question { tensors, options, wish } = convert::check(&body, size.as_deref(), version)?;
                return Ok(Question { tensors, options, wish: Written::Tensors(wish) });
            }
            let (tensors, shown) = read(&body, version)?;
            Ok(Question { tensors, options: InferOptions::default(), wish: Written::Rows(shown) })
        };
        let (reply, written) = ask(server, &target, &mut incoming, read).await?;
        match written {
            Written::Rows(shown) => {
                let (origin, bytes) = (Origin::of(&reply), bytes_of(&reply.outputs));
                let body = finish(server, bytes, move || write_rows(&reply, shown)).await?;
                Ok(origin.told(([(header::CONTENT_TYPE, content_type)], body).into_response()))
            }
            Written::Tensors(wish) => {
                let accepted = encoding::for_response(&incoming.headers);
                let mut response = write(server, target.model, reply, wish, accepted).await?;
                self.tell_in_type(response.headers_mut());
                Ok(response)
            }
        }
    }

    fn header_size(self, headers: &HeaderMap) -> std::result::Result<String, Failure> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut parameters = kind.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        let size = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("json-header-size"));
        let size = size.map(|(_, size)| size.trim()).filter(|size| size.parse::<usize>().is_ok_and(|size| size > 0));
        size.map(str::to_owned).ok_or_else(|| {
            let text = format!("the content type must be {};json-header-size=BYTES", self.binary);
            Failure::new(StatusCode::BAD_REQUEST, text)
        })
    }

    fn tell_in_type(self, headers: &mut HeaderMap) {
        let length = headers.get(HEADER_LENGTH).and_then(|length| length.to_str().ok());
        let kind = length.map(|length| HeaderValue::try_from(format!("{};json-header-size={length}", self.binary)));
        if let (true, Some(Ok(kind))) = (self.tells_in_type, kind) {
            headers.insert(header::CONTENT_TYPE, kind);
        }
    }
}

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "inputs")]
    _inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    #[serde(rename = "datatype")]
    _datatype: IgnoredAny,
}

fn is_request(body: &[u8]) -> bool {
    const WORD: &[u8] = b"\"datatype\"";
    // Most bodies are rows, which are not read twice.
    body.windows(WORD.len()).any(|window| window == WORD) && serde_json::from_slice::<Request>(body).is_ok()
}

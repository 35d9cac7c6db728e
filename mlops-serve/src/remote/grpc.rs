//! Attempts over gRPC, with raw tensors. HTTP/2 is carried by the client that carries REST, so both have one TLS.
//!
//! Messages are weighed before they are built, as those of clients are: the other server is not trusted with our memory.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use axum::{
    body::to_bytes,
    http::{Request, Response, StatusCode, Uri, uri::PathAndQuery},
};
use bytes::{Buf as _, BufMut as _, Bytes};
use mlops_core::{Error, Result};
use mlops_http::reqwest::{self, header::HeaderMap};
use prost::Message;
use tonic::{
    Code, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{MetadataMap, MetadataValue},
};
use tower::{BoxError, service_fn};

use super::{
    RemoteSettings,
    address::Address,
    fault::{Fault, SERVER},
    transport::{Attempt, Described, Metadata, Question, Transport, WORDS_BYTES_MAX, broken, damaged},
};
use crate::{
    ambient::Ambient,
    grpc::{
        codec::decode,
        convert::typed,
        layout::Laid,
        messages::{
            InferParameter, InferTensor, ModelInferRequest, ModelInferResponse, ModelMetadataResponse,
            ModelVersionRequest, ParameterChoice, ReadyResponse, TensorMetadata,
        },
    },
    oip::binary,
    tensor::{Tensor, element_count},
};

#[derive(Debug)]
pub(super) struct Calls {
    http: reqwest::Client,
    origin: Uri,
    server: String,
    model: String,
    version: String,
    answer_bytes_max: usize,
    /// Sent with every call; it may hold a secret.
    metadata: MetadataMap,
}

impl Calls {
    pub(super) fn new(address: &Address, settings: &RemoteSettings, headers: HeaderMap) -> Result<Self> {
        let http = mlops_http::http2_client_builder(super::PRODUCT)?.tcp_nodelay(true).build();
        let http = http.map_err(|error| Error::internal("no http client for remote models").with_source(error))?;
        let origin = address.carrier.as_str().parse();
        let origin = origin.map_err(|error| Error::invalid_argument("the url cannot be called").with_source(error))?;
        Ok(Self {
            http,
            origin,
            server: address.origin(),
            model: settings.model.clone(),
            version: settings.version.clone().unwrap_or_default(),
            answer_bytes_max: settings.answer_bytes_max,
            metadata: MetadataMap::from_headers(headers),
        })
    }

    fn asked(&self) -> ModelVersionRequest {
        ModelVersionRequest { name: self.model.clone(), version: self.version.clone() }
    }

    fn request(&self, message: &impl Message) -> tonic::Request<Bytes> {
        let mut request = tonic::Request::new(message.encode_to_vec().into());
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    async fn call<A: Message + Laid + Default>(
        &self,
        method: &'static str,
        request: tonic::Request<Bytes>,
        bytes_max: usize,
    ) -> Attempt<A> {
        let http = self.http.clone();
        let carry = service_fn(move |request| carried(http.clone(), request));
        let mut grpc = Grpc::with_origin(carry, self.origin.clone())
            .max_decoding_message_size(bytes_max)
            .max_encoding_message_size(usize::MAX);
        let answer = grpc.unary(request, PathAndQuery::from_static(method), Whole).await;
        let answer = answer.map_err(|status| Fault::of_call(&self.server, bytes_max, status))?;
        decode(answer.into_inner(), bytes_max).map_err(|status| match status.code() {
            // Longer in memory than it was on the way.
            Code::OutOfRange => Fault::too_long(&self.server, bytes_max),
            _ => Fault::lasting(broken(status.message()).with(SERVER, &self.server)),
        })
    }
}

/// Sends a call by the client of HTTP; its answer keeps its trailers.
async fn carried(
    http: reqwest::Client,
    request: Request<tonic::body::Body>,
) -> std::result::Result<Response<reqwest::Body>, BoxError> {
    let (parts, body) = request.into_parts();
    // One message, which is in memory as it is.
    let body = to_bytes(axum::body::Body::new(body), usize::MAX).await?;
    let request = reqwest::Request::try_from(Request::from_parts(parts, body))?;
    Ok(without_page(http.execute(request).await?.into()))
}

/// What a proxy answers in place of a server is known by its status: the page that comes with it is no message.
fn without_page(response: Response<reqwest::Body>) -> Response<reqwest::Body> {
    if response.status() == StatusCode::OK { response } else { response.map(|_| reqwest::Body::default()) }
}

/// Messages as the bytes they are, so that one that cannot be read is not taken for a refusal of the other server.
#[derive(Debug, Clone, Copy)]
struct Whole;

impl Codec for Whole {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> std::result::Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[async_trait]
impl Transport for Calls {
    async fn metadata(&self) -> Attempt<Metadata> {
        let method = "/inference.GRPCInferenceService/ModelMetadata";
        let answer: ModelMetadataResponse = self.call(method, self.request(&self.asked()), WORDS_BYTES_MAX).await?;
        let described = |all: Vec<TensorMetadata>| {
            let one = |TensorMetadata { name, datatype, shape }| Described { name, datatype, shape };
            all.into_iter().map(one).collect()
        };
        Ok(Metadata { inputs: described(answer.inputs), outputs: described(answer.outputs) })
    }

    async fn ready(&self) -> Attempt<()> {
        let method = "/inference.GRPCInferenceService/ModelReady";
        let answer: ReadyResponse = self.call(method, self.request(&self.asked()), WORDS_BYTES_MAX).await?;
        if answer.ready {
            return Ok(());
        }
        let error = Error::unavailable("the server of the model says that it is not ready");
        Err(Fault::lasting(error.with(SERVER, &self.server)))
    }

    async fn infer(&self, question: &Question, ambient: &Ambient, left: Duration) -> Attempt<Vec<Tensor>> {
        let mut request = self.request(&message(self, question, ambient, left));
        request.set_timeout(left);
        if let Some(trace) = ambient.trace.and_then(|trace| MetadataValue::try_from(trace.to_string()).ok()) {
            request.metadata_mut().insert("traceparent", trace);
        }
        let method = "/inference.GRPCInferenceService/ModelInfer";
        let answer: ModelInferResponse = self.call(method, request, self.answer_bytes_max).await?;
        read(&answer, question).map_err(Fault::lasting)
    }
}

fn message(calls: &Calls, question: &Question, ambient: &Ambient, left: Duration) -> ModelInferRequest {
    let dims = |shape: &[usize]| shape.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
    let input = |tensor: &Tensor| InferTensor {
        name: tensor.name().to_owned(),
        datatype: tensor.data_type().name().to_owned(),
        shape: dims(tensor.shape()),
        parameters: HashMap::new(),
        contents: None,
    };
    let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
    let timeout = InferParameter { parameter_choice: Some(ParameterChoice::Int64(micros)) };
    ModelInferRequest {
        model_name: calls.model.clone(),
        model_version: calls.version.clone(),
        id: ambient.request_id.as_deref().unwrap_or_default().to_owned(),
        parameters: HashMap::from([("timeout".to_owned(), timeout)]),
        inputs: question.tensors.iter().map(input).collect(),
        outputs: Vec::new(),
        raw_input_contents: question.raw.clone(),
    }
}

/// The tensors of an answer, in the order that is expected; servers may answer in typed contents.
///
/// # Errors
/// `Internal` when it is not what the metadata said.
fn read(answer: &ModelInferResponse, question: &Question) -> Result<Vec<Tensor>> {
    let raw = &answer.raw_output_contents;
    if !raw.is_empty() && raw.len() != answer.outputs.len() {
        return Err(broken(&format!("has {} outputs with {} contents", answer.outputs.len(), raw.len())));
    }
    let mut found = Vec::with_capacity(answer.outputs.len());
    for (index, output) in answer.outputs.iter().enumerate() {
        let shape = output.shape.iter().map(|dim| usize::try_from(*dim)).collect::<std::result::Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| broken(&format!("has output {:?} with a negative dimension", output.name)))?;
        let Some(info) = question.expected(&output.name, &output.datatype, &shape)? else { continue };
        let count = element_count(&info.name, &shape)?;
        let values = match (raw.get(index), &output.contents) {
            (Some(raw), _) => binary::decode(&info.name, info.data_type, count, raw),
            (None, Some(contents)) => typed(info, contents, count),
            (None, None) => return Err(broken(&format!("has no data for output {:?}", output.name))),
        };
        found.push(Tensor::new(&info.name, info.data_type, shape, values.map_err(|error| damaged(&error))?)?);
    }
    question.in_order(&found)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use mlops_core::ErrorKind;

    use super::*;
    use crate::{
        grpc::messages::InferTensorContents,
        tensor::{TensorInfo, TensorType},
    };

    #[tokio::test]
    async fn the_page_of_a_proxy_is_an_outage_and_not_an_answer() {
        for status in [429, 502, 503, 504] {
            let carry = service_fn(move |_: Request<tonic::body::Body>| async move {
                let page =
                    Response::builder().status(status).body(reqwest::Body::from("<html>try later</html>")).unwrap();
                Ok::<_, Infallible>(without_page(page))
            });
            let mut grpc = Grpc::with_origin(carry, Uri::from_static("http://there"));
            let path = PathAndQuery::from_static("/there");
            let refused = grpc.unary(tonic::Request::new(Bytes::new()), path, Whole).await.unwrap_err();
            let fault = Fault::of_call("grpc://there", 7, refused);
            assert_eq!((fault.error.kind(), fault.again), (ErrorKind::Unavailable, true), "{status}: {}", fault.error);
        }
    }

    fn question() -> Question {
        Question::new(Vec::new(), true, Arc::from([TensorInfo::new("y", TensorType::Fp32, [-1, 2])]), 1)
    }

    fn answer(datatype: &str, shape: &[i64], typed: Option<Vec<f32>>, raw: Option<&[u8]>) -> ModelInferResponse {
        let contents =
            typed.map(|fp32_contents| InferTensorContents { fp32_contents, ..InferTensorContents::default() });
        let (name, datatype) = ("y".to_owned(), datatype.to_owned());
        let output = InferTensor { name, datatype, shape: shape.to_vec(), contents, ..InferTensor::default() };
        let raw_output_contents = raw.map(Bytes::copy_from_slice).into_iter().collect();
        ModelInferResponse { outputs: vec![output], raw_output_contents, ..ModelInferResponse::default() }
    }

    #[test]
    fn an_answer_is_read_raw_and_typed_and_must_be_what_the_metadata_said() {
        let read = |answer: ModelInferResponse| read(&answer, &question());
        let raw = [1.0_f32, 2.0].map(f32::to_le_bytes).concat();
        let both = [answer("FP32", &[1, 2], Some(vec![1.0, 2.0]), None), answer("FP32", &[1, 2], None, Some(&raw))];
        let [typed, raw_read] = both.map(|answer| read(answer).unwrap());
        assert_eq!((typed[0].shape(), typed[0].values()), (&[1, 2][..], raw_read[0].values()));
        for (answer, fault) in [
            (answer("FP64", &[1, 2], None, Some(&raw)), "FP64"),
            (answer("FP32", &[2, 2], None, Some(&raw)), "with 1 rows"),
            (answer("FP32", &[1, -2], None, Some(&raw)), "negative"),
            (answer("FP32", &[1, 2], None, Some(&raw[..7])), "is damaged"),
            (answer("FP32", &[1, 2], Some(vec![1.0]), None), "is damaged"),
            (answer("FP32", &[1, 2], None, None), "no data"),
            (ModelInferResponse::default(), "lacks output \"y\""),
            (ModelInferResponse { raw_output_contents: vec![Bytes::new()], ..Default::default() }, "1 contents"),
        ] {
            let error = read(answer).unwrap_err();
            assert!(error.message().contains(fault), "{fault}: {error}");
        }
    }
}

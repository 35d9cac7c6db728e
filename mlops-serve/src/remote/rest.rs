//! Attempts over REST, with binary tensors where the settings let them.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use mlops_core::{Error, Result};
use mlops_http::reqwest::{
    self, Response, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use super::{
    RemoteSettings,
    address::Address,
    fault::{Fault, SERVER},
    transport::{Attempt, Metadata, Question, Transport, WORDS_BYTES_MAX},
    wire::{body, read},
};
use crate::{ambient::Ambient, tensor::Tensor};

const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A body with the length of its JSON where binary tensors follow.
type Answered = (Bytes, Option<usize>);

#[derive(Debug)]
pub(super) struct Rest {
    http: reqwest::Client,
    /// Of the model, `.../v2/models/{model}[/versions/{version}]`.
    model: Url,
    server: String,
    answer_bytes_max: usize,
    /// Sent with every call; it may hold a secret.
    headers: HeaderMap,
}

impl Rest {
    pub(super) fn new(address: &Address, settings: &RemoteSettings, headers: HeaderMap) -> Result<Self> {
        let mut model = address.carrier.clone();
        if let Ok(mut path) = model.path_segments_mut() {
            path.pop_if_empty().extend(["v2", "models", settings.model.as_str()]);
            if let Some(version) = &settings.version {
                path.extend(["versions", version.as_str()]);
            }
        }
        let http = mlops_http::client_builder(super::PRODUCT)?.tcp_nodelay(true).build();
        let http = http.map_err(|error| Error::internal("no http client for remote models").with_source(error))?;
        Ok(Self { http, model, server: address.origin(), answer_bytes_max: settings.answer_bytes_max, headers })
    }

    fn url(&self, below: Option<&str>) -> Url {
        let mut url = self.model.clone();
        if let (Ok(mut path), Some(below)) = (url.path_segments_mut(), below) {
            path.push(below);
        }
        url
    }

    async fn get(&self, below: Option<&str>) -> Attempt<Answered> {
        let request = self.http.get(self.url(below)).headers(self.headers.clone());
        self.answered(request.send().await, WORDS_BYTES_MAX).await
    }

    async fn answered(&self, sent: reqwest::Result<Response>, bytes_max: usize) -> Attempt<Answered> {
        let response = sent.map_err(|error| Fault::of_transport(&self.server, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes_max = if status.is_success() { bytes_max } else { bytes_max.min(WORDS_BYTES_MAX) };
        let body = self.body(response, bytes_max).await?;
        if !status.is_success() {
            return Err(Fault::of_status(&self.server, status, &headers, &body));
        }
        let length = headers.get(HEADER_LENGTH).map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
        match length {
            Some(None) => {
                let error = Error::internal("the server of the model sent a length that is no number");
                Err(Fault::lasting(error.with(SERVER, &self.server)))
            }
            length => Ok((body, length.flatten())),
        }
    }

    async fn body(&self, mut response: Response, bytes_max: usize) -> Attempt<Bytes> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Fault::of_transport(&self.server, error))? {
            if body.len().saturating_add(chunk.len()) > bytes_max {
                return Err(Fault::too_long(&self.server, bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

#[async_trait]
impl Transport for Rest {
    async fn metadata(&self) -> Attempt<Metadata> {
        let (body, _) = self.get(None).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let text = format!("{} does not describe its model", self.server);
            Fault::lasting(Error::failed_precondition(text).with_source(error))
        })
    }

    async fn ready(&self) -> Attempt<()> {
        self.get(Some("ready")).await.map(drop)
    }

    async fn infer(&self, question: &Question, ambient: &Ambient, left: Duration) -> Attempt<Vec<Tensor>> {
        let micros = u64::try_from(left.as_micros()).unwrap_or(u64::MAX).max(1);
        let (body, header_length) = body(question, ambient.request_id.as_deref(), micros).map_err(Fault::lasting)?;
        let kind = if header_length.is_some() { "application/octet-stream" } else { "application/json" };
        let mut headers = self.headers.clone();
        headers.insert("content-type", HeaderValue::from_static(kind));
        if let Some(length) = header_length {
            headers.insert(HEADER_LENGTH, HeaderValue::from(length));
        }
        if let Some(value) = ambient.trace.and_then(|trace| HeaderValue::try_from(trace.to_string()).ok()) {
            headers.insert(TRACEPARENT, value);
        }
        let request = self.http.post(self.url(Some("infer"))).headers(headers).body(body);
        let (body, header_length) = self.answered(request.send().await, self.answer_bytes_max).await?;
        read(&body, header_length, question).map_err(Fault::lasting)
    }
}

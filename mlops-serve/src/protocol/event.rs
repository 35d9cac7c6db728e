//! CloudEvents 1.0 around a request and its answer: attributes as headers (binary mode), or data and attributes in one
//! JSON object (structured mode).
//!
//! Invariant: an event is answered by an event in the same mode; failures are told as those of plain requests are. See
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>.

use std::borrow::Cow;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use mlops_core::{Error, Result};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::Failure;
use crate::server::Server;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
/// Attributes that every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// The versions of the specification whose events are read; they agree in all that is looked at.
const READ: [&str; 2] = ["1.0", "0.3"];
/// What an answer is, as KServe's clients know it; its source is this with the model for the last word.
const ANSWER: &str = "io.kserve.inference.response";

/// How a request is wrapped, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Envelope {
    Plain,
    Binary,
    Structured,
}

impl Envelope {
    /// As the headers tell it.
    ///
    /// # Errors
    /// 400 naming the attribute that is missing, or the version of events that is not read; 415 for a batch of events.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        match media_type(headers) {
            kind if kind.eq_ignore_ascii_case(STRUCTURED) => return Ok(Self::Structured),
            kind if kind.eq_ignore_ascii_case(BATCH) => {
                let text = format!("a batch of events is not taken; send each as {STRUCTURED}");
                return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
            }
            _ if !headers.contains_key("ce-specversion") => return Ok(Self::Plain),
            _ => {}
        }
        let of = |name: &str| headers.get(format!("ce-{name}")).and_then(|value| value.to_str().ok());
        check(of)?;
        Ok(Self::Binary)
    }

    /// The request that the body carries.
    ///
    /// # Errors
    /// `InvalidArgument` for a body that is no event, lacks an attribute or has no data.
    pub(crate) fn data(self, body: &[u8]) -> Result<Cow<'_, [u8]>> {
        if self != Self::Structured {
            return Ok(Cow::Borrowed(body));
        }
        let event: Event<'_> = serde_json::from_slice(body)
            .map_err(|error| Error::invalid_argument(format!("the body is no CloudEvent: {error}")))?;
        let Event { specversion, id, source, kind, data, data_base64 } = event;
        check(|name| match name {
            "specversion" => specversion.as_deref(),
            "id" => id.as_deref(),
            "source" => source.as_deref(),
            _ => kind.as_deref(),
        })?;
        match (data, data_base64) {
            (Some(data), None) => Ok(Cow::Borrowed(data.get().as_bytes())),
            (None, Some(text)) => BASE64_STANDARD
                .decode(&*text)
                .map(Cow::Owned)
                .map_err(|_| Error::invalid_argument("data_base64 of the CloudEvent is not base64")),
            _ => Err(Error::invalid_argument("the CloudEvent must have one of data and data_base64")),
        }
    }

    /// The answer of `model` in the same envelope.
    pub(crate) fn answer(self, server: &Server, model: &str) -> Answered {
        let inner = &server.inner;
        let attributes = (self != Self::Plain).then(|| Attributes {
            id: inner.next_request_id(),
            source: format!("io.kserve.inference.{model}"),
            time: inner.clock.now().to_string(),
        });
        Answered { structured: self == Self::Structured, attributes }
    }
}

/// Whether the attributes are those of an event that is read here.
fn check<'a>(of: impl Fn(&str) -> Option<&'a str>) -> Result<()> {
    if let Some(missing) = REQUIRED.iter().find(|name| of(name).is_none_or(str::is_empty)) {
        return Err(Error::invalid_argument(format!("the CloudEvent has no {missing}")));
    }
    match of("specversion") {
        Some(version) if !READ.contains(&version) => {
            Err(Error::invalid_argument(format!("CloudEvents of version {version:?} are not taken; send 1.0")))
        }
        _ => Ok(()),
    }
}

/// The content type without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    specversion: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data_base64: Option<Cow<'a, str>>,
}

/// What the event of an answer says of itself.
#[derive(Debug, Clone)]
struct Attributes {
    id: String,
    source: String,
    time: String,
}

/// The envelope of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    structured: bool,
    attributes: Option<Attributes>,
}

impl Answered {
    /// Whether numbers that are not finite may be bare tokens, as the protocol inside allows: an event is JSON.
    pub(crate) fn takes_tokens(&self) -> bool {
        !self.structured
    }

    /// The body with the answer's JSON in it.
    pub(crate) fn wrap(&self, data: Vec<u8>) -> Vec<u8> {
        let Some(Attributes { id, source, time }) = self.attributes.as_ref().filter(|_| self.structured) else {
            return data;
        };
        let mut event = json!({
            "specversion": "1.0", "id": id, "source": source, "type": ANSWER, "time": time,
            "datacontenttype": "application/json",
        })
        .to_string()
        .into_bytes();
        event.pop();
        event.extend_from_slice(b",\"data\":");
        event.extend_from_slice(&data);
        event.push(b'}');
        event
    }

    /// The answer with the headers of its mode.
    pub(crate) fn label(&self, mut response: Response) -> Response {
        let Some(Attributes { id, source, time }) = &self.attributes else { return response };
        let headers = response.headers_mut();
        if self.structured {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
            return response;
        }
        for (name, value) in
            [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", source), ("ce-type", ANSWER), ("ce-time", time)]
        {
            // An instance with line ends in its name is no header.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

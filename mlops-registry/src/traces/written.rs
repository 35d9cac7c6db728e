//! Spans as MLflow keeps them in files and searches them: a map of attributes, each the text of its JSON, in the spacing
//! of Python's `json`, which filters on the text have in them.

use std::{collections::BTreeMap, io};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Serialize;
use serde_json::{
    Value,
    ser::{Formatter, Serializer},
};

use super::{Attribute, Span, SpanEvent, SpanLink, StatusCode};

#[derive(Serialize)]
struct Written<'a> {
    trace_id: String,
    span_id: String,
    parent_span_id: Option<String>,
    name: &'a str,
    start_time_unix_nano: u64,
    end_time_unix_nano: Option<u64>,
    events: Vec<Event<'a>>,
    status: Status<'a>,
    attributes: BTreeMap<&'a str, String>,
    links: Vec<Link>,
}

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    time_unix_nano: u64,
    attributes: BTreeMap<&'a str, Value>,
}

#[derive(Serialize)]
struct Status<'a> {
    code: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct Link {
    trace_id: String,
    span_id: String,
    attributes: BTreeMap<String, Value>,
}

/// A span as MLflow writes it.
pub(crate) fn mlflow_span(span: &Span) -> String {
    let attribute = |pair: &Attribute| spaced(&pair.value.to_json());
    let written = Written {
        trace_id: hex_to_base64(&span.trace_id),
        span_id: hex_to_base64(&span.span_id),
        parent_span_id: (!span.is_root()).then(|| hex_to_base64(&span.parent_span_id)),
        name: &span.name,
        start_time_unix_nano: span.start_time_unix_nano,
        end_time_unix_nano: Some(span.end_time_unix_nano).filter(|end| *end > 0),
        events: span.events.iter().map(event).collect(),
        status: Status { code: status_name(span.status.code), message: &span.status.message },
        attributes: span.attributes.iter().map(|pair| (pair.key.as_str(), attribute(pair))).collect(),
        links: span.links.iter().map(link).collect(),
    };
    spaced(&written)
}

fn event(event: &SpanEvent) -> Event<'_> {
    let attributes = event.attributes.iter().map(|pair| (pair.key.as_str(), pair.value.to_json())).collect();
    Event { name: &event.name, time_unix_nano: event.time_unix_nano, attributes }
}

fn link(link: &SpanLink) -> Link {
    let attributes = link.attributes.iter().map(|pair| (pair.key.clone(), pair.value.to_json())).collect();
    Link { trace_id: format!("tr-{}", link.trace_id), span_id: link.span_id.clone(), attributes }
}

/// Protobuf's name of a status.
pub(crate) fn status_name(code: StatusCode) -> &'static str {
    match code {
        StatusCode::Unset => "STATUS_CODE_UNSET",
        StatusCode::Ok => "STATUS_CODE_OK",
        StatusCode::Error => "STATUS_CODE_ERROR",
    }
}

/// Bytes that are written as hexadecimal digits, as Base64.
pub(crate) fn hex_to_base64(hex: &str) -> String {
    let pair = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Vec<u8> = (0..hex.len() / 2).filter_map(|index| pair(2 * index)).collect();
    BASE64_STANDARD.encode(bytes)
}

/// JSON with a blank after every comma and colon.
fn spaced(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, Spaced);
    // What is made of texts and numbers is always JSON.
    drop(value.serialize(&mut serializer));
    String::from_utf8(out).unwrap_or_default()
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.begin_array_value(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_written_as_mlflow_does() {
        let span: Span = serde_json::from_str(
            r#"{"traceId": "000102030405060708090a0b0c0d0e0f", "spanId": "0102030405060708", "name": "s",
                "startTimeUnixNano": "5", "endTimeUnixNano": "7", "status": {"code": 1},
                "events": [{"name": "e", "timeUnixNano": 6, "attributes": [{"key": "k", "value": {"stringValue": "v"}}]}],
                "attributes": [{"key": "fruit", "value": {"stringValue": "apple"}},
                    {"key": "n", "value": {"arrayValue": {"values": [{"intValue": 1}, {"boolValue": true}]}}}]}"#,
        )
        .unwrap();
        let expected = r#"{"trace_id": "AAECAwQFBgcICQoLDA0ODw==", "span_id": "AQIDBAUGBwg=", "parent_span_id": null, "name": "s", "start_time_unix_nano": 5, "end_time_unix_nano": 7, "events": [{"name": "e", "time_unix_nano": 6, "attributes": {"k": "v"}}], "status": {"code": "STATUS_CODE_OK", "message": ""}, "attributes": {"fruit": "\"apple\"", "n": "[1, true]"}, "links": []}"#;
        assert_eq!(mlflow_span(&span), expected);
    }
}

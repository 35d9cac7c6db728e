//! Spans out of OTLP export requests, in protobuf and in JSON.
//!
//! Invariant: a body is counted before or while it is taken apart: at most [`SPANS_MAX`] spans and [`ITEMS_MAX`] parts,
//! nested at most [`NESTING_MAX`] deep. Any bytes give spans or `InvalidArgument`, never a panic.

mod extent;
mod protobuf;

use mlops_core::{Error, Result};
use serde::Deserialize;

pub(crate) use self::extent::JsonExtent;
use super::{Attribute, Span};

/// Most spans in one request.
pub const SPANS_MAX: usize = 20_000;
/// Most spans, events, links, attributes and values in one request.
pub const ITEMS_MAX: usize = 500_000;
/// Deepest nesting of lists and maps in an attribute.
pub const NESTING_MAX: usize = 24;

/// Spans of one process or service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResourceSpans {
    /// What is known of the process, such as `service.name`.
    pub resource: Vec<Attribute>,
    /// Its spans.
    pub spans: Vec<Span>,
}

/// Reads an `ExportTraceServiceRequest` in protobuf.
///
/// ```
/// use mlops_registry::traces::otlp;
///
/// // One resource with one scope with one span that is named "a".
/// let body = [0x0a, 0x07, 0x12, 0x05, 0x12, 0x03, 0x2a, 0x01, b'a'];
/// assert_eq!(otlp::from_protobuf(&body)?[0].spans[0].name, "a");
/// assert!(otlp::from_protobuf(b"\x0a\xff").is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when it is none, or has more than is allowed.
pub fn from_protobuf(body: &[u8]) -> Result<Vec<ResourceSpans>> {
    protobuf::read_request(body)
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RequestForm {
    resource_spans: Vec<ResourceForm>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ResourceForm {
    resource: AttributesForm,
    scope_spans: Vec<ScopeForm>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AttributesForm {
    attributes: Vec<Attribute>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScopeForm {
    spans: Vec<Span>,
}

/// Reads an `ExportTraceServiceRequest` in JSON.
///
/// # Errors
/// `InvalidArgument` when it is none, or has more than is allowed.
pub fn from_json(body: &[u8]) -> Result<Vec<ResourceSpans>> {
    check_items(JsonExtent::of(body).objects)?;
    let request: RequestForm = serde_json::from_slice(body)
        .map_err(|error| Error::invalid_argument(format!("Invalid OpenTelemetry format: {error}")))?;
    let spans = |resource: ResourceForm| ResourceSpans {
        resource: resource.resource.attributes,
        spans: resource.scope_spans.into_iter().flat_map(|scope| scope.spans).collect(),
    };
    let read: Vec<ResourceSpans> = request.resource_spans.into_iter().map(spans).collect();
    check_spans(read.iter().map(|resource| resource.spans.len()).sum())?;
    Ok(read)
}

fn check_items(count: usize) -> Result<()> {
    if count > ITEMS_MAX {
        return Err(Error::invalid_argument(format!(
            "the request has more than {ITEMS_MAX} spans, events, attributes and values; send fewer at once"
        )));
    }
    Ok(())
}

fn check_spans(count: usize) -> Result<()> {
    if count > SPANS_MAX {
        return Err(Error::invalid_argument(format!(
            "the request has more than {SPANS_MAX} spans; send fewer at once"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn too_much_is_refused_before_it_is_built() {
        let many =
            format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{}{{}}]}}]}}]}}", "{},".repeat(SPANS_MAX));
        assert!(from_json(many.as_bytes()).unwrap_err().message().contains("20000 spans"));
        let more = format!("{{\"x\":[{}{{}}]}}", "{},".repeat(ITEMS_MAX));
        assert!(from_json(more.as_bytes()).unwrap_err().message().contains("500000"));
    }

    proptest! {
        #[test]
        fn any_bytes_give_spans_or_an_error(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            text in "[\\[\\]{}\":,a-zA-Z0-9]{0,200}",
        ) {
            for bytes in [&body[..], text.as_bytes()] {
                let _ = from_protobuf(bytes);
                let _ = from_json(bytes);
            }
        }
    }
}

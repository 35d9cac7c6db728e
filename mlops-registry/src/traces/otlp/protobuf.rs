//! The protobuf messages of OTLP's trace service, read field by field as the wire format has them.
//!
//! Field numbers are those of opentelemetry-proto 1.x (`trace.proto`, `common.proto`, `resource.proto`); fields that are
//! not known are skipped. Every part that would take memory is counted first.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use mlops_core::{Error, Result};

use super::{NESTING_MAX, ResourceSpans, check_items, check_spans};
use crate::traces::{AnyValue, Attribute, Span, SpanEvent, SpanLink, SpanStatus, StatusCode};

fn invalid(what: &str) -> Error {
    Error::invalid_argument(format!("Invalid OpenTelemetry format: {what}"))
}

/// The value of one field.
#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of one message, in the order of the bytes.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| invalid("a field is longer than memory"))?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.fixed()?)),
            other => return Err(invalid(&format!("wire type {other} is not used by OTLP"))),
        };
        Ok(Some((tag >> 3, field)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or_else(|| invalid("a field ends beyond its message"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| invalid("a fixed number is cut short"))
    }

    /// Seven bits a byte, least first; ten bytes at most.
    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or_default();
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(invalid("a number has more than ten bytes"))
    }
}

impl<'a> Field<'a> {
    fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            _ => Err(invalid("a field that holds bytes holds a number")),
        }
    }

    fn text(self) -> Result<String> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| invalid("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn hex(self) -> Result<String> {
        let bytes = self.bytes()?;
        if bytes.len() > 16 {
            return Err(invalid("an id has more than 16 bytes"));
        }
        Ok(bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    fn number(self) -> Result<u64> {
        match self {
            Field::Varint(number) | Field::Fixed64(number) => Ok(number),
            Field::Fixed32(number) => Ok(number.into()),
            Field::Bytes(_) => Err(invalid("a field that holds a number holds bytes")),
        }
    }

    fn small(self) -> Result<u32> {
        Ok(u32::try_from(self.number()?).unwrap_or(u32::MAX))
    }
}

/// Counts what is built.
struct Reader {
    items: usize,
    spans: usize,
}

pub(super) fn read_request(body: &[u8]) -> Result<Vec<ResourceSpans>> {
    let mut reader = Reader { items: 0, spans: 0 };
    let (mut message, mut read) = (Message(body), Vec::new());
    while let Some((number, field)) = message.next()? {
        if number == 1 {
            reader.count()?;
            read.push(reader.resource_spans(field.bytes()?)?);
        }
    }
    Ok(read)
}

impl Reader {
    fn count(&mut self) -> Result<()> {
        self.items += 1;
        check_items(self.items)
    }

    fn resource_spans(&mut self, bytes: &[u8]) -> Result<ResourceSpans> {
        let (mut message, mut read) = (Message(bytes), ResourceSpans::default());
        while let Some((number, field)) = message.next()? {
            match number {
                1 => read.resource = self.resource(field.bytes()?)?,
                2 => self.scope_spans(field.bytes()?, &mut read.spans)?,
                _ => {}
            }
        }
        Ok(read)
    }

    fn resource(&mut self, bytes: &[u8]) -> Result<Vec<Attribute>> {
        let (mut message, mut attributes) = (Message(bytes), Vec::new());
        while let Some((number, field)) = message.next()? {
            if number == 1 {
                attributes.push(self.attribute(field, 0)?);
            }
        }
        Ok(attributes)
    }

    fn scope_spans(&mut self, bytes: &[u8], spans: &mut Vec<Span>) -> Result<()> {
        let mut message = Message(bytes);
        while let Some((number, field)) = message.next()? {
            if number == 2 {
                self.count()?;
                self.spans += 1;
                check_spans(self.spans)?;
                spans.push(self.span(field.bytes()?)?);
            }
        }
        Ok(())
    }

    fn span(&mut self, bytes: &[u8]) -> Result<Span> {
        let (mut message, mut span) = (Message(bytes), Span::default());
        while let Some((number, field)) = message.next()? {
            match number {
                1 => span.trace_id = field.hex()?,
                2 => span.span_id = field.hex()?,
                3 => span.trace_state = field.text()?,
                4 => span.parent_span_id = field.hex()?,
                5 => span.name = field.text()?,
                6 => span.kind = field.small()?,
                7 => span.start_time_unix_nano = field.number()?,
                8 => span.end_time_unix_nano = field.number()?,
                9 => span.attributes.push(self.attribute(field, 0)?),
                10 => span.dropped_attributes_count = field.small()?,
                11 => span.events.push(self.event(field.bytes()?)?),
                12 => span.dropped_events_count = field.small()?,
                13 => span.links.push(self.link(field.bytes()?)?),
                14 => span.dropped_links_count = field.small()?,
                15 => span.status = status(field.bytes()?)?,
                16 => span.flags = field.small()?,
                _ => {}
            }
        }
        Ok(span)
    }

    fn event(&mut self, bytes: &[u8]) -> Result<SpanEvent> {
        self.count()?;
        let (mut message, mut event) = (Message(bytes), SpanEvent::default());
        while let Some((number, field)) = message.next()? {
            match number {
                1 => event.time_unix_nano = field.number()?,
                2 => event.name = field.text()?,
                3 => event.attributes.push(self.attribute(field, 0)?),
                4 => event.dropped_attributes_count = field.small()?,
                _ => {}
            }
        }
        Ok(event)
    }

    fn link(&mut self, bytes: &[u8]) -> Result<SpanLink> {
        self.count()?;
        let (mut message, mut link) = (Message(bytes), SpanLink::default());
        while let Some((number, field)) = message.next()? {
            match number {
                1 => link.trace_id = field.hex()?,
                2 => link.span_id = field.hex()?,
                3 => link.trace_state = field.text()?,
                4 => link.attributes.push(self.attribute(field, 0)?),
                5 => link.dropped_attributes_count = field.small()?,
                6 => link.flags = field.small()?,
                _ => {}
            }
        }
        Ok(link)
    }

    fn attribute(&mut self, field: Field<'_>, depth: usize) -> Result<Attribute> {
        self.count()?;
        let (mut message, mut attribute) = (Message(field.bytes()?), Attribute::default());
        while let Some((number, field)) = message.next()? {
            match number {
                1 => attribute.key = field.text()?,
                2 => attribute.value = self.value(field.bytes()?, depth)?,
                _ => {}
            }
        }
        Ok(attribute)
    }

    fn value(&mut self, bytes: &[u8], depth: usize) -> Result<AnyValue> {
        self.count()?;
        if depth > NESTING_MAX {
            return Err(invalid(&format!("an attribute is nested more than {NESTING_MAX} deep")));
        }
        let (mut message, mut value) = (Message(bytes), AnyValue::Empty);
        while let Some((number, field)) = message.next()? {
            value = match number {
                1 => AnyValue::Text(field.text()?),
                2 => AnyValue::Bool(field.number()? != 0),
                3 => AnyValue::Int(field.number()?.cast_signed()),
                4 => AnyValue::Double(f64::from_bits(field.number()?)),
                5 => AnyValue::List(self.list(field.bytes()?, |reader, item| reader.value(item.bytes()?, depth + 1))?),
                6 => AnyValue::Map(self.list(field.bytes()?, |reader, item| reader.attribute(item, depth + 1))?),
                7 => AnyValue::Bytes(BASE64_STANDARD.encode(field.bytes()?)),
                _ => continue,
            };
        }
        Ok(value)
    }

    fn list<T>(&mut self, bytes: &[u8], item: impl Fn(&mut Self, Field<'_>) -> Result<T>) -> Result<Vec<T>> {
        let (mut message, mut items) = (Message(bytes), Vec::new());
        while let Some((number, field)) = message.next()? {
            if number == 1 {
                items.push(item(self, field)?);
            }
        }
        Ok(items)
    }
}

fn status(bytes: &[u8]) -> Result<SpanStatus> {
    let (mut message, mut status) = (Message(bytes), SpanStatus::default());
    while let Some((number, field)) = message.next()? {
        match number {
            2 => status.message = field.text()?,
            3 => status.code = StatusCode::from(field.small()?),
            _ => {}
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ITEMS_MAX, SPANS_MAX},
        *,
    };

    /// A field with bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
        out
    }

    fn request(span: &[u8]) -> Vec<u8> {
        field(1, &field(2, &field(2, span)))
    }

    #[test]
    fn fields_are_read_by_their_numbers() {
        let mut span = field(1, &[0xab; 16]);
        span.extend(field(2, &[0x01; 8]));
        span.extend(field(5, "größe".as_bytes()));
        span.extend([0x30, 3, 0x39, 1, 0, 0, 0, 0, 0, 0, 0]);
        span.extend(field(
            9,
            &[field(1, b"n"), field(2, &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])].concat(),
        ));
        span.extend(field(15, &[0x18, 2]));
        let read = read_request(&request(&span)).unwrap();
        let span = &read[0].spans[0];
        assert_eq!((span.trace_id.as_str(), span.span_id.as_str()), (&*"ab".repeat(16), "0101010101010101"));
        assert_eq!((span.name.as_str(), span.kind, span.start_time_unix_nano), ("größe", 3, 1));
        assert_eq!(span.attribute("n"), Some(&AnyValue::Int(-1)));
        assert_eq!(span.status.code, StatusCode::Error);
    }

    #[test]
    fn deep_nesting_and_floods_are_refused() {
        let mut value = field(1, b"x");
        for _ in 0..=NESTING_MAX {
            value = field(5, &field(1, &value));
        }
        let span = field(9, &field(2, &value));
        assert!(read_request(&request(&span)).unwrap_err().message().contains("nested"));
        // Two bytes each.
        let flood = field(1, &field(2, &[0x12, 0].repeat(SPANS_MAX + 1)));
        assert!(read_request(&flood).unwrap_err().message().contains("spans"));
        let flood = request(&[0x4a, 0].repeat(ITEMS_MAX));
        assert!(read_request(&flood).unwrap_err().message().contains("values"));
    }

    #[test]
    fn every_cut_of_a_request_is_an_error_or_shorter() {
        let body =
            request(&[field(5, b"name"), field(9, &[field(1, b"k"), field(2, &field(1, b"v"))].concat())].concat());
        for end in 1..body.len() {
            assert!(read_request(&body[..end]).is_err(), "{end}");
        }
        assert!(read_request(&[]).unwrap().is_empty());
        assert!(read_request(&[0x0b]).unwrap_err().message().contains("wire type 3"));
        assert!(read_request(&[0xff; 11]).is_err());
    }
}

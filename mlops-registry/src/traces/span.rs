//! Spans as OpenTelemetry has them. Their serde form is OTLP's JSON: ids in hexadecimal, 64-bit integers as text.
//!
//! Invariant: what was received is told back; nothing is interpreted here but the few attributes that searches name.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::otlp::{ITEMS_MAX, JsonExtent};

/// One step of a trace.
///
/// ```
/// use mlops_registry::{AnyValue, Span};
///
/// let span: Span = serde_json::from_str(
///     r#"{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "00f067aa0ba902b7", "name": "add",
///         "startTimeUnixNano": "5", "attributes": [{"key": "mlflow.spanType", "value": {"stringValue": "TOOL"}}]}"#,
/// ).unwrap();
/// span.check()?;
/// assert_eq!(span.attribute("mlflow.spanType"), Some(&AnyValue::Text("TOOL".into())));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// State of the vendor, as W3C has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_state: String,
    /// The span that this one is part of; empty for the root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent_span_id: String,
    /// Flags, as W3C has them.
    #[serde(skip_serializing_if = "is_zero")]
    pub flags: u32,
    /// What was done.
    pub name: String,
    /// 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "number::small")]
    pub kind: u32,
    /// Nanoseconds since 1970.
    #[serde(with = "number")]
    pub start_time_unix_nano: u64,
    /// Nanoseconds since 1970; 0 while it has not ended.
    #[serde(with = "number")]
    pub end_time_unix_nano: u64,
    /// What is known about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    /// How many more attributes there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_attributes_count: u32,
    /// What happened meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<SpanEvent>,
    /// How many more events there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_events_count: u32,
    /// Spans elsewhere that have to do with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<SpanLink>,
    /// How many more links there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_links_count: u32,
    /// How it ended.
    pub status: SpanStatus,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Something that happened during a span.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpanEvent {
    /// Nanoseconds since 1970.
    #[serde(with = "number")]
    pub time_unix_nano: u64,
    /// What happened.
    pub name: String,
    /// What is known about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    /// How many more attributes there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_attributes_count: u32,
}

/// A pointer to another span.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpanLink {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// State of the vendor, as W3C has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_state: String,
    /// What is known about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    /// How many more attributes there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_attributes_count: u32,
    /// Flags, as W3C has them.
    #[serde(skip_serializing_if = "is_zero")]
    pub flags: u32,
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SpanStatus {
    /// Why, in words; empty when it went well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Well or not.
    pub code: StatusCode,
}

/// Whether a span went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "u32", from = "CodeForm")]
pub enum StatusCode {
    /// Nobody said.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// Not well.
    Error,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CodeForm {
    Number(u32),
    Name(String),
}

impl From<CodeForm> for StatusCode {
    fn from(form: CodeForm) -> Self {
        match form {
            CodeForm::Number(number) => Self::from(number),
            CodeForm::Name(name) if name == "STATUS_CODE_OK" => Self::Ok,
            CodeForm::Name(name) if name == "STATUS_CODE_ERROR" => Self::Error,
            CodeForm::Name(_) => Self::Unset,
        }
    }
}

impl From<u32> for StatusCode {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }
}

impl From<StatusCode> for u32 {
    fn from(code: StatusCode) -> Self {
        match code {
            StatusCode::Unset => 0,
            StatusCode::Ok => 1,
            StatusCode::Error => 2,
        }
    }
}

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attribute {
    /// The name.
    pub key: String,
    /// The value.
    pub value: AnyValue,
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "ValueForm", from = "ValueForm")]
pub enum AnyValue {
    /// None.
    #[default]
    Empty,
    /// Text.
    Text(String),
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A list.
    List(Vec<AnyValue>),
    /// A map, in order.
    Map(Vec<Attribute>),
    /// Bytes, in Base64.
    Bytes(String),
}

#[derive(Serialize, Deserialize, Default)]
struct ListForm<T> {
    #[serde(default = "Vec::new")]
    values: Vec<T>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ValueForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bool_value: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    int_value: Option<IntForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    double_value: Option<DoubleForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    array_value: Option<ListForm<AnyValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kvlist_value: Option<ListForm<Attribute>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_value: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum IntForm {
    Text(String),
    Number(i64),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum DoubleForm {
    Number(f64),
    Text(String),
}

impl From<AnyValue> for ValueForm {
    fn from(value: AnyValue) -> Self {
        let none = Self::default();
        match value {
            AnyValue::Empty => none,
            AnyValue::Text(text) => Self { string_value: Some(text), ..none },
            AnyValue::Bool(flag) => Self { bool_value: Some(flag), ..none },
            AnyValue::Int(number) => Self { int_value: Some(IntForm::Text(number.to_string())), ..none },
            AnyValue::Double(number) => Self { double_value: Some(double(number)), ..none },
            AnyValue::List(values) => Self { array_value: Some(ListForm { values }), ..none },
            AnyValue::Map(values) => Self { kvlist_value: Some(ListForm { values }), ..none },
            AnyValue::Bytes(text) => Self { bytes_value: Some(text), ..none },
        }
    }
}

/// JSON has no such numbers; protobuf's readers take them from these texts.
fn double(number: f64) -> DoubleForm {
    match number {
        number if number.is_nan() => DoubleForm::Text("NaN".to_owned()),
        f64::INFINITY => DoubleForm::Text("Infinity".to_owned()),
        f64::NEG_INFINITY => DoubleForm::Text("-Infinity".to_owned()),
        number => DoubleForm::Number(number),
    }
}

impl From<ValueForm> for AnyValue {
    fn from(form: ValueForm) -> Self {
        let int = form.int_value.and_then(|form| match form {
            IntForm::Number(number) => Some(Self::Int(number)),
            IntForm::Text(text) => text.parse().ok().map(Self::Int),
        });
        let double = form.double_value.and_then(|form| match form {
            DoubleForm::Number(number) => Some(Self::Double(number)),
            DoubleForm::Text(text) => text.parse().ok().map(Self::Double),
        });
        let plain = form.string_value.map(Self::Text).or(form.bool_value.map(Self::Bool)).or(int).or(double);
        let nested = || form.array_value.map(|list| Self::List(list.values));
        plain
            .or_else(nested)
            .or_else(|| form.kvlist_value.map(|list| Self::Map(list.values)))
            .or(form.bytes_value.map(Self::Bytes))
            .unwrap_or_default()
    }
}

impl AnyValue {
    /// The value as plain JSON; bytes as their Base64.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Text(text) | Self::Bytes(text) => Value::String(text.clone()),
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(number) => Value::from(*number),
            Self::Double(number) => Value::from(*number),
            Self::List(values) => values.iter().map(Self::to_json).collect(),
            Self::Map(values) => {
                Value::Object(values.iter().map(|pair| (pair.key.clone(), pair.value.to_json())).collect())
            }
        }
    }

    /// The value that plain JSON is; numbers are whole where they can be. None where one is too large for a whole
    /// number here: as a double it might be another one.
    #[cfg(feature = "mlflow")]
    pub(crate) fn of_json(json: Value) -> Option<Self> {
        /// From here on, doubles may stand for several whole numbers of 64 bits and more.
        const WHOLE_END: f64 = 9_223_372_036_854_775_808.0;
        Some(match json {
            Value::Null => Self::Empty,
            Value::Bool(flag) => Self::Bool(flag),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Double(number.as_f64().filter(|double| double.abs() < WHOLE_END)?),
            },
            Value::String(text) => Self::Text(text),
            Value::Array(values) => Self::List(values.into_iter().map(Self::of_json).collect::<Option<_>>()?),
            Value::Object(fields) => {
                let pair = |(key, value)| Some(Attribute { key, value: Self::of_json(value)? });
                Self::Map(fields.into_iter().map(pair).collect::<Option<_>>()?)
            }
        })
    }

    /// What the value means where values are written as JSON in a text: what that says, and text that is none itself,
    /// or that has more than [`ITEMS_MAX`] values.
    #[must_use]
    pub(crate) fn meaning(&self) -> Value {
        match self {
            Self::Text(text) if JsonExtent::of(text.as_bytes()).values > ITEMS_MAX => Value::String(text.clone()),
            Self::Text(text) => match serde_json::from_str(text) {
                Ok(inner @ (Value::String(_) | Value::Array(_) | Value::Object(_))) => inner,
                _ => Value::String(text.clone()),
            },
            other => other.to_json(),
        }
    }

    /// The value as text: text as it is, anything else as JSON. Text that is a JSON string, as MLflow's own exporter
    /// writes it, is unquoted.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => match serde_json::from_str(text) {
                Ok(Value::String(inner)) => inner,
                _ => text.clone(),
            },
            other => other.to_json().to_string(),
        }
    }
}

impl Span {
    /// Checks ids. Ids of zeros, which OpenTelemetry calls invalid, are taken, as MLflow takes them.
    ///
    /// # Errors
    /// `InvalidArgument` naming the span.
    pub fn check(&self) -> Result<()> {
        let hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !(hex(&self.trace_id, 32) && hex(&self.span_id, 16)) {
            return Err(Error::invalid_argument(format!(
                "span {:?}: trace id and span id must be 16 and 8 bytes",
                self.name.chars().take(100).collect::<String>()
            )));
        }
        let links = self.links.iter().all(|link| hex(&link.trace_id, 32) && hex(&link.span_id, 16));
        if !(self.parent_span_id.is_empty() || hex(&self.parent_span_id, 16)) || !links {
            return Err(Error::invalid_argument(format!(
                "span {:?}: parent and links must be ids of 8 and 16 bytes",
                self.span_id
            )));
        }
        Ok(())
    }

    /// The id of its trace as MLflow writes it.
    #[must_use]
    pub fn mlflow_trace_id(&self) -> String {
        format!("tr-{}", self.trace_id.to_ascii_lowercase())
    }

    /// Whether it is part of no other span.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.parent_span_id.bytes().all(|digit| digit == b'0')
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&AnyValue> {
        self.attributes.iter().find(|pair| pair.key == key).map(|pair| &pair.value)
    }
}

/// 64-bit integers: written as text, read from text or numbers.
mod number {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use serde_json::Value;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.ok_or_else(|| D::Error::custom("expected a whole number from 0 or its digits"))
    }

    /// The kind of a span: its number, or its name.
    pub(super) fn small<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        const NAMES: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
        let value = Value::deserialize(deserializer)?;
        let named = || {
            let name = value.as_str()?.strip_prefix("SPAN_KIND_")?;
            NAMES.iter().position(|known| *known == name)
        };
        let number = value.as_u64().map(|number| number as usize).or_else(named);
        Ok(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn otlp_json_is_read_in_its_lenient_forms_and_told_back() {
        let text = r#"{"traceId":"0AF7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7","name":"n",
            "kind":"SPAN_KIND_CLIENT","startTimeUnixNano":5,"endTimeUnixNano":"18446744073709551615","unknown":[{}],
            "status":{"code":"STATUS_CODE_ERROR","message":"m"},
            "attributes":[{"key":"i","value":{"intValue":"-9223372036854775808"}},{"key":"d","value":{"doubleValue":"NaN"}},
            {"key":"l","value":{"arrayValue":{"values":[{"boolValue":true},{}]}}},
            {"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"doubleValue":1}}]}}}]}"#;
        let span: Span = serde_json::from_str(text).unwrap();
        span.check().unwrap();
        assert_eq!((span.kind, span.start_time_unix_nano, span.end_time_unix_nano), (3, 5, u64::MAX));
        assert_eq!(span.status.code, StatusCode::Error);
        assert_eq!(span.attribute("i"), Some(&AnyValue::Int(i64::MIN)));
        assert_eq!(span.attribute("l"), Some(&AnyValue::List(vec![AnyValue::Bool(true), AnyValue::Empty])));
        assert_eq!(span.mlflow_trace_id(), "tr-0af7651916cd43dd8448eb211c80319c");
        let again: Span = serde_json::from_str(&serde_json::to_string(&span).unwrap()).unwrap();
        assert!(matches!(again.attribute("d"), Some(AnyValue::Double(number)) if number.is_nan()));
        assert_eq!(again.attribute("m"), span.attribute("m"));
    }

    #[test]
    fn ids_are_checked() {
        let span = |trace: &str, id: &str, parent: &str| Span {
            trace_id: trace.into(),
            span_id: id.into(),
            parent_span_id: parent.into(),
            ..Span::default()
        };
        let (trace, id) = ("0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7");
        span(trace, id, "").check().unwrap();
        assert!(span(trace, id, "").is_root() && span(trace, id, "0000000000000000").is_root());
        span(&"0".repeat(32), &"0".repeat(16), "").check().unwrap();
        for (trace, id, parent) in [("", id, ""), (trace, "", ""), (trace, id, "1"), (trace, "zzzzzzzzzzzzzzzz", "")] {
            assert!(span(trace, id, parent).check().is_err());
        }
    }

    #[test]
    fn text_of_a_value_is_unquoted_once() {
        assert_eq!(AnyValue::Text("\"LLM\"".into()).to_text(), "LLM");
        assert_eq!(AnyValue::Text("LLM".into()).to_text(), "LLM");
        assert_eq!(AnyValue::Text("{\"a\":1}".into()).to_text(), "{\"a\":1}");
        assert_eq!(AnyValue::Int(3).to_text(), "3");
    }
}

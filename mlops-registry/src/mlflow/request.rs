//! Requests as MLflow's clients write them: a query or a JSON object, read field by field.
//!
//! Invariant: a field that is absent, null, of the wrong type or out of range is told apart, with its path in the
//! message.

use axum::{
    body::{Bytes, HttpBody as _, to_bytes},
    extract::{FromRequest, FromRequestParts as _, RawPathParams, Request},
    http::{HeaderMap, Method, header::CONTENT_TYPE},
};
use mlops_core::{Error, Result, RunId, Timestamp};
use serde_json::{Map, Value};

use super::failure::Failure;
use crate::{ExperimentId, LoggedModelId, PageRequest, Search, View};

/// Largest JSON body, in bytes. A full batch of the longest values is half of it.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The fields of one request, or of one object in a list of it.
#[derive(Debug, Default)]
pub(super) struct Params {
    fields: Map<String, Value>,
    /// Where the fields are in the request: empty, or such as `metrics[3].`.
    path: String,
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> std::result::Result<Self, Failure> {
        let (mut head, body) = request.into_parts();
        let path = RawPathParams::from_request_parts(&mut head, state).await;
        let mut params = Self::from_parts(Request::from_parts(head, body)).await?;
        // A route without places has no such params. What a path says cannot be said otherwise by the body.
        if let Ok(path) = path {
            for (name, value) in &path {
                params.fields.insert(name.to_owned(), value.into());
            }
        }
        Ok(params)
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = content_type(headers).split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn invalid(message: impl Into<String>) -> Error {
    Error::invalid_argument(message)
}

impl Params {
    /// The fields of the query of a GET, of the body otherwise and where a GET has no query.
    async fn from_parts(request: Request) -> std::result::Result<Self, Failure> {
        if request.method() == Method::GET {
            let query = request.uri().query().unwrap_or_default();
            // Some clients send a body where there is no query. One that does not say what it is says nothing.
            let in_body = query.is_empty() && !request.body().is_end_stream() && is_json(request.headers());
            return if in_body {
                Ok(Self::from_json(&Self::body(request).await?)?)
            } else {
                Ok(Self::from_query(query))
            };
        }
        // A deletion may say everything in its path, and then has no body and no type of one.
        if request.method() == Method::DELETE
            && !request.headers().contains_key(CONTENT_TYPE)
            && request.body().is_end_stream()
        {
            return Ok(Self::default());
        }
        Ok(Self::from_json(&Self::body(request).await?)?)
    }

    /// A body that says that it is JSON.
    pub(super) async fn body(request: Request) -> std::result::Result<Bytes, Failure> {
        if !is_json(request.headers()) {
            let kind = content_type(request.headers());
            return Err(invalid(format!("Bad Request. Content-Type is {kind:?}; send application/json")).into());
        }
        to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|error| {
            invalid(format!("the body is incomplete or has more than {BODY_BYTES_MAX} bytes; send less at once"))
                .with_source(error)
                .into()
        })
    }

    /// Fields of a query; a key that is repeated is a list.
    fn from_query(query: &str) -> Self {
        let mut fields = Map::new();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let value = Value::String(value.into_owned());
            match fields.get_mut(key.as_ref()) {
                None => drop(fields.insert(key.into_owned(), value)),
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        Self { fields, path: String::new() }
    }

    /// Fields of a JSON body. What is no object has no fields, as MLflow has it, so that the first field that is
    /// needed is reported.
    pub(super) fn from_json(body: &[u8]) -> Result<Self> {
        let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Value::String(text) = &value {
            value = serde_json::from_str(text).unwrap_or_default();
        }
        Self::from_value(value, String::new())
    }

    /// Fields of an object that is at `path` of the request.
    pub(super) fn from_value(value: Value, path: String) -> Result<Self> {
        let Value::Object(given) = value else { return Ok(Self { path, ..Self::default() }) };
        let mut fields = Map::with_capacity(given.len());
        for (key, value) in given {
            let name = snake_case(&key);
            if !value.is_null() && fields.insert(name, value).is_some() {
                return Err(invalid(format!("field '{path}{key}' is given twice, in two spellings; give it once")));
            }
        }
        Ok(Self { fields, path })
    }

    fn wrong(&self, name: &str, value: &Value) -> Error {
        invalid(format!("Invalid value {value} for parameter '{}{name}' supplied", self.path))
    }

    pub(super) fn missing(&self, name: &str) -> Error {
        invalid(format!("Missing value for required parameter '{}{name}'.", self.path))
    }

    /// A text that may be absent.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.fields.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A text that may be absent, in its own memory.
    pub(super) fn owned(&self, name: &str) -> Result<Option<String>> {
        Ok(self.text(name)?.map(str::to_owned))
    }

    /// A text that must be there and not be empty.
    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| self.missing(name))
    }

    /// A whole number, or its digits.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.fields.get(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.wrong(name, value))
    }

    pub(super) fn required_int(&self, name: &str) -> Result<i64> {
        self.int(name)?.ok_or_else(|| self.missing(name))
    }

    /// A number that must be there; also `"NaN"`, `"Infinity"` and `"-Infinity"`.
    pub(super) fn required_float(&self, name: &str) -> Result<f64> {
        let value = self.fields.get(name).ok_or_else(|| self.missing(name))?;
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.wrong(name, value))
    }

    /// `true` or `false`, also as text.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.fields.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// One of some names, or the number of one.
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, i64, T)]) -> Result<Option<T>> {
        let Some(value) = self.fields.get(name) else { return Ok(None) };
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
        let found = choices.iter().find(|(text, index, _)| value.as_str() == Some(text) || number == Some(*index));
        found.map(|(_, _, choice)| Some(*choice)).ok_or_else(|| self.wrong(name, value))
    }

    fn list(&self, name: &str) -> Result<&[Value]> {
        match self.fields.get(name) {
            None => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            // A query with one value cannot show that it is a list.
            Some(one @ Value::String(_)) => Ok(std::slice::from_ref(one)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A list of texts; absent: empty.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>> {
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(name, value));
        self.list(name)?.iter().map(text).collect()
    }

    /// A list of objects; absent: empty.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Self>> {
        let object = |(index, value): (usize, &Value)| match value {
            Value::Object(_) => Self::from_value(value.clone(), format!("{}{name}[{index}].", self.path)),
            other => Err(self.wrong(name, other)),
        };
        self.list(name)?.iter().enumerate().map(object).collect()
    }

    /// An object that must be there.
    pub(super) fn object(&self, name: &str) -> Result<Self> {
        match self.fields.get(name) {
            None => Err(self.missing(name)),
            Some(value @ Value::Object(_)) => Self::from_value(value.clone(), format!("{}{name}.", self.path)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A list that must be given, if only as an empty one.
    pub(super) fn given_list(&self, name: &str) -> Result<()> {
        if self.fields.contains_key(name) { self.list(name).map(drop) } else { Err(self.missing(name)) }
    }

    /// A list that must be there and not be empty.
    pub(super) fn required_list(&self, name: &str) -> Result<()> {
        if self.list(name)?.is_empty() { Err(self.missing(name)) } else { Ok(()) }
    }

    /// A field as it was written.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// An object of texts whose names are data; absent: empty.
    pub(super) fn map<C: FromIterator<(String, String)>>(&self, name: &str) -> Result<C> {
        let Some(value) = self.fields.get(name) else { return Ok(C::from_iter([])) };
        let pair = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        let pairs = value.as_object().and_then(|map| map.iter().map(pair).collect::<Option<C>>());
        pairs.ok_or_else(|| self.wrong(name, value))
    }

    /// A list of `{key, value}`; a value may be empty or absent.
    pub(super) fn pairs<C: FromIterator<(String, String)>>(&self, name: &str) -> Result<C> {
        self.objects(name)?.iter().map(Self::pair).collect()
    }

    /// `key` and `value` of this object.
    pub(super) fn pair(&self) -> Result<(String, String)> {
        Ok((self.required("key")?.to_owned(), self.owned("value")?.unwrap_or_default()))
    }

    /// The run, under either of its names.
    pub(super) fn run_id(&self) -> Result<RunId> {
        let id = self.text("run_id")?.filter(|id| !id.is_empty());
        match id.or(self.text("run_uuid")?).filter(|id| !id.is_empty()) {
            Some(id) => id.parse(),
            None => Err(self.missing("run_id")),
        }
    }

    /// The logged model; an id that none can have is unknown.
    pub(super) fn model_id(&self) -> Result<LoggedModelId> {
        let id = self.required("model_id")?;
        id.parse().map_err(|error: Error| {
            Error::not_found(format!("Logged model with ID '{id}' not found.")).with_source(error)
        })
    }

    /// The experiments of a search, in their order.
    pub(super) fn experiment_ids(&self) -> Result<Vec<ExperimentId>> {
        self.texts("experiment_ids")?.iter().map(|id| id.parse()).collect()
    }

    /// A number below zero is an id that no experiment has.
    pub(super) fn experiment_id(&self) -> Result<ExperimentId> {
        let id = self.required("experiment_id")?;
        match id.parse::<i64>() {
            Ok(number) if number < 0 => Err(Error::not_found(format!("No Experiment with id={id} exists"))),
            _ => id.parse(),
        }
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        Ok(self.int(name)?.map(Timestamp::from_millis))
    }

    /// `max_results` and `page_token`.
    pub(super) fn page(&self, default: usize, max: usize) -> Result<PageRequest> {
        let size = match self.int("max_results")? {
            None => default,
            Some(size) => usize::try_from(size).ok().filter(|size| (1..=max).contains(size)).ok_or_else(|| {
                let bound = if size < 1 { "a positive integer".to_owned() } else { format!("at most {max}") };
                invalid(format!("Invalid value {size} for parameter 'max_results' supplied. It must be {bound}"))
            })?,
        };
        Ok(PageRequest { max_results: Some(size), token: self.owned("page_token")? })
    }

    /// Filter, order and page; `view` is the field that says which stages of life are wanted.
    pub(super) fn search(&self, view: &str, page: PageRequest) -> Result<Search> {
        let views =
            [("ACTIVE_ONLY", 1, View::ActiveOnly), ("DELETED_ONLY", 2, View::DeletedOnly), ("ALL", 3, View::All)];
        Ok(Search {
            filter: self.owned("filter")?.unwrap_or_default(),
            order_by: self.texts("order_by")?,
            view: self.choice(view, &views)?.unwrap_or(View::ActiveOnly),
            page,
            ..Search::default()
        })
    }
}

/// A double that is a whole number in the range where every one has a double.
fn whole(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    exact.then_some(number as i64)
}

pub(super) fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Params {
        Params::from_json(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_get_has_a_body_only_where_it_says_that_it_is_json() {
        let get = async |kind: Option<&str>, bytes: &'static str| {
            let mut request = axum::http::Request::builder().uri("/x");
            if let Some(kind) = kind {
                request = request.header(CONTENT_TYPE, kind);
            }
            // It may have an end only once it is read, as a body that comes in chunks.
            let open = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(bytes.as_bytes()))]);
            let body = axum::body::Body::from_stream(open);
            Params::from_parts(request.body(body).unwrap()).await.ok().unwrap().fields.len()
        };
        assert_eq!(get(None, "").await, 0);
        assert_eq!(get(Some("application/json"), "").await, 0);
        assert_eq!(get(Some("application/json; charset=utf-8"), r#"{"a": 1}"#).await, 1);
    }

    #[test]
    fn numbers_come_as_numbers_or_text() {
        let params = json(r#"{"a": 5, "b": "-7", "c": 1.5, "d": "NaN", "e": 3.0, "f": "-Infinity", "g": true}"#);
        assert_eq!(
            (params.int("a").unwrap(), params.int("b").unwrap(), params.int("e").unwrap()),
            (Some(5), Some(-7), Some(3))
        );
        assert_eq!(params.int("x").unwrap(), None);
        let message = params.int("c").unwrap_err();
        assert_eq!(message.message(), "Invalid value 1.5 for parameter 'c' supplied");
        assert!(params.required_float("d").unwrap().is_nan());
        assert_eq!(params.required_float("f").unwrap(), f64::NEG_INFINITY);
        assert!(params.required_float("g").is_err());
    }

    #[test]
    fn absent_null_and_empty_are_missing() {
        let params = json(r#"{"a": null, "b": "", "c": 12}"#);
        for name in ["a", "b", "x"] {
            let error = params.required(name).unwrap_err();
            assert_eq!(error.message(), format!("Missing value for required parameter '{name}'."));
        }
        assert_eq!(params.required("c").unwrap_err().message(), "Invalid value 12 for parameter 'c' supplied");
        assert!(json("{broken").required("a").is_err());
    }

    #[test]
    fn both_spellings_are_read_and_only_one_at_a_time() {
        assert_eq!(json(r#"{"runId": "r"}"#).run_id().unwrap().as_str(), "r");
        assert_eq!(json(r#"{"run_uuid": "r"}"#).run_id().unwrap().as_str(), "r");
        assert!(Params::from_json(br#"{"runId": "r", "run_id": "r"}"#).is_err());
        assert_eq!(json(r#""{\"name\": \"twice\"}""#).required("name").unwrap(), "twice");
    }

    #[test]
    fn a_field_in_a_list_is_named_with_its_place() {
        let metrics = json(r#"{"metrics": [{"key": "a"}, {}]}"#).objects("metrics").unwrap();
        let error = metrics[1].required("key").unwrap_err();
        assert_eq!(error.message(), "Missing value for required parameter 'metrics[1].key'.");
    }

    #[test]
    fn a_query_repeats_keys_for_lists() {
        let params = Params::from_query("order_by=a+ASC&order_by=b&stages=None&max_results=0&view_type=ALL");
        assert_eq!(params.texts("order_by").unwrap(), ["a ASC", "b"]);
        assert_eq!(params.texts("stages").unwrap(), ["None"]);
        assert!(params.page(10, 100).is_err());
        assert_eq!(params.search("view_type", PageRequest::default()).unwrap().view, View::All);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
            for bytes in [&body[..], text.as_bytes()] {
                if let Ok(params) = Params::from_json(bytes) {
                    let _ = params.objects("metrics");
                    let _ = params.page(1, 2);
                }
            }
        }
    }
}

//! Operations as an OpenAPI document.

use serde_json::{Map, Value, json};

use super::schemas::schemas;
use crate::protocol::Operation;

/// The document of the operations of a server called `name`.
pub(super) fn of<'a>(operations: impl Iterator<Item = &'a (String, &'static str, Operation)>, name: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for (path, method, what) in operations {
        let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert((*method).to_owned(), operation(path, method, what));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": name, "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn content(schema: Option<&str>) -> Value {
    match schema {
        Some(schema) => json!({ "application/json": { "schema": reference(schema) } }),
        None => json!({}),
    }
}

fn operation(path: &str, method: &str, what: &Operation) -> Value {
    let mut success = json!({ "description": "success" });
    if what.text {
        success["content"] = json!({ "text/plain": { "schema": { "type": "string" } } });
    } else if what.response.is_some() {
        success["content"] = content(what.response);
    }
    let mut operation = json!({
        "operationId": identifier(path, method),
        "summary": what.summary,
        "responses": {
            "200": success,
            "4XX": { "description": "the request cannot be answered", "content": content(Some("Error")) },
            "5XX": { "description": "the server cannot answer", "content": content(Some("Error")) },
        },
    });
    let parameters: Vec<Value> = parameters(path).map(parameter).collect();
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(schema) = what.request {
        operation["requestBody"] = json!({ "required": true, "content": content(Some(schema)) });
    }
    operation
}

/// The names in braces.
fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

fn parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

/// Unique, as method and path are.
fn identifier(path: &str, method: &str) -> String {
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |all, word| format!("{all}_{word}"))
}

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

fn content(schema: &str) -> Value {
    json!({ "application/json": { "schema": reference(schema) } })
}

fn operation(path: &str, method: &str, what: &Operation) -> Value {
    let error = |description: &str| json!({ "description": description, "content": content("Error") });
    let responses = json!({
        "200": success(what),
        "4XX": error("the request cannot be answered"),
        "5XX": error("the server cannot answer"),
    });
    let body = what.request.map(|schema| json!({ "required": !what.request_optional, "content": content(schema) }));
    let parameters: Vec<Value> = parameters(path).map(parameter).collect();
    let mut operation = Map::new();
    operation.insert("operationId".to_owned(), identifier(path, method).into());
    operation.insert("summary".to_owned(), what.summary.into());
    operation.extend((!parameters.is_empty()).then(|| ("parameters".to_owned(), parameters.into())));
    operation.extend(body.map(|body| ("requestBody".to_owned(), body)));
    operation.insert("responses".to_owned(), responses);
    operation.into()
}

fn success(what: &Operation) -> Value {
    let content = match (what.text, what.response) {
        (Some(kind), _) => json!({ kind: { "schema": { "type": "string" } } }),
        (None, Some(schema)) => content(schema),
        (None, None) => return json!({ "description": "success" }),
    };
    json!({ "description": "success", "content": content })
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
    let last = if path.ends_with('/') { "_" } else { "" };
    words.fold(method.to_owned(), |all, word| format!("{all}_{word}")) + last
}

//! The form of `/score`: bodies to tensors, outputs to bare values; and the description of both.

use serde_json::{Value, json};

use crate::protocol::{Form, Layout};

pub(super) static FORM: Form =
    Form { keys: &[("input_data", Layout::SplitOrRows), ("data", Layout::Rows)], bare: true, answer: None };

/// The description of `/score`: Swagger 2 or OpenAPI 3.
pub(super) fn swagger(server: &str, version: u8) -> Value {
    let input = json!({ "type": "object", "properties": { "input_data": {}, "data": { "type": "array" } } });
    let info = json!({ "title": server, "version": env!("CARGO_PKG_VERSION") });
    if version == 2 {
        let answer = json!({ "200": { "description": "the predictions", "schema": {} } });
        let body = json!({ "name": "input", "in": "body", "required": true, "schema": input });
        let score = json!({ "post": { "consumes": ["application/json"], "produces": ["application/json"],
            "parameters": [body], "responses": answer } });
        return json!({ "swagger": "2.0", "info": info, "schemes": ["http", "https"], "paths": { "/score": score } });
    }
    let content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let answer = json!({ "200": { "description": "the predictions", "content": content(json!({})) } });
    let body = json!({ "required": true, "content": content(input) });
    let score = json!({ "post": { "requestBody": body, "responses": answer } });
    json!({ "openapi": "3.0.3", "info": info, "paths": { "/score": score } })
}

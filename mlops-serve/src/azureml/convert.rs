//! Bodies of `/score` to tensors, outputs to bare values, and the description of both.

use mlops_core::Result;
use serde_json::{Value, json};

use crate::{
    protocol::{Key, Layout, Read, Shown, read, write},
    repository::LoadedVersion,
    server::TensorReply,
    tensor::Tensor,
};

const KEYS: &[Key] = &[("input_data", Layout::SplitOrRows), ("data", Layout::Rows)];

/// Reads a body.
///
/// # Errors
/// As [`read`].
pub(super) fn read_body(body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
    let Read { tensors, shown } = read(body, KEYS, true, version)?;
    Ok((tensors, shown))
}

/// The bare value.
///
/// # Errors
/// As [`write`].
pub(super) fn write_value(reply: &TensorReply, shown: Shown) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    write(reply, shown, false, &mut out)?;
    Ok(out)
}

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

//! The schemas that operations name.

use serde_json::{Value, json};

/// By name.
pub(super) fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": text });
    let parameters = json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } });
    let tensor = json!({
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": text,
            "shape": { "type": "array", "items": { "type": "integer", "minimum": 0 } },
            "datatype": { "type": "string", "enum": crate::tensor::TensorType::all().map(|kind| kind.name()) },
            "parameters": parameters,
            "data": { "type": "array" },
        },
    });
    let metadata = json!({
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": { "name": text, "datatype": text, "shape": { "type": "array", "items": { "type": "integer" } } },
    });
    json!({
        "Object": { "type": "object" },
        "Anything": {},
        "Error": { "type": "object" },
        "Live": { "type": "object", "required": ["live"], "properties": { "live": { "type": "boolean" } } },
        "Ready": {
            "type": "object",
            "required": ["ready"],
            "properties": { "name": text, "ready": { "type": "boolean" } },
        },
        "ServerMetadata": {
            "type": "object",
            "required": ["name", "version", "extensions"],
            "properties": { "name": text, "version": text, "extensions": texts },
        },
        "Models": { "type": "object", "required": ["models"], "properties": { "models": { "type": "array" } } },
        "ModelMetadata": {
            "type": "object",
            "required": ["name", "platform", "inputs", "outputs"],
            "properties": {
                "name": text,
                "versions": texts,
                "platform": text,
                "inputs": { "type": "array", "items": metadata },
                "outputs": { "type": "array", "items": metadata },
            },
        },
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": text,
                "parameters": parameters,
                "inputs": { "type": "array", "items": { "$ref": "#/components/schemas/Tensor" } },
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": { "name": text, "parameters": parameters },
                    },
                },
            },
        },
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {
                "model_name": text,
                "model_version": text,
                "id": text,
                "outputs": { "type": "array", "items": { "$ref": "#/components/schemas/Tensor" } },
            },
        },
        "Tensor": tensor,
        "Statistics": {
            "type": "object",
            "required": ["model_stats"],
            "properties": { "model_stats": { "type": "array", "items": { "type": "object" } } },
        },
        "Feedback": {
            "type": "object",
            "required": ["labels"],
            "properties": {
                "labels": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["id", "label"],
                        "properties": {
                            "id": text,
                            "row": { "type": "integer", "minimum": 0 },
                            "label": { "type": ["boolean", "number", "string"] },
                            "time": { "type": ["string", "integer"] },
                        },
                    },
                },
            },
        },
        "Outcomes": {
            "type": "object",
            "required": ["outcomes"],
            "properties": {
                "outcomes": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["id", "kpi", "value"],
                        "properties": { "id": text, "kpi": text, "value": { "type": "number" } },
                    },
                },
            },
        },
        "FeedbackReceipt": {
            "type": "object",
            "required": ["model_name", "taken", "duplicates", "refused"],
            "properties": {
                "model_name": text,
                "taken": { "type": "integer" },
                "duplicates": { "type": "integer" },
                "refused": { "type": "integer" },
            },
        },
        "IndexRequest": { "type": "object", "properties": { "ready": { "type": "boolean" } } },
        "LoadRequest": repository_request(&json!({ "config": text })),
        "UnloadRequest": repository_request(&json!({ "unload_dependents": { "type": "boolean" } })),
        "Index": { "type": "array", "items": { "type": "object", "required": ["name"] } },
        "Predict": {
            "type": "object",
            "properties": {
                "signature_name": text,
                "instances": { "type": "array" },
                "inputs": {},
            },
        },
        "Predictions": { "type": "object", "properties": { "predictions": { "type": "array" }, "outputs": {} } },
        "Explanations": {
            "type": "object",
            "required": ["explanations"],
            "properties": { "explanations": { "type": "array", "items": { "type": "object" } } },
        },
        "Examples": {
            "type": "object",
            "required": ["examples"],
            "properties": { "signature_name": text, "examples": { "type": "array", "items": { "type": "object" } } },
        },
        "Result": { "type": "object", "required": ["result"], "properties": { "result": { "type": "array" } } },
        "Scoring": {
            "type": "object",
            "properties": {
                "dataframe_split": {
                    "type": "object",
                    "required": ["data"],
                    "properties": { "columns": texts, "data": { "type": "array", "items": { "type": "array" } } },
                },
                "dataframe_records": { "type": "array", "items": { "type": "object" } },
                "instances": { "type": "array" },
                "inputs": {},
                "params": { "type": "object" },
            },
        },
        "LoadModel": {
            "type": "object",
            "required": ["model_name"],
            "properties": { "model_name": text, "url": text },
        },
    })
}

/// What a load, or an unload, may say beside the model.
fn repository_request(parameters: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "parameters": { "type": "object", "properties": parameters, "additionalProperties": false },
        },
    })
}

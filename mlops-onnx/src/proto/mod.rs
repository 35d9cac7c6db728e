//! The messages of an ONNX file, as far as an evaluator needs them.
//!
//! Invariant: reading follows the file's own nesting only to a fixed depth (model, graph, node, attribute, tensor), so
//! no input can exhaust the stack. Subgraphs are noted, not read. Field numbers are those of `onnx.proto` (IR 11).

mod messages;
mod tensor;
mod wire;

pub(crate) use messages::{AttributeValue, Dim, Graph, ModelProto, Node, ValueKind};
pub(crate) use tensor::element_type;

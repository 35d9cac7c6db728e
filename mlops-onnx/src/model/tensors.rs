//! A graph on tensors of any shape, below the row-wise level of a model.

use mlops_core::{Error, Result};

use super::declared::{Declared, Input};
use crate::{Limits, Tensor, graph::Plan, proto::ModelProto};

/// A checked graph, run on tensors by the names of the file.
///
/// ```
/// use mlops_onnx::OnnxGraph;
///
/// assert!(OnnxGraph::from_bytes(b"").unwrap_err().message().contains("no graph"));
/// ```
#[derive(Debug)]
pub struct OnnxGraph {
    pub(super) plan: Plan,
    pub(super) declared: Declared,
    file_bytes: u64,
}

impl OnnxGraph {
    /// Reads the bytes of an `.onnx` file under the default [`Limits`].
    ///
    /// # Errors
    /// `DataLoss` for bytes that are no model; `InvalidArgument` for a graph that does not hold together;
    /// `Unimplemented` for operators or types that are not supported; `ResourceExhausted` beyond the limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::with_limits(bytes, &Limits::default())
    }

    /// The same under other limits.
    ///
    /// # Errors
    /// As [`OnnxGraph::from_bytes`].
    pub fn with_limits(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let model = ModelProto::read(bytes, limits)?;
        let graph =
            model.graph.ok_or_else(|| Error::data_loss("the bytes are not an ONNX model: there is no graph"))?;
        if model.has_functions || graph.has_sparse {
            return Err(Error::unimplemented(
                "the model uses local functions or sparse tensors; export it without them",
            ));
        }
        let declared = Declared::read(&graph)?;
        let names: Vec<String> = declared.inputs.iter().map(|input| input.name.clone()).collect();
        let plan = Plan::build(model.opsets, graph, &names, limits)?;
        Ok(Self { plan, declared, file_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX) })
    }

    /// Names of the inputs, in order.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.declared.inputs.iter().map(|input| input.name.as_str())
    }

    /// Names of the outputs, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.declared.outputs.iter().map(|output| output.name.as_str())
    }

    /// Computes all outputs.
    ///
    /// # Errors
    /// `InvalidArgument` for a missing or unknown input or one of another type, else the operator's error, which names
    /// the node.
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        if let Some((name, _)) = inputs.iter().find(|(name, _)| self.inputs().all(|input| input != *name)) {
            return Err(Error::invalid_argument(format!("the model has no input {name:?}")));
        }
        let find = |input: &Input| {
            let found = inputs.iter().find(|(name, _)| *name == input.name).map(|(_, tensor)| tensor);
            let tensor = found.ok_or_else(|| Error::invalid_argument(format!("input {:?} is missing", input.name)))?;
            if tensor.data_type() != input.data_type {
                let (wanted, given) = (input.data_type, tensor.data_type());
                return Err(Error::invalid_argument(format!("input {:?} must be {wanted}, found {given}", input.name)));
            }
            Ok(tensor.clone())
        };
        let tensors = self.declared.inputs.iter().map(find).collect::<Result<Vec<_>>>()?;
        let outputs = self.plan.run(tensors)?;
        Ok(self.outputs().map(str::to_owned).zip(outputs).collect())
    }

    /// Resident size in bytes, an estimate.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.plan.constant_bytes().saturating_add(self.file_bytes.saturating_mul(2))
    }
}

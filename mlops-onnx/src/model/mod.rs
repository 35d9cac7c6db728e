//! A loaded model: a plan with named inputs and outputs, and what they look like as columns.
//!
//! Invariant: a model is made only after its graph was checked and tried on made-up rows, so that its signature says what
//! it really answers.

mod columns;
mod contract;
mod declared;

use mlops_core::{Error, Model, Result, Signature, arrow_array::RecordBatch};

use crate::{Limits, Tensor, graph::Plan, proto::ModelProto};
use contract::Contract;
use declared::Declared;

/// The context key of errors that a row's value causes, such as a category that the model was not trained on.
pub const INPUT_VALUE: &str = "input_value";

/// An ONNX model.
///
/// Rows are the first dimension of every input and output. A model exported for a batch of exactly one row is run row
/// by row.
///
/// ```
/// use mlops_core::{ErrorKind, Model};
/// use mlops_onnx::OnnxModel;
///
/// let error = OnnxModel::from_bytes(b"not a model").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::DataLoss);
/// ```
#[derive(Debug)]
pub struct OnnxModel {
    plan: Plan,
    declared: Declared,
    contract: Contract,
    file_bytes: u64,
}

impl OnnxModel {
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
    /// As [`OnnxModel::from_bytes`].
    pub fn with_limits(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let model = ModelProto::read(bytes, limits)?;
        let graph = model.graph.ok_or_else(|| Error::data_loss("the bytes are not an ONNX model: there is no graph"))?;
        if model.has_functions || graph.has_sparse {
            return Err(Error::unimplemented("the model uses local functions or sparse tensors; export it without them"));
        }
        let declared = Declared::read(&graph)?;
        let names: Vec<String> = declared.inputs.iter().map(|input| input.name.clone()).collect();
        let plan = Plan::build(model.opsets, graph, &names, limits)?;
        let contract = Contract::derive(&plan, &declared)?;
        Ok(Self { plan, declared, contract, file_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX) })
    }

    /// The same model behind another signature, such as the one of its package: a column may stand for an input of one
    /// value a row, as many number columns as an input is wide may stand for that input, numbers are converted, and a
    /// missing number of a nullable column is not-a-number to the model.
    ///
    /// # Errors
    /// `InvalidArgument` naming the input or output that does not fit.
    pub fn with_signature(mut self, signature: Signature) -> Result<Self> {
        self.contract = self.contract.adapted(signature)?;
        Ok(self)
    }

    /// Computes the outputs of raw tensors, by the names of the file. Shapes are the file's own.
    ///
    /// # Errors
    /// `InvalidArgument` for a missing or unknown input or one of another type, else the operator's error.
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        if let Some((name, _)) = inputs.iter().find(|(name, _)| self.declared.inputs.iter().all(|input| input.name != *name)) {
            return Err(Error::invalid_argument(format!("the model has no input {name:?}")));
        }
        let find = |input: &declared::Input| {
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
        Ok(self.declared.outputs.iter().map(|output| output.name.clone()).zip(outputs).collect())
    }
}

impl Model for OnnxModel {
    fn signature(&self) -> &Signature {
        self.contract.signature()
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        self.contract.predict(&self.plan, inputs)
    }

    fn memory_bytes(&self) -> u64 {
        self.plan.constant_bytes().saturating_add(self.file_bytes.saturating_mul(2))
    }
}

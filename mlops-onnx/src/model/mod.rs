//! A loaded model: a plan with named inputs and outputs, and what they look like as columns.
//!
//! Invariant: a model is made only after its graph was checked and tried on made-up rows, so that its signature says what
//! it really answers.

mod columns;
mod contract;
mod declared;
mod tensors;

use mlops_core::{Model, Result, Signature, arrow_array::RecordBatch};

use crate::Limits;
use contract::Contract;
pub use tensors::OnnxGraph;

/// The context key of errors that a row's value causes, such as a category that the model was not trained on.
pub const INPUT_VALUE: &str = "input_value";

/// An ONNX model on record batches.
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
    graph: OnnxGraph,
    contract: Contract,
}

impl OnnxModel {
    /// Reads the bytes of an `.onnx` file under the default [`Limits`].
    ///
    /// # Errors
    /// `DataLoss` for bytes that are no model; `InvalidArgument` for a graph that does not hold together or does not
    /// answer one row for each input row; `Unimplemented` for operators or types that are not supported;
    /// `ResourceExhausted` beyond the limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::with_limits(bytes, &Limits::default())
    }

    /// The same under other limits.
    ///
    /// # Errors
    /// As [`OnnxModel::from_bytes`].
    pub fn with_limits(bytes: &[u8], limits: &Limits) -> Result<Self> {
        Self::new(OnnxGraph::with_limits(bytes, limits)?)
    }

    /// A graph that answers one row for each input row, as a model.
    ///
    /// # Errors
    /// `InvalidArgument` naming the input or output that is not made of rows.
    pub fn new(graph: OnnxGraph) -> Result<Self> {
        let contract = Contract::derive(&graph.plan, &graph.declared)?;
        Ok(Self { graph, contract })
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

    /// The graph behind it.
    #[must_use]
    pub fn graph(&self) -> &OnnxGraph {
        &self.graph
    }
}

impl Model for OnnxModel {
    fn signature(&self) -> &Signature {
        self.contract.signature()
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        self.contract.predict(&self.graph.plan, inputs)
    }

    fn memory_bytes(&self) -> u64 {
        self.graph.memory_bytes()
    }
}

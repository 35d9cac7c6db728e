//! A compressed model in the place of any other.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use mlops_core::{DataType, Error, Model, ModelPackage, Result, Signature};
use mlops_edge::{Scratch, Value};

use crate::{
    data::{Column, decode},
    trainer::TrainedModel,
};

/// The flavor of packages.
pub(crate) const FLAVOR: &str = "mlops.edge";

/// Path of the model within them.
const EDGE_FILE: &str = "model.mled";

/// A pruned or quantized perceptron, predicting with the code that runs on the edge.
#[derive(Debug)]
pub struct CompressedModel {
    signature: Signature,
    edge: mlops_edge::Model,
    steps: usize,
}

impl CompressedModel {
    /// The flavor of its packages.
    pub const FLAVOR: &'static str = FLAVOR;

    pub(super) fn new(signature: Signature, edge: mlops_edge::Model, steps: usize) -> Result<Self> {
        let fits = |(input, column): (&mlops_core::TensorSpec, &mlops_edge::Column)| {
            input.name == column.name() && (input.data_type == DataType::String) == column.is_text()
        };
        let same = signature.inputs().len() == edge.columns().len()
            && signature.inputs().iter().zip(edge.columns()).all(fits)
            && signature.outputs().len() == 1;
        if !same {
            return Err(Error::data_loss(format!(
                "the columns of {EDGE_FILE} and the signature of the model disagree"
            )));
        }
        Ok(Self { signature, edge, steps })
    }

    /// The model as the edge runs it.
    #[must_use]
    pub fn edge(&self) -> &mlops_edge::Model {
        &self.edge
    }

    /// The file for the edge.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.edge.to_bytes()
    }
}

impl Model for CompressedModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.signature.inputs().len());
        for input in self.signature.inputs() {
            let missing = || Error::invalid_argument(format!("input column {:?} is missing", input.name));
            let array = inputs.column_by_name(&input.name).ok_or_else(missing)?;
            columns.push(decode(&input.name, input.data_type, array)?);
        }
        let mut scratch = Scratch::default();
        let mut row = Vec::with_capacity(columns.len());
        let mut scores = Vec::with_capacity(inputs.num_rows());
        for index in 0..inputs.num_rows() {
            row.clear();
            row.extend(columns.iter().map(|column| value(column, index)));
            let score = self.edge.predict(&row, &mut scratch);
            scores.push(score.map_err(|error| Error::invalid_argument(error.to_string()))?);
        }
        let column: ArrayRef = Arc::new(Float64Array::from(scores));
        Ok(RecordBatch::try_new(self.signature.output_schema(), vec![column])?)
    }

    fn memory_bytes(&self) -> u64 {
        (self.edge.memory_bytes() + size_of::<Self>()) as u64
    }
}

fn value<'a>(column: &Column<'a>, row: usize) -> Value<'a> {
    match column {
        Column::Numbers(numbers) => numbers.get(row).map_or(Value::Missing, |number| Value::Number(*number)),
        Column::Categories(texts) => texts.get(row).copied().flatten().map_or(Value::Missing, Value::Text),
    }
}

impl TrainedModel for CompressedModel {
    fn to_package(&self) -> Result<ModelPackage> {
        let mut package = ModelPackage::new(FLAVOR, self.signature.clone()).with_file(EDGE_FILE, self.to_bytes());
        package.manifest.notes.insert("epochs".to_owned(), self.steps.to_string());
        Ok(package)
    }

    fn steps(&self) -> usize {
        self.steps
    }
}

/// Reads a model from its package.
///
/// # Errors
/// As [`crate::load_package`].
pub(crate) fn load(package: &ModelPackage) -> Result<CompressedModel> {
    let edge = mlops_edge::Model::from_bytes(package.file(EDGE_FILE)?).map_err(|error| match error {
        mlops_edge::Error::Version(_) => Error::failed_precondition(format!("{EDGE_FILE}: {error}; upgrade mlops")),
        _ => Error::data_loss(format!("{EDGE_FILE}: {error}")),
    })?;
    let steps = package.manifest.notes.get("epochs").and_then(|epochs| epochs.parse().ok()).unwrap_or(0);
    CompressedModel::new(package.manifest.signature.clone(), edge, steps)
}

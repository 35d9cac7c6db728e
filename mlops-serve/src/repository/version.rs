//! One loaded version of a model: its description, its counters, its cost.
//!
//! Immutable but for counters. Requests hold it by `Arc`, so a version that was swapped out lives until its last
//! request is answered.

use std::sync::Arc;

use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::{Schema, SchemaRef};
use mlops_core::{DataType, Digest, Error, Model, Result, Signature, TensorSpec, Version};

use super::counters::Counters;
use crate::{
    executor::{Payload, guarded},
    features::FeatureLookup,
    model::ServedModel,
    runtime::INPUT_VALUE,
    tensor::{Tensor, TensorInfo, TensorType, check_batch, empty_outputs, to_field_column},
};

/// A version that is ready to answer.
#[derive(Debug)]
pub(crate) struct LoadedVersion {
    pub(crate) version: Version,
    pub(crate) digest: Option<Digest>,
    pub(crate) platform: String,
    pub(crate) model: ServedModel,
    /// What the client sends, and, for row models, the matching specs.
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) input_specs: Vec<TensorSpec>,
    /// Of a batch with every one of those; the signature's own where nothing is looked up.
    pub(crate) input_schema: SchemaRef,
    pub(crate) outputs: Vec<TensorInfo>,
    /// An input that the client may leave out.
    pub(crate) optional_input: Option<String>,
    /// What it takes in memory.
    pub(crate) bytes: u64,
    /// Stays loaded whatever the alias says.
    pub(crate) pinned: bool,
    pub(crate) counters: Counters,
}

impl LoadedVersion {
    /// Describes `model` as the client sees it behind `lookup`.
    ///
    /// # Errors
    /// `FailedPrecondition` when the feature lookup does not fit the model.
    pub(crate) fn new(
        version: Version,
        digest: Option<Digest>,
        platform: String,
        model: ServedModel,
        lookup: Option<&FeatureLookup>,
        pinned: bool,
    ) -> Result<Self> {
        let (mut input_specs, mut optional_input) = (Vec::new(), None);
        let (inputs, outputs) = match &model {
            ServedModel::Tensors(model) => {
                if lookup.is_some() {
                    return Err(Error::failed_precondition("feature lookup needs a model on rows, not on raw tensors"));
                }
                (model.inputs().to_vec(), model.outputs().to_vec())
            }
            rows => {
                let model =
                    rows.rows().ok_or_else(|| Error::internal("the model is neither on rows nor on tensors"))?;
                let signature = model.signature();
                input_specs = signature.inputs().to_vec();
                if let Some(lookup) = lookup {
                    lookup.check(signature)?;
                    input_specs = lookup.client_inputs(signature);
                    input_specs.extend(lookup.as_of.as_ref().map(|name| TensorSpec::column(name, DataType::Int64)));
                    optional_input.clone_from(&lookup.as_of);
                }
                let infos = |specs: &[TensorSpec]| specs.iter().map(TensorInfo::from_spec).collect::<Vec<_>>();
                (infos(&input_specs), infos(signature.outputs()))
            }
        };
        let input_schema = match model.rows() {
            Some(model) if lookup.is_none() => model.signature().input_schema(),
            _ => Arc::new(Schema::new(input_specs.iter().map(TensorSpec::to_field).collect::<Vec<_>>())),
        };
        let (bytes, counters) = (model.memory_bytes(), Counters::default());
        Ok(Self {
            version,
            digest,
            platform,
            model,
            inputs,
            input_specs,
            input_schema,
            outputs,
            optional_input,
            bytes,
            pinned,
            counters,
        })
    }

    /// Predicts one made-up row, so that a broken or lazy model shows before it gets traffic. Computation.
    ///
    /// # Errors
    /// The model's error, `Internal` for a panic or a broken contract.
    pub(crate) fn warm_up(&self) -> Result<()> {
        self.try_out(None)
    }

    /// Predicts `example`, or one made-up row. Computation. Models on raw tensors have no rows to make up.
    ///
    /// # Errors
    /// The model's error, `Internal` for a panic or a broken contract.
    pub(crate) fn try_out(&self, example: Option<&RecordBatch>) -> Result<()> {
        let Some(model) = self.model.rows() else { return Ok(()) };
        let signature = model.signature();
        let rows = match example {
            Some(example) => signature.project_inputs(example)?,
            None => probe_row(signature)?,
        };
        let outcome = guarded(|| {
            let outputs = model.predict(&rows)?;
            check_batch(signature, &outputs, rows.num_rows())
        });
        match outcome {
            // A row that was made up may hold values that no real one has.
            Err(error) if example.is_none() && error.context().iter().any(|(key, _)| *key == INPUT_VALUE) => Ok(()),
            outcome => outcome,
        }
    }

    /// Computes the outputs of inputs that fit the description, and checks them against it. Computation.
    ///
    /// # Errors
    /// The model's error, `Internal` when it broke its contract.
    pub(crate) fn predict(&self, inputs: Payload) -> Result<Payload> {
        match (&self.model, inputs) {
            (ServedModel::Tensors(model), Payload::Tensors(tensors)) => {
                let outputs = model.infer(&tensors)?;
                let fits = outputs.len() == self.outputs.len()
                    && outputs.iter().zip(&self.outputs).all(|(tensor, info)| {
                        tensor.name() == info.name
                            && tensor.data_type() == info.data_type
                            && info.admits(tensor.shape())
                    });
                if fits {
                    return Ok(Payload::Tensors(outputs));
                }
                Err(Error::internal("the model's outputs do not fit its metadata"))
            }
            (model, Payload::Rows(batch)) => match model.rows() {
                Some(model) => Ok(Payload::Rows(predict_rows(model, &batch)?)),
                None => Err(Error::internal("rows were given to a model on raw tensors")),
            },
            (_, Payload::Tensors(_)) => Err(Error::internal("raw tensors were given to a model on rows")),
        }
    }

    /// Whether calls may share a prediction.
    pub(crate) fn batches(&self) -> bool {
        match &self.model {
            ServedModel::Tensors(model) => model.rows_independent(),
            _ => true,
        }
    }

    /// Whether calls do share predictions here: they may, and no other server predicts them.
    pub(crate) fn shares_predictions(&self) -> bool {
        #[cfg(feature = "remote")]
        if matches!(self.model, ServedModel::Remote(_)) {
            return false;
        }
        self.batches()
    }

    /// Whether a client that is served by `self` can be served by `other`.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the first difference.
    pub(crate) fn check_replaceable_by(&self, other: &Self) -> Result<()> {
        let fail = |text: String| Err(Error::failed_precondition(text));
        for input in &other.inputs {
            if !self.inputs.contains(input) {
                return fail(format!(
                    "version {} needs input {:?} in another form than version {}",
                    other.version, input.name, self.version
                ));
            }
        }
        for input in &self.inputs {
            if !other.inputs.contains(input) {
                return fail(format!(
                    "version {} refuses input {:?}, which clients of version {} send",
                    other.version, input.name, self.version
                ));
            }
        }
        match self.outputs.iter().find(|output| !other.outputs.contains(output)) {
            Some(output) => {
                fail(format!("version {} lacks output {:?} of version {}", other.version, output.name, self.version))
            }
            None => Ok(()),
        }
    }
}

/// Runs a row model and checks its answer; no rows need no model.
///
/// # Errors
/// The model's error, `Internal` when it broke its contract.
pub(crate) fn predict_rows(model: &dyn Model, inputs: &RecordBatch) -> Result<RecordBatch> {
    let signature = model.signature();
    if inputs.num_rows() == 0 {
        return Ok(empty_outputs(signature));
    }
    let outputs = model.predict(inputs)?;
    check_batch(signature, &outputs, inputs.num_rows())?;
    Ok(outputs)
}

/// One row of nulls where allowed, else zeros, false and empty text.
fn probe_row(signature: &Signature) -> Result<RecordBatch> {
    let schema = signature.input_schema();
    let columns = signature.inputs().iter().zip(schema.fields()).map(|(spec, field)| {
        if spec.nullable {
            return Ok(new_null_array(field.data_type(), 1));
        }
        let data_type = TensorType::from_core(spec.data_type);
        let shape: Vec<usize> = std::iter::once(1).chain(spec.row_shape.iter().copied()).collect();
        let count = crate::tensor::element_count(&spec.name, &shape)?;
        let bytes = vec![0_u8; count * data_type.element_bytes().unwrap_or(4)];
        let values = crate::oip::binary::decode(&spec.name, data_type, count, &bytes)?;
        to_field_column(spec, field, &Tensor::new(&spec.name, data_type, shape, values)?)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?)
}

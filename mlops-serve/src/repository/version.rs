//! One loaded version of a model: its description, its counters, its cost.
//!
//! Immutable but for counters. Requests hold it by `Arc`, so a version that was swapped out lives until its last
//! request is answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow_array::{RecordBatch, new_null_array};
use mlops_core::{DataType, Digest, Error, Model, Result, Signature, TensorSpec, Timestamp, Version};

use crate::{
    executor::guarded,
    features::FeatureLookup,
    model::ServedModel,
    tensor::{Tensor, TensorInfo, TensorType, empty_outputs, to_column},
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
    pub(crate) outputs: Vec<TensorInfo>,
    /// An input that the client may leave out.
    pub(crate) optional_input: Option<String>,
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
            ServedModel::Rows(model) => {
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
        let counters = Counters::default();
        Ok(Self { version, digest, platform, model, inputs, input_specs, outputs, optional_input, pinned, counters })
    }

    /// Predicts one made-up row, so that a broken or lazy model shows before it gets traffic. Computation.
    ///
    /// # Errors
    /// The model's error, `Internal` for a panic or a broken contract.
    pub(crate) fn warm_up(&self) -> Result<()> {
        let ServedModel::Rows(model) = &self.model else { return Ok(()) };
        let signature = model.signature();
        let probe = probe_row(signature)?;
        guarded(|| {
            let outputs = model.predict(&probe)?;
            check_outputs(signature, &outputs, 1)
        })
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
    check_outputs(signature, &outputs, inputs.num_rows())?;
    Ok(outputs)
}

fn check_outputs(signature: &Signature, outputs: &RecordBatch, rows: usize) -> Result<()> {
    crate::tensor::from_batch(signature, outputs, rows).map(drop)
}

/// One row of nulls where allowed, else zeros, false and empty text.
fn probe_row(signature: &Signature) -> Result<RecordBatch> {
    let columns = signature.inputs().iter().map(|spec| {
        if spec.nullable {
            return Ok(new_null_array(spec.to_field().data_type(), 1));
        }
        let data_type = TensorType::from_core(spec.data_type);
        let shape: Vec<usize> = std::iter::once(1).chain(spec.row_shape.iter().copied()).collect();
        let count = crate::tensor::element_count(&spec.name, &shape)?;
        let bytes = vec![0_u8; count * data_type.element_bytes().unwrap_or(4)];
        let values = crate::oip::binary::decode(&spec.name, data_type, count, &bytes)?;
        to_column(spec, &Tensor::new(&spec.name, data_type, shape, values)?)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(Arc::new(signature.input_schema()), columns, &options)?)
}

/// A count with the time it took.
#[derive(Debug, Default)]
pub(crate) struct Duty {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Duty {
    pub(crate) fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// What a version did since it was loaded.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) success: Duty,
    pub(crate) fail: Duty,
    pub(crate) queue: Duty,
    pub(crate) compute_input: Duty,
    pub(crate) compute_infer: Duty,
    pub(crate) compute_output: Duty,
    pub(crate) rows: AtomicU64,
    pub(crate) last_ms: AtomicU64,
    /// Slow-decaying maximum of the time of small calls, nanoseconds; the maximum value when unknown.
    small_call_nanos: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            success: Duty::default(),
            fail: Duty::default(),
            queue: Duty::default(),
            compute_input: Duty::default(),
            compute_infer: Duty::default(),
            compute_output: Duty::default(),
            rows: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
            small_call_nanos: AtomicU64::new(u64::MAX),
        }
    }
}

impl Counters {
    /// Notes an answered request.
    pub(crate) fn answered(&self, rows: usize, took: Duration, at: Timestamp) {
        self.success.add(took);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.last_ms.store(u64::try_from(at.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }

    /// Notes how long a small call took. The estimate follows a slower call at once and forgets it by 1/16
    /// per call.
    pub(crate) fn small_call(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let old = self.small_call_nanos.load(Ordering::Relaxed);
        let new = if old == u64::MAX { took } else { took.max(old - old / 16) };
        self.small_call_nanos.store(new, Ordering::Relaxed);
    }

    /// Whether every recent small call stayed below `limit`.
    pub(crate) fn is_cheap(&self, limit: Duration) -> bool {
        u128::from(self.small_call_nanos.load(Ordering::Relaxed)) < limit.as_nanos()
    }
}

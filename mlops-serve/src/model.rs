//! Models as the server sees them: a core [`Model`] on record batches, or a [`TensorModel`] on raw tensors for
//! shapes that a row-wise signature cannot express.
//!
//! A served model is immutable; a new one is a new version.

use std::{fmt, sync::Arc};

use arrow_array::RecordBatch;
use mlops_core::{Model, Result, Signature};

#[cfg(feature = "remote")]
use crate::remote::RemoteModel;
use crate::{
    ensemble::Ensemble,
    tensor::{Tensor, TensorInfo, TensorType},
};

/// A model that works on tensors of any shape, below the row-wise level of [`Model`].
///
/// It takes no part in feature lookup, prediction logging or warm-up, which need rows.
pub trait TensorModel: fmt::Debug + Send + Sync + 'static {
    /// What it needs.
    fn inputs(&self) -> &[TensorInfo];
    /// What it gives.
    fn outputs(&self) -> &[TensorInfo];
    /// Computes all outputs, in order. `inputs` fit [`TensorModel::inputs`] and come in that order.
    ///
    /// # Errors
    /// Whatever kept it from answering.
    fn infer(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>>;

    /// Whether the first dimension of every input and output is the rows, and no row's result depends on another.
    /// Such a model takes part in dynamic batching.
    fn rows_independent(&self) -> bool {
        false
    }

    /// Resident size in bytes, an estimate; zero when unknown.
    fn memory_bytes(&self) -> u64 {
        0
    }
}

/// What a version runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServedModel {
    /// A model on record batches.
    Rows(Arc<dyn Model>),
    /// A model on raw tensors.
    Tensors(Arc<dyn TensorModel>),
    /// A graph of models, on record batches.
    Ensemble(Arc<Ensemble>),
    /// A model of another server, on record batches.
    #[cfg(feature = "remote")]
    Remote(Arc<RemoteModel>),
}

impl ServedModel {
    /// Resident size in bytes, an estimate; zero when unknown.
    pub(crate) fn memory_bytes(&self) -> u64 {
        match self {
            Self::Tensors(model) => model.memory_bytes(),
            _ => self.rows().map_or(0, Model::memory_bytes),
        }
    }

    /// Whether a prediction of it may come to ask other models, or other servers.
    pub(crate) fn may_ask_others(&self) -> bool {
        matches!(self, Self::Ensemble(_)) || (cfg!(feature = "remote") && matches!(self, Self::Rows(_)))
    }

    /// The model on record batches; none for one on raw tensors.
    pub(crate) fn rows(&self) -> Option<&dyn Model> {
        match self {
            Self::Rows(model) => Some(&**model),
            Self::Ensemble(model) => Some(&**model),
            #[cfg(feature = "remote")]
            Self::Remote(model) => Some(&**model),
            Self::Tensors(_) => None,
        }
    }

    /// The same, to keep.
    pub(crate) fn to_rows(&self) -> Option<Arc<dyn Model>> {
        match self {
            Self::Rows(model) => Some(Arc::clone(model)),
            Self::Ensemble(model) => Some(Arc::<Ensemble>::clone(model)),
            #[cfg(feature = "remote")]
            Self::Remote(model) => Some(Arc::<RemoteModel>::clone(model)),
            Self::Tensors(_) => None,
        }
    }
}

impl From<Arc<dyn Model>> for ServedModel {
    fn from(model: Arc<dyn Model>) -> Self {
        Self::Rows(model)
    }
}

impl From<Arc<Ensemble>> for ServedModel {
    fn from(model: Arc<Ensemble>) -> Self {
        Self::Ensemble(model)
    }
}

#[cfg(feature = "remote")]
impl From<Arc<RemoteModel>> for ServedModel {
    fn from(model: Arc<RemoteModel>) -> Self {
        Self::Remote(model)
    }
}

impl From<Arc<dyn TensorModel>> for ServedModel {
    fn from(model: Arc<dyn TensorModel>) -> Self {
        Self::Tensors(model)
    }
}

/// A plain Rust closure with a signature.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{DataType, Model, Signature, TensorSpec, arrow_array::{RecordBatch, record_batch}};
/// use mlops_serve::ClosureModel;
///
/// let signature = Signature::new(
///     [TensorSpec::column("x", DataType::Float64)],
///     [TensorSpec::column("y", DataType::Float64)],
/// )?;
/// let model = ClosureModel::new(signature.clone(), move |batch: &RecordBatch| {
///     Ok(RecordBatch::try_new(signature.output_schema(), vec![Arc::clone(batch.column(0))])?)
/// });
/// let batch = record_batch!(("x", Float64, [1.5]))?;
/// assert_eq!(model.predict(&batch)?.num_rows(), 1);
/// # Ok::<(), mlops_core::Error>(())
/// ```
pub struct ClosureModel<F> {
    signature: Signature,
    predict: F,
}

impl<F> ClosureModel<F>
where
    F: Fn(&RecordBatch) -> Result<RecordBatch> + Send + Sync + 'static,
{
    /// Serves `predict`, which sees exactly the input columns of `signature`, in order.
    #[must_use]
    pub fn new(signature: Signature, predict: F) -> Self {
        Self { signature, predict }
    }
}

impl<F> fmt::Debug for ClosureModel<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosureModel").field("signature", &self.signature).finish_non_exhaustive()
    }
}

impl<F> Model for ClosureModel<F>
where
    F: Fn(&RecordBatch) -> Result<RecordBatch> + Send + Sync + 'static,
{
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        (self.predict)(&self.signature.project_inputs(inputs)?)
    }
}

/// Answers its one input: `INPUT0` to `OUTPUT0`, two variable dimensions. For conformance runs and load tests.
#[derive(Debug)]
pub struct IdentityModel {
    inputs: [TensorInfo; 1],
    outputs: [TensorInfo; 1],
}

impl IdentityModel {
    /// For elements of `data_type`.
    #[must_use]
    pub fn new(data_type: TensorType) -> Self {
        let info = |name: &str| [TensorInfo::new(name, data_type, [-1, -1])];
        Self { inputs: info("INPUT0"), outputs: info("OUTPUT0") }
    }
}

impl TensorModel for IdentityModel {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }
    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }
    fn infer(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(inputs.iter().map(|tensor| tensor.clone().renamed("OUTPUT0")).collect())
    }
    fn rows_independent(&self) -> bool {
        true
    }
}

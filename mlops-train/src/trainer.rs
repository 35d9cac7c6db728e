//! The port of training: something that fits a model to a table, and what surrounds a fit.
//!
//! Invariant: a fit depends on the data, the parameters and the seed alone. Progress and
//! cancellation observe it and never change its result.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow_array::{Array, RecordBatch, cast::AsArray, types::Float64Type};
use mlops_core::{Error, Model, ModelPackage, Result};

use crate::{
    checkpoint::Checkpoints, data::TableDataset, device::DeviceKind, neural::Collective, params::Params,
    search::SearchSpace,
};

/// A model that was just trained and can be stored.
pub trait TrainedModel: Model {
    /// The package from which [`crate::load_package`] makes a model with bit-identical
    /// predictions. Notes carry seed and parameters; run, data versions and metrics are the
    /// caller's to add.
    ///
    /// # Errors
    /// `Internal` when a part cannot be written.
    fn to_package(&self) -> Result<ModelPackage>;

    /// How many rounds, epochs or Newton steps made the model, after early stopping.
    fn steps(&self) -> usize;
}

impl<T: TrainedModel + ?Sized> TrainedModel for Arc<T> {
    fn to_package(&self) -> Result<ModelPackage> {
        (**self).to_package()
    }
    fn steps(&self) -> usize {
        (**self).steps()
    }
}

/// Fits models of one kind.
pub trait Trainer: fmt::Debug + Send + Sync + 'static {
    /// The flavor of the packages it makes, such as `mlops.gbdt`.
    fn name(&self) -> &'static str;

    /// Parameters worth searching, with their ranges.
    fn search_space(&self) -> SearchSpace;

    /// Fits one model. Preprocessing is learnt from these rows and becomes part of the model.
    ///
    /// # Errors
    /// `InvalidArgument` for unknown parameters, values out of range or labels of one class;
    /// `Cancelled` when the context says so.
    fn fit(&self, data: &TableDataset, params: &Params, context: &FitContext) -> Result<Arc<dyn TrainedModel>>;
}

impl<T: Trainer + ?Sized> Trainer for Arc<T> {
    fn name(&self) -> &'static str {
        (**self).name()
    }
    fn search_space(&self) -> SearchSpace {
        (**self).search_space()
    }
    fn fit(&self, data: &TableDataset, params: &Params, context: &FitContext) -> Result<Arc<dyn TrainedModel>> {
        (**self).fit(data, params, context)
    }
}

/// How far a fit is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Rounds, epochs or Newton steps done.
    pub step: usize,
    /// Rounds, epochs or Newton steps at most.
    pub steps_max: usize,
    /// Mean loss over the training rows.
    pub train_loss: f64,
    /// Mean loss over the held-out rows, where there are any.
    pub valid_loss: Option<f64>,
}

type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;

/// What surrounds a fit: seed, cancellation, progress, device, checkpoints.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicBool, Ordering}};
///
/// use mlops_train::FitContext;
///
/// let stop = Arc::new(AtomicBool::new(false));
/// let context = FitContext::new(42).with_cancel(Arc::clone(&stop));
/// stop.store(true, Ordering::Relaxed);
/// assert!(context.check_cancelled().is_err());
/// ```
#[derive(Clone)]
pub struct FitContext {
    seed: u64,
    cancel: Arc<AtomicBool>,
    on_progress: Option<OnProgress>,
    device: DeviceKind,
    checkpoints: Option<Checkpoints>,
    workers: NonZeroUsize,
    collective: Option<Arc<dyn Collective>>,
}

impl FitContext {
    /// A fit that draws from `seed` and that nobody watches.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            cancel: Arc::new(AtomicBool::new(false)),
            on_progress: None,
            device: DeviceKind::Cpu,
            checkpoints: None,
            workers: NonZeroUsize::MIN,
            collective: None,
        }
    }

    /// Stops soon after the flag is set, at the latest after the current round or batch.
    #[must_use]
    pub fn with_cancel(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancel = flag;
        self
    }

    /// Calls `observer` after every round or epoch, on the training thread.
    #[must_use]
    pub fn with_progress(mut self, observer: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(observer));
        self
    }

    /// Where networks are trained; trees and linear models are always fitted on the CPU.
    #[must_use]
    pub fn with_device(mut self, device: DeviceKind) -> Self {
        self.device = device;
        self
    }

    /// Writes checkpoints and goes on from the latest one. Linear models are fitted too fast to need
    /// any and write none.
    #[must_use]
    pub fn with_checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Lets so many threads share each step of a network: they divide its `accumulate` batches among
    /// them, so that the loss is that of one thread (to the bit where each gets a power of two of
    /// batches). Trees and linear models use one thread.
    #[must_use]
    pub fn with_workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = workers;
        self
    }

    /// Makes this fit one of a group whose members run the same fit, on other threads or machines, and
    /// share its steps. The member of number zero writes the checkpoints.
    #[must_use]
    pub fn with_collective(mut self, collective: Arc<dyn Collective>) -> Self {
        self.collective = Some(collective);
        self
    }

    /// The same watchers and device with another seed and without checkpoints, for folds and trials.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        Self { seed, checkpoints: None, collective: None, ..self.clone() }
    }

    /// The same for one of the models that make up a model, which writes its checkpoints apart from the others.
    pub(crate) fn for_part(&self, name: &str) -> Self {
        Self { checkpoints: self.checkpoints.as_ref().map(|checkpoints| checkpoints.below(name)), ..self.clone() }
    }

    /// Where all random draws come from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Where networks are trained.
    #[must_use]
    pub fn device(&self) -> DeviceKind {
        self.device
    }

    /// Where checkpoints lie, if any are wanted.
    #[must_use]
    pub fn checkpoints(&self) -> Option<&Checkpoints> {
        self.checkpoints.as_ref()
    }

    /// Threads that share each step.
    #[must_use]
    pub fn workers(&self) -> NonZeroUsize {
        self.workers
    }

    /// The group that shares each step, if there is one.
    #[must_use]
    pub fn collective(&self) -> Option<&Arc<dyn Collective>> {
        self.collective.as_ref()
    }

    /// Tells the observer.
    pub fn report(&self, progress: &Progress) {
        if let Some(observer) = &self.on_progress {
            observer(progress);
        }
    }

    /// Fails when the flag is set.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::cancelled("training was cancelled"));
        }
        Ok(())
    }
}

impl fmt::Debug for FitContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FitContext")
            .field("seed", &self.seed)
            .field("cancelled", &self.cancel.load(Ordering::Relaxed))
            .field("observed", &self.on_progress.is_some())
            .field("device", &self.device)
            .field("checkpoints", &self.checkpoints)
            .field("workers", &self.workers)
            .field("collective", &self.collective)
            .finish()
    }
}

/// The first output of `model` for every row as numbers: probabilities or predictions.
///
/// # Errors
/// `InvalidArgument` when the batch does not fit the model; `FailedPrecondition` when its first
/// output is not a column of doubles without nulls.
pub fn scores(model: &dyn Model, batch: &RecordBatch) -> Result<Vec<f64>> {
    scores_of(&model.predict(batch)?)
}

/// The scores in what a model predicted.
///
/// # Errors
/// `FailedPrecondition` when the first column does not hold doubles without nulls.
pub fn scores_of(output: &RecordBatch) -> Result<Vec<f64>> {
    let column = output.columns().first().and_then(|column| column.as_primitive_opt::<Float64Type>());
    match column {
        Some(column) if column.null_count() == 0 => Ok(column.values().to_vec()),
        _ => Err(Error::failed_precondition("the first output of the model must be Float64 without nulls")),
    }
}

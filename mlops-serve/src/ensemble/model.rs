//! The ensemble as a model: the versions of one moment, level by level, side by side where that is worth a thread.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use arrow_array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::Schema;
use mlops_core::{
    Clock, DataType, Error, Meter, Model, ModelName, NoMeter, Result, ResultExt, Signature, SystemClock, TensorSpec,
};

use super::{
    graph::{Graph, Interface, Node},
    inside::Inside,
    step::{Step, Work},
};
use crate::{
    ambient::Ambient,
    executor::{Close, Payload, guarded},
    metrics::Failed,
    model::ServedModel,
    repository::{Duty, LoadedVersion, Peers, predict_rows},
    tensor::{Tensor, TensorInfo, from_batch, to_column},
};

/// A second thread is started for steps when that saves at least so much: several times what a thread costs.
const SAVING_MIN_NANOS: u64 = 300_000;
/// Most steps of an ensemble that run at a time, whatever its author wants.
const THREADS_MAX: usize = 64;

/// What a step did since the ensemble was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepStatistics {
    /// Name of the step.
    pub step: String,
    /// Predictions that went well.
    pub success: u64,
    /// Predictions that failed.
    pub failure: u64,
    /// Rows of those that went well.
    pub rows: u64,
    /// Time in the step, of all predictions together.
    pub took: Duration,
}

/// A graph of models that is served as one model.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{DataType, Model, Signature, TensorSpec, Version, arrow_array::{RecordBatch, record_batch}};
/// use mlops_serve::{ClosureModel, Combination, Ensemble, ModelRepository, Step};
///
/// let column = |name: &str| TensorSpec::column(name, DataType::Float64);
/// let signature = Signature::new([column("x")], [column("y")])?;
/// let echo = |schema: Signature| {
///     move |batch: &RecordBatch| Ok(RecordBatch::try_new(schema.output_schema(), batch.columns().to_vec())?)
/// };
/// let repository = ModelRepository::new();
/// let served = ClosureModel::new(signature.clone(), echo(signature.clone()));
/// repository.register(&"echo".parse()?, Version(1), Arc::new(served))?;
///
/// let blend = Ensemble::builder(Signature::new([column("x")], [column("mean")])?)
///     .with_step(Step::served("left", "echo".parse()?, None).with_output("y", "a"))
///     .with_step(Step::served("right", "echo".parse()?, Some(Version(1))).with_output("y", "b"))
///     .with_step(Step::combine("blend", Combination::mean(), ["a", "b"], "mean"))
///     .build(&repository.peers())?;
/// assert_eq!(blend.predict(&record_batch!(("x", Float64, [2.0]))?)?.num_columns(), 1);
/// repository.register_ensemble(&"blend".parse()?, Version(1), Arc::new(blend))?;
/// # Ok::<(), mlops_core::Error>(())
/// ```
pub struct Ensemble {
    signature: Signature,
    graph: Graph,
    steps: Vec<Stage>,
    peers: Peers,
    threads_max: usize,
    clock: Arc<dyn Clock>,
    meter: Arc<dyn Meter>,
}

/// A step that runs.
struct Stage {
    name: String,
    work: Work,
    inputs: Signature,
    /// The version that the step names.
    held: Option<Arc<LoadedVersion>>,
    /// The version whose inputs and outputs are known to fit.
    fitting: Mutex<Weak<LoadedVersion>>,
    success: Duty,
    failure: Duty,
    rows: AtomicU64,
}

/// The parts of an [`Ensemble`].
#[must_use]
pub struct EnsembleBuilder {
    signature: Signature,
    steps: Vec<Step>,
    threads_max: usize,
    clock: Arc<dyn Clock>,
    meter: Arc<dyn Meter>,
}

impl fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<&str> = self.steps.iter().map(|step| step.name.as_str()).collect();
        f.debug_struct("Ensemble").field("signature", &self.signature).field("steps", &steps).finish_non_exhaustive()
    }
}

impl fmt::Debug for EnsembleBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnsembleBuilder").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl EnsembleBuilder {
    /// Adds a step; their order does not matter.
    pub fn with_step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Most steps that run at a time, the prediction's own thread included; 4 otherwise, and never more than 64. Steps that
    /// take no time are run one after another.
    pub fn with_threads_max(mut self, threads: usize) -> Self {
        self.threads_max = threads.clamp(1, THREADS_MAX);
        self
    }

    /// The clock; the operating system's otherwise.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where `mlops_serve_ensemble_step_seconds{step}` goes.
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// Checks every step against the models that `peers` has now.
    ///
    /// # Errors
    /// `FailedPrecondition` naming everything that does not fit, with the keys `step` and `tensor` of the first fault in its
    /// context; `Unavailable` while a model that a step asks is not in service.
    pub fn build(self, peers: &Peers) -> Result<Ensemble> {
        let mut held = Vec::with_capacity(self.steps.len());
        let mut interface = |step: &Step| -> Result<Interface> {
            let mut named = None;
            let interface = match &step.work {
                Work::Served { model, version } => {
                    let served = peers.version(model, *version, None).context(format!("step {:?}", step.name))?;
                    let interface = interface_of(&served).context(format!("step {:?}", step.name))?;
                    named = version.is_some().then_some(served);
                    interface
                }
                Work::Model(model) => {
                    let signature = model.signature();
                    Interface { inputs: signature.inputs().to_vec(), outputs: signature.outputs().to_vec() }
                }
                Work::Combine(_) => Interface::default(),
            };
            held.push(named);
            Ok(interface)
        };
        let interfaces = self.steps.iter().map(&mut interface).collect::<Result<Vec<_>>>()?;
        let graph = Graph::of(&self.signature, &self.steps, &interfaces)?;
        let steps = self.steps.into_iter().zip(held).zip(&graph.nodes);
        let steps = steps.map(|((step, held), node)| Stage::new(step, held, node));
        Ok(Ensemble {
            steps: steps.collect::<Result<_>>()?,
            signature: self.signature,
            graph,
            peers: peers.clone(),
            threads_max: self.threads_max,
            clock: self.clock,
            meter: self.meter,
        })
    }
}

/// What a loaded version takes and gives as rows.
fn interface_of(version: &LoadedVersion) -> Result<Interface> {
    match version.model.rows() {
        Some(model) => {
            let signature = model.signature();
            Ok(Interface { inputs: signature.inputs().to_vec(), outputs: signature.outputs().to_vec() })
        }
        None if version.batches() => {
            let specs = |infos: &[TensorInfo]| infos.iter().map(TensorInfo::to_spec).collect::<Result<Vec<_>>>();
            Ok(Interface { inputs: specs(&version.inputs)?, outputs: specs(&version.outputs)? })
        }
        None => Err(Error::failed_precondition("its model works on raw tensors whose first dimension is not the rows")),
    }
}

impl Stage {
    fn new(step: Step, held: Option<Arc<LoadedVersion>>, node: &Node) -> Result<Self> {
        // A signature needs an output, of which nothing is asked here; a combination may read a tensor twice.
        let reads = node.reads.iter().enumerate().map(|(index, read)| match step.work {
            Work::Combine(_) => TensorSpec { name: index.to_string(), ..read.spec.clone() },
            _ => read.spec.clone(),
        });
        let inputs = Signature::new(reads, [TensorSpec::column("output", DataType::Bool)])?;
        let (success, failure, rows) = (Duty::default(), Duty::default(), AtomicU64::new(0));
        Ok(Self { name: step.name, work: step.work, inputs, held, fitting: Mutex::default(), success, failure, rows })
    }

    /// What a prediction of so many rows takes, as those before went.
    fn expected_nanos(&self, rows: usize) -> u64 {
        let (_, nanos) = self.success.read();
        let seen = self.rows.load(Ordering::Relaxed).max(1);
        u64::try_from(u128::from(nanos) * rows as u128 / u128::from(seen)).unwrap_or(u64::MAX)
    }

    /// Whether a version that came since the ensemble was built still fits it.
    fn check(&self, version: &Arc<LoadedVersion>, node: &Node) -> Result<()> {
        let mut fitting = self.fitting.lock().unwrap_or_else(PoisonError::into_inner);
        if fitting.upgrade().is_some_and(|known| Arc::ptr_eq(&known, version)) {
            return Ok(());
        }
        let Interface { inputs, outputs } = interface_of(version)?;
        let changed = |side: &str, name: &str| {
            let text =
                format!("version {} has another {side} {name:?} than the ensemble was built for", version.version);
            Error::failed_precondition(text).with("step", &self.name).with("tensor", name)
        };
        if let Some(other) = inputs.iter().find(|input| !node.reads.iter().any(|read| read.spec == **input)) {
            return Err(changed("input", &other.name));
        }
        if let Some(read) = node.reads.iter().find(|read| !inputs.contains(&read.spec)) {
            return Err(changed("input", &read.spec.name));
        }
        if let Some(give) = node.gives.iter().find(|give| !outputs.contains(&give.spec)) {
            return Err(changed("output", &give.spec.name));
        }
        *fitting = Arc::downgrade(version);
        Ok(())
    }
}

/// A tensor of one prediction, once it is there.
type Slots = Vec<Option<ArrayRef>>;

/// The versions that one prediction asks, by step.
type Versions = Vec<Option<Arc<LoadedVersion>>>;

impl Ensemble {
    /// Collects the steps of an ensemble with this signature.
    pub fn builder(signature: Signature) -> EnsembleBuilder {
        let clock = Arc::new(SystemClock::new());
        EnsembleBuilder { signature, steps: Vec::new(), threads_max: 4, clock, meter: Arc::new(NoMeter) }
    }

    /// What each step did, in the order in which steps were added.
    #[must_use]
    pub fn statistics(&self) -> Vec<StepStatistics> {
        let of_step = |step: &Stage| {
            let ((success, nanos), (failure, failed_nanos)) = (step.success.read(), step.failure.read());
            let rows = step.rows.load(Ordering::Relaxed);
            let took = Duration::from_nanos(nanos.saturating_add(failed_nanos));
            StepStatistics { step: step.name.clone(), success, failure, rows, took }
        };
        self.steps.iter().map(of_step).collect()
    }

    /// The models of the repository that it asks.
    pub(crate) fn asks(&self) -> impl Iterator<Item = &ModelName> {
        self.steps.iter().filter_map(|step| match &step.work {
            Work::Served { model, .. } => Some(model),
            _ => None,
        })
    }

    /// The versions of this moment: two steps that ask for the same get the same, also in ensembles within each other.
    fn versions(&self, inside: &Inside) -> Result<Versions> {
        let mut versions = Vec::with_capacity(self.steps.len());
        for (step, node) in self.steps.iter().zip(&self.graph.nodes) {
            let Work::Served { model, version } = &step.work else {
                versions.push(None);
                continue;
            };
            let loaded = inside.version(&self.peers, model, *version, step.held.as_ref());
            let loaded = loaded.context(format!("step {:?}", step.name))?;
            step.check(&loaded, node).context(format!("step {:?}", step.name))?;
            versions.push(Some(loaded));
        }
        Ok(versions)
    }

    fn run(&self, inputs: &RecordBatch, inside: &Inside) -> Result<Slots> {
        let (versions, rows) = (self.versions(inside)?, inputs.num_rows());
        let mut slots: Slots = inputs.columns().iter().cloned().map(Some).collect();
        slots.resize(self.graph.slots, None);
        for level in &self.graph.levels {
            for (index, given) in self.run_level(level, &versions, &slots, inside, rows)? {
                let gives = self.graph.nodes.get(index).map_or(&[][..], |node| &node.gives);
                for (give, column) in gives.iter().zip(given) {
                    if let Some(slot) = slots.get_mut(give.slot) {
                        *slot = Some(column);
                    }
                }
            }
        }
        Ok(slots)
    }

    /// Runs steps that do not wait for each other; a thread ends at its first failure, and of several the first step's is
    /// told.
    fn run_level(
        &self,
        level: &[usize],
        versions: &Versions,
        slots: &Slots,
        inside: &Inside,
        rows: usize,
    ) -> Result<Vec<(usize, Vec<ArrayRef>)>> {
        let ambient = Ambient::current();
        let one = |index: usize| {
            ambient.as_ref().map_or(Ok(()), |ambient| ambient.check())?;
            inside.begin_step()?;
            Ok((index, self.run_step(index, versions, slots, rows)?))
        };
        let groups = self.groups(level, rows);
        if groups.len() < 2 {
            return level.iter().copied().map(one).collect();
        }
        let Some((first, others)) = groups.split_first() else { return Ok(Vec::new()) };
        let several = |group: &[usize]| {
            let mut done = Vec::with_capacity(group.len());
            for &index in group {
                done.push((index, one(index)));
                if done.last().is_some_and(|(_, given)| given.is_err()) {
                    break;
                }
            }
            done
        };
        let mut done = thread::scope(|scope| {
            let several = &several;
            let started: Vec<_> = others
                .iter()
                .map(|group| {
                    let ambient = ambient.clone();
                    let work = move || {
                        let (_inside, _here) = (inside.here(), ambient.map(Ambient::enter));
                        several(group)
                    };
                    (group, thread::Builder::new().name("mlops-ensemble".into()).spawn_scoped(scope, work))
                })
                .collect();
            let mut done = several(first);
            for (group, started) in started {
                done.extend(match started.map(thread::ScopedJoinHandle::join) {
                    Ok(Ok(given)) => given,
                    // No thread was to be had, or it died: steps catch their own panics, so this is not theirs.
                    _ => several(group),
                });
            }
            done
        });
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, given)| given).collect()
    }

    /// The steps of a level by thread, so that the longest thread is short; one group when threads would not pay.
    fn groups(&self, level: &[usize], rows: usize) -> Vec<Vec<usize>> {
        let expected = |index: &usize| self.steps.get(*index).map_or(0, |step| step.expected_nanos(rows));
        let mut by_length: Vec<(u64, usize)> = level.iter().map(|index| (expected(index), *index)).collect();
        let (total, longest) = by_length
            .iter()
            .fold((0_u64, 0), |(total, longest), (nanos, _)| (total.saturating_add(*nanos), longest.max(*nanos)));
        if level.len() < 2 || self.threads_max < 2 || total - longest < SAVING_MIN_NANOS {
            return vec![level.to_vec()];
        }
        by_length.sort_unstable_by(|left, right| right.cmp(left));
        let mut groups: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); self.threads_max.min(level.len())];
        for (nanos, index) in by_length {
            if let Some((sum, group)) = groups.iter_mut().min_by_key(|(sum, _)| *sum) {
                *sum = sum.saturating_add(nanos.max(1));
                group.push(index);
            }
        }
        groups.iter_mut().for_each(|(_, group)| group.sort_unstable());
        groups.into_iter().map(|(_, group)| group).collect()
    }

    fn run_step(&self, index: usize, versions: &Versions, slots: &Slots, rows: usize) -> Result<Vec<ArrayRef>> {
        let (Some(stage), Some(node)) = (self.steps.get(index), self.graph.nodes.get(index)) else {
            return Err(Error::internal("the ensemble has no such step"));
        };
        let version = versions.get(index).and_then(Option::as_ref);
        let begun = self.clock.monotonic();
        let outcome = guarded(|| stage.run(node, version, slots, rows));
        let took = self.clock.monotonic().saturating_sub(begun);
        match &outcome {
            Ok(_) => {
                stage.success.add(took);
                stage.rows.fetch_add(rows as u64, Ordering::Relaxed);
            }
            Err(_) => stage.failure.add(took),
        }
        if let Some(version) = version {
            let counters = &version.counters;
            counters.executed(rows, took, Close::Inline);
            counters.compute_infer.add(took);
            match &outcome {
                Ok(_) => counters.answered(rows, took, self.clock.now()),
                Err(error) => counters.failed(Failed::of(error), took),
            }
        }
        self.meter.observe("mlops_serve_ensemble_step_seconds", &[("step", &stage.name)], took.as_secs_f64());
        outcome.context(format!("step {:?}", stage.name)).map_err(|error| error.with("step", &stage.name))
    }
}

impl Stage {
    fn run(
        &self,
        node: &Node,
        version: Option<&Arc<LoadedVersion>>,
        slots: &Slots,
        rows: usize,
    ) -> Result<Vec<ArrayRef>> {
        let column = |read: &super::graph::Read| match read.slot {
            None => Ok(new_null_array(read.spec.to_field().data_type(), rows)),
            Some(slot) => slots
                .get(slot)
                .cloned()
                .flatten()
                .ok_or_else(|| Error::internal(format!("tensor {:?} is read before it is there", read.spec.name))),
        };
        let columns = node.reads.iter().map(column).collect::<Result<Vec<_>>>()?;
        if let Work::Combine(how) = &self.work {
            return Ok(vec![how.apply(&columns)?]);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let inputs = RecordBatch::try_new_with_options(self.inputs.input_schema(), columns, &options)?;
        let outputs = match (&self.work, version) {
            (Work::Model(model), _) => predict_rows(&**model, &model.signature().project_inputs(&inputs)?)?,
            (_, Some(version)) => ask(version, node, &inputs)?,
            _ => return Err(Error::internal("no version was chosen for the step")),
        };
        let given = node.gives.iter().map(|give| outputs.column_by_name(&give.spec.name).cloned());
        given.collect::<Option<_>>().ok_or_else(|| Error::internal("the model lacks an output that it described"))
    }
}

/// Asks a version of the repository, which may work on rows or on tensors.
fn ask(version: &LoadedVersion, node: &Node, inputs: &RecordBatch) -> Result<RecordBatch> {
    let rows = inputs.num_rows();
    let payload = match &version.model {
        ServedModel::Tensors(_) => {
            let specs = node.reads.iter().map(|read| read.spec.clone());
            Payload::Tensors(from_batch(&Signature::new([], specs)?, inputs, rows)?)
        }
        model => {
            let model = model.rows().ok_or_else(|| Error::internal("the model has no form"))?;
            Payload::Rows(model.signature().project_inputs(inputs)?)
        }
    };
    match version.predict(payload)? {
        Payload::Rows(outputs) => Ok(outputs),
        Payload::Tensors(tensors) => {
            let column = |tensor: &Tensor| {
                let give = node.gives.iter().find(|give| give.spec.name == tensor.name())?;
                Some(to_column(&give.spec, tensor).map(|column| (give.spec.to_field(), column)))
            };
            let columns = tensors.iter().filter_map(column).collect::<Result<Vec<_>>>()?;
            let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
            Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
        }
    }
}

impl Model for Ensemble {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        let inside = Inside::enter()?;
        let slots = self.run(&self.signature.project_inputs(inputs)?, &inside)?;
        let outputs = self.graph.outputs.iter().map(|slot| slots.get(*slot).cloned().flatten());
        let outputs: Option<Vec<ArrayRef>> = outputs.collect();
        let outputs = outputs.ok_or_else(|| Error::internal("an output of the ensemble was not computed"))?;
        let short = outputs.iter().zip(self.signature.outputs()).find(|(column, _)| column.len() != inputs.num_rows());
        if let Some((column, spec)) = short {
            let (found, wanted) = (column.len(), inputs.num_rows());
            return Err(Error::internal(format!("output {:?} has {found} rows for {wanted}", spec.name)));
        }
        Ok(RecordBatch::try_new(self.signature.output_schema(), outputs)?)
    }

    /// Of the models at hand; those of the repository count for themselves.
    fn memory_bytes(&self) -> u64 {
        let bytes = self.steps.iter().map(|step| match &step.work {
            Work::Model(model) => model.memory_bytes(),
            _ => 0,
        });
        bytes.sum()
    }
}

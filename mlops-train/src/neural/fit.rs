//! The loop: step after step, epoch after epoch.

use std::{collections::BTreeMap, sync::Arc};

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};
use mlops_core::{Error, Result};

use super::{
    averaging::{Partial, tournament},
    bundle,
    collective::{Collective, ThreadGroup},
    learner::Learner,
    loader::{Loader, Pass},
    optimizer::{Optimizer, clip},
    parameters::{Parameters, to_vec},
    precision::LossScale,
    schedule::learning_rate,
    settings::BurnSettings,
    sharing,
    state::{Best, EpochRecord, State},
};
use crate::{
    checkpoint::{self, Draft, Identity, Saved, Session},
    device,
    trainer::{FitContext, Progress},
};

const WEIGHTS_FILE: &str = "weights.safetensors";
const MOMENTS_FILE: &str = "optimizer.safetensors";
const BEST_FILE: &str = "best.safetensors";
const STATE_FILE: &str = "state.json";

/// Trains any [`Learner`] by mini-batches.
///
/// ```
/// use burn::{module::{Module, Param}, tensor::{Device, Tensor, TensorData}};
/// use mlops_core::{Digest, Result};
/// use mlops_train::{BurnSettings, BurnTrainer, FitContext, Learner, Loader, Pass};
///
/// #[derive(Module, Debug)]
/// struct Slope { weight: Param<Tensor<1>> }
///
/// #[derive(Debug)]
/// struct Line;
///
/// impl Learner for Line {
///     type Module = Slope;
///     type Batch = Vec<f32>;
///     fn init(&self, _seed: u64, device: &Device) -> Result<Slope> {
///         Ok(Slope { weight: Param::from_data(TensorData::from([0.0_f32]), device) })
///     }
///     fn loss(&self, module: &Slope, batch: &Vec<f32>, device: &Device) -> Result<Tensor<1>> {
///         let x = Tensor::<1>::from_data(TensorData::from(batch.as_slice()), device);
///         Ok((module.weight.val() * x.clone() - x.mul_scalar(3.0)).square().mean())
///     }
///     fn rows(&self, batch: &Vec<f32>) -> usize { batch.len() }
/// }
///
/// struct Rows(Vec<f32>);
///
/// impl Loader for Rows {
///     type Batch = Vec<f32>;
///     fn batches(&self, batch_rows: usize) -> usize { self.0.len().div_ceil(batch_rows) }
///     fn pass(&self, pass: &Pass) -> Result<Box<dyn Iterator<Item = Result<Vec<f32>>> + '_>> {
///         Ok(Box::new(self.0.chunks(pass.batch_rows).skip(pass.skip).map(|rows| Ok(rows.to_vec()))))
///     }
///     fn digest(&self) -> Result<Digest> { Ok(Digest::of(b"rows")) }
/// }
///
/// let rows = Rows((1..=64).map(|i| i as f32 / 64.0).collect());
/// let settings = BurnSettings { epochs: 60, batch_rows: 16, learning_rate: 0.1, ..BurnSettings::default() };
/// let trained = BurnTrainer::new(settings).fit(&Line, &rows, None, &FitContext::new(1))?;
/// let slope = trained.module.weight.val().into_data().convert::<f32>().try_into_vec::<f32>().expect("one number");
/// assert!((slope[0] - 3.0).abs() < 0.01);
/// assert_eq!(trained.history.len(), 60);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BurnTrainer {
    settings: BurnSettings,
    name: String,
    /// What else a checkpoint is of, besides the settings.
    network: serde_json::Value,
}

/// A trained module.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trained<M> {
    /// The module, without gradients, on the device it was trained on: of the best epoch where rows
    /// were held out, else of the last.
    pub module: M,
    /// The epoch that its weights are of, from one; zero when no epoch was better than none.
    pub epoch: usize,
    /// Steps in all.
    pub steps: u64,
    /// What each epoch came to.
    pub history: Vec<EpochRecord>,
}

impl BurnTrainer {
    /// A trainer with these settings.
    #[must_use]
    pub fn new(settings: BurnSettings) -> Self {
        Self { settings, name: "mlops.burn".to_owned(), network: serde_json::Value::Null }
    }

    /// Names what is trained; a checkpoint of another name is refused.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Makes the settings of the network part of what a checkpoint is of, because not all of them show in its weights.
    pub(crate) fn with_network(mut self, settings: serde_json::Value) -> Self {
        self.network = settings;
        self
    }

    /// Fits a module to the rows of `train`, judging it by those of `valid` after every epoch.
    ///
    /// With checkpoints in the context it goes on from the latest one, and ends with the bits of a
    /// fit that was never interrupted (on the CPU).
    ///
    /// # Errors
    /// `InvalidArgument` for settings out of range, no rows or a loss that does not depend on the
    /// module; `FailedPrecondition` when the loss diverges (the message names the last good
    /// checkpoint), when the device is not available, fails or does not compute in the precision, or
    /// a checkpoint is of another fit; `ResourceExhausted` when the memory of the device is used up;
    /// `DataLoss` naming the file of a checkpoint that is damaged; `Cancelled` after a checkpoint was
    /// written; those of the learner and the loader. On another device than the CPU every panic is a
    /// `FailedPrecondition`, one of the learner, the loader or an observer, too: drivers fail by panics.
    pub fn fit<L: Learner>(
        &self,
        learner: &L,
        train: &dyn Loader<Batch = L::Batch>,
        valid: Option<&dyn Loader<Batch = L::Batch>>,
        context: &FitContext,
    ) -> Result<Trained<L::Module>> {
        self.settings.validate()?;
        if train.batches(self.settings.batch_rows) == 0 {
            return Err(Error::invalid_argument("the loader has no rows to train on"));
        }
        let workers = context.workers().get();
        if workers == 1 || context.collective().is_some() {
            return self.fit_alone(learner, train, valid, context);
        }
        let mut results = std::thread::scope(|scope| {
            let threads: Vec<_> = ThreadGroup::members(workers)
                .into_iter()
                .map(|member| {
                    let context = context.clone().with_collective(Arc::new(member));
                    scope.spawn(move || self.fit_alone(learner, train, valid, &context))
                })
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err(Error::internal("a worker of the fit panicked")))
            };
            threads.into_iter().map(join).collect::<Vec<Result<Trained<L::Module>>>>()
        });
        // Members that lost another one say so; the reason is what that one says.
        let reason = results
            .iter()
            .position(|result| result.as_ref().is_err_and(|error| error.kind() != mlops_core::ErrorKind::Unavailable));
        results.swap_remove(reason.unwrap_or(0))
    }

    /// One member's part of a fit, or all of it where there is no group.
    fn fit_alone<L: Learner>(
        &self,
        learner: &L,
        train: &dyn Loader<Batch = L::Batch>,
        valid: Option<&dyn Loader<Batch = L::Batch>>,
        context: &FitContext,
    ) -> Result<Trained<L::Module>> {
        device::on(context.device(), || {
            let settings = &self.settings;
            let plain = context.device().open()?;
            settings.precision.check(&plain, context.device())?;
            let device = plain.clone().autodiff();
            let module = learner.init(context.seed(), &device)?;
            let parameters = Parameters::of(&module)?;
            let optimizer = Optimizer::new(settings.optimizer, parameters.len());
            let group = context.collective().map(|collective| &**collective);
            let world = World { learner, train, valid, settings, context, group, plain, device };
            let state = State {
                step_rows: settings.batch_rows * settings.accumulate,
                loss_scale: LossScale::new(settings.precision),
                ..State::default()
            };
            let mut run = Run { world, module, parameters, optimizer, best: None, state, session: None };
            run.put();
            run.resume(self)?;
            run.state.world_size = run.world.size();
            while !run.is_over() {
                run.epoch()?;
            }
            run.finish()
        })
    }
}

/// What a fit works with and does not change.
struct World<'a, L: Learner> {
    learner: &'a L,
    train: &'a dyn Loader<Batch = L::Batch>,
    valid: Option<&'a dyn Loader<Batch = L::Batch>>,
    settings: &'a BurnSettings,
    context: &'a FitContext,
    group: Option<&'a dyn Collective>,
    /// The device without and with gradients.
    plain: Device,
    device: Device,
}

impl<L: Learner> World<'_, L> {
    fn rank(&self) -> usize {
        self.group.map_or(0, Collective::rank)
    }

    fn size(&self) -> usize {
        self.group.map_or(1, Collective::size)
    }

    /// Waits for all members of the group.
    fn meet(&self) -> Result<()> {
        self.group.map_or(Ok(()), |group| group.all_gather(Vec::new()).map(drop))
    }
}

struct Run<'a, L: Learner> {
    world: World<'a, L>,
    module: L::Module,
    parameters: Parameters,
    optimizer: Optimizer,
    /// The weights of the best epoch.
    best: Option<Vec<f32>>,
    state: State,
    session: Option<Session>,
}

impl<L: Learner> Run<'_, L> {
    fn is_over(&self) -> bool {
        self.state.stopped || self.state.epochs_done >= self.world.settings.epochs
    }

    fn epoch(&mut self) -> Result<()> {
        let World { train, settings, context, .. } = self.world;
        let total = train.batches(settings.batch_rows);
        let epoch = Some(self.state.epochs_done as u64 + 1);
        let skip = self.state.batches_done;
        let mut batches = train.pass(&Pass { seed: context.seed(), epoch, batch_rows: settings.batch_rows, skip })?;
        while self.state.batches_done < total {
            let cancelled = context.check_cancelled();
            if self.world.group.is_none() && cancelled.is_err() {
                self.save(None)?;
                return cancelled;
            }
            let wanted = settings.accumulate.min(total - self.state.batches_done);
            let taken = batches.by_ref().take(wanted).collect::<Result<Vec<_>>>()?;
            if taken.len() < wanted {
                return Err(Error::failed_precondition(format!(
                    "the loader announced {total} batches and ended after {}",
                    self.state.batches_done + taken.len()
                )));
            }
            let stop = self.step(&taken, total, cancelled.is_err())?;
            let due = self.session.as_ref().is_some_and(|session| session.is_due(self.state.step));
            if (due || stop) && self.state.batches_done < total {
                self.save(None)?;
            }
            if stop && self.state.batches_done < total {
                return Err(Error::cancelled("training was cancelled"));
            }
        }
        self.end_epoch()
    }

    /// One update of the weights, by the mean gradient over some batches. Tells whether a member of
    /// the group was told to stop.
    fn step(&mut self, batches: &[L::Batch], batches_per_epoch: usize, told: bool) -> Result<bool> {
        let settings = self.world.settings;
        let (mut gradients, loss, rows, stop) = match (self.world.group, batches) {
            (None, [batch]) if settings.accumulate == 1 => {
                let (gradients, loss, rows) = self.gradients(batch)?;
                (gradients, loss, rows as u64, false)
            }
            (group, several) => {
                let own = sharing::run(several.len(), self.world.rank(), self.world.size());
                let parts = several.get(own).unwrap_or_default().iter().map(|batch| {
                    let (gradients, loss, rows) = self.gradients(batch)?;
                    Ok(Partial::of_mean(gradients, loss, rows))
                });
                let own = tournament(parts.collect::<Result<_>>()?);
                let (stop, sum) = match group {
                    None => (false, own),
                    Some(group) => {
                        let gathered = group.all_gather(sharing::to_bytes(told, own.as_ref()))?;
                        sharing::from_bytes(&gathered, self.parameters.len())?
                    }
                };
                let Some(sum) = sum else { return Ok(stop) };
                let (loss, rows) = (sum.loss / sum.rows.max(1) as f64, sum.rows);
                (sum.mean(), loss, rows, stop)
            }
        };
        if !loss.is_finite() {
            return Err(self.diverged("loss"));
        }
        let Some(usable) = self.state.loss_scale.settle(settings.precision, &mut gradients) else {
            return Err(self.diverged("gradient"));
        };
        let steps_per_epoch = batches_per_epoch.div_ceil(settings.accumulate) as u64;
        let rate = learning_rate(settings, self.state.step, steps_per_epoch);
        if usable {
            clip(&mut gradients, settings.clip_norm);
            self.parameters.refresh(&self.module)?;
            let optimizer = &mut self.optimizer;
            self.parameters.update(|values| optimizer.step(settings, rate, values, &gradients));
            self.put();
            self.state.updates += 1;
        }
        self.state.step += 1;
        self.state.batches_done += batches.len();
        self.state.loss_sum += loss * rows as f64;
        self.state.rows_seen += rows;
        self.state.learning_rate = rate;
        Ok(stop)
    }

    /// Mean gradient, mean loss and rows of one batch.
    fn gradients(&self, batch: &L::Batch) -> Result<(Vec<f32>, f64, usize)> {
        let loss = self.world.learner.loss(&self.module, batch, &self.world.device)?;
        if !loss.is_tracked() {
            return Err(Error::invalid_argument("the learner's loss does not depend on the parameters of its module"));
        }
        let value = number(&loss)?;
        let scaled = match self.state.loss_scale.factor {
            1.0 => loss,
            factor => loss.mul_scalar(factor),
        };
        Ok((self.parameters.gradients(&scaled, &self.module)?, value, self.world.learner.rows(batch)))
    }

    /// Brings the weights to the device.
    fn put(&mut self) {
        let World { device, settings, .. } = &self.world;
        let module = self.module.clone();
        self.module = self.parameters.write(&self.parameters.values, module, device, settings.precision.dtype());
    }

    fn diverged(&self, what: &str) -> Error {
        let good = match self.session.as_ref().and_then(Session::latest) {
            Some(path) => format!("; the last good checkpoint is {}", path.display()),
            None => String::new(),
        };
        Error::failed_precondition(format!(
            "training diverged after step {}: the {what} is not finite; lower learning_rate or set clip_norm{good}",
            self.state.step
        ))
    }

    fn end_epoch(&mut self) -> Result<()> {
        if self.parameters.values.iter().any(|value| !value.is_finite()) {
            return Err(self.diverged("vector of weights"));
        }
        let valid_loss = self.valid_loss()?;
        if valid_loss.is_some_and(|loss| !loss.is_finite()) {
            return Err(self.diverged("loss on held-out rows"));
        }
        let epoch = self.state.epochs_done + 1;
        let train_loss = self.state.loss_sum / self.state.rows_seen.max(1) as f64;
        self.state.history.push(EpochRecord { epoch, train_loss, valid_loss, learning_rate: self.state.learning_rate });
        self.judge(epoch, valid_loss)?;
        self.state = State {
            epochs_done: epoch,
            batches_done: 0,
            loss_sum: 0.0,
            rows_seen: 0,
            ..std::mem::take(&mut self.state)
        };
        self.save(valid_loss)?;
        // What an epoch left behind is given back, else it piles up on graphics processors.
        self.world.plain.memory_cleanup();
        let steps_max = self.world.settings.epochs;
        if self.world.rank() == 0 {
            self.world.context.report(&Progress { step: epoch, steps_max, train_loss, valid_loss });
        }
        Ok(())
    }

    /// Keeps the weights of the best epoch, and stops when it is long ago.
    fn judge(&mut self, epoch: usize, valid_loss: Option<f64>) -> Result<()> {
        let Some(loss) = valid_loss else { return Ok(()) };
        let patience = self.world.settings.early_stopping_epochs;
        match self.state.best {
            Some(best) if loss >= best.loss => {
                self.state.stopped = patience > 0 && epoch - best.epoch >= patience;
            }
            _ => {
                self.parameters.refresh(&self.module)?;
                self.state.best = Some(Best { epoch, loss });
                self.best = Some(self.parameters.values.clone());
            }
        }
        Ok(())
    }

    /// The mean loss of the held-out rows. Members of a group judge a run of the batches each; all add
    /// the losses of all batches in their order, which gives the bits of one member alone.
    fn valid_loss(&self) -> Result<Option<f64>> {
        let World { learner, settings, group, plain, .. } = &self.world;
        let Some(valid) = self.world.valid else { return Ok(None) };
        let module = self.module.valid();
        let batch_rows = settings.batch_rows;
        let own = sharing::run(valid.batches(batch_rows), self.world.rank(), self.world.size());
        let pass = Pass { seed: 0, epoch: None, batch_rows, skip: own.start };
        let mut losses = Vec::with_capacity(own.len());
        for batch in valid.pass(&pass)?.take(own.len()) {
            let batch = batch?;
            losses.push((number(&learner.loss(&module, &batch, plain)?)?, learner.rows(&batch) as u64));
        }
        if let Some(group) = group {
            losses = sharing::losses_from_bytes(&group.all_gather(sharing::losses_to_bytes(&losses))?)?;
        }
        let rows: u64 = losses.iter().map(|(_, rows)| rows).sum();
        let sum: f64 = losses.iter().map(|(loss, rows)| loss * *rows as f64).sum();
        Ok((rows > 0).then(|| sum / rows as f64))
    }

    /// Goes on from the latest checkpoint, if the context wants checkpoints and there is one.
    fn resume(&mut self, trainer: &BurnTrainer) -> Result<()> {
        let World { context, settings, train, valid, .. } = self.world;
        let Some(checkpoints) = context.checkpoints() else { return Ok(()) };
        let valid = valid.map(Loader::digest).transpose()?;
        let train = train.digest()?;
        let parts = [Some(train), valid];
        let data = mlops_core::Digest::of_parts(parts.iter().flatten().map(|digest| digest.as_bytes().as_slice()));
        let identity = match &trainer.network {
            serde_json::Value::Null => Identity::new(&trainer.name, data, settings, context.seed()),
            network => Identity::new(&trainer.name, data, &(settings, network), context.seed()),
        }?;
        let saved = if self.world.rank() == 0 {
            let (session, saved) = Session::open(checkpoints, identity)?;
            self.session = Some(session);
            self.world.meet()?;
            saved
        } else {
            self.world.meet()?;
            Session::peek(checkpoints, &identity)?
        };
        if let Some(saved) = &saved {
            self.restore(saved)?;
        }
        // Nobody writes, and so removes, a checkpoint before all have read theirs.
        self.world.meet()?;
        // Else it would leave no checkpoint for a third fit to begin with.
        if saved.is_some_and(|saved| saved.is_origin) && self.is_over() {
            self.save(None)?;
        }
        Ok(())
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        let fresh = std::mem::replace(&mut self.state, saved.json(STATE_FILE)?);
        if saved.is_origin {
            self.begin_after(&fresh, saved)?;
        }
        self.parameters.values = bundle::decode(saved, WEIGHTS_FILE, &self.parameters, "")?;
        self.restore_moments(saved)?;
        if self.state.best.is_some() {
            self.best = Some(bundle::decode(saved, BEST_FILE, &self.parameters, "")?);
        }
        self.put();
        Ok(())
    }

    fn restore_moments(&mut self, saved: &Saved) -> Result<()> {
        let adaptive = !self.optimizer.second.is_empty();
        if saved.is_origin && bundle::has(saved, MOMENTS_FILE, "second.")? != adaptive {
            // A mean of gradients is no sum of them; see `Checkpoints::with_origin`.
            self.state.updates = 0;
            return Ok(());
        }
        self.optimizer.steps = self.state.updates;
        self.optimizer.first = bundle::decode(saved, MOMENTS_FILE, &self.parameters, "first.")?;
        if adaptive {
            self.optimizer.second = bundle::decode(saved, MOMENTS_FILE, &self.parameters, "second.")?;
        }
        Ok(())
    }

    /// Makes the state of another fit, which may have had other batches and another precision, that of this one.
    fn begin_after(&mut self, fresh: &State, saved: &Saved) -> Result<()> {
        if self.state.batches_done > 0 {
            return Err(Error::failed_precondition(format!(
                "checkpoint {} was written in the middle of an epoch; end that fit before another begins with it",
                saved.path.display()
            )));
        }
        self.state.step_rows = fresh.step_rows;
        self.state.loss_scale = fresh.loss_scale;
        self.state.stopped = false;
        self.state.world_size = self.world.size();
        Ok(())
    }

    /// Writes a checkpoint, if the context wants any.
    fn save(&mut self, valid_loss: Option<f64>) -> Result<()> {
        if self.session.is_none() {
            return Ok(());
        }
        self.parameters.refresh(&self.module)?;
        if self.parameters.values.iter().any(|value| !value.is_finite()) {
            return Err(self.diverged("vector of weights"));
        }
        let parameters = &self.parameters;
        let mut moments = vec![("first.", self.optimizer.first.as_slice())];
        if !self.optimizer.second.is_empty() {
            moments.push(("second.", &self.optimizer.second));
        }
        let mut files = BTreeMap::from([
            (WEIGHTS_FILE.to_owned(), bundle::encode(parameters, &[("", &parameters.values)])?),
            (MOMENTS_FILE.to_owned(), bundle::encode(parameters, &moments)?),
            (STATE_FILE.to_owned(), checkpoint::to_json(STATE_FILE, &self.state)?),
        ]);
        if let Some(best) = &self.best {
            files.insert(BEST_FILE.to_owned(), bundle::encode(parameters, &[("", best)])?);
        }
        let draft = Draft { step: self.state.step, valid_loss, files };
        match &mut self.session {
            Some(session) => session.write(&draft).map(drop),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Trained<L::Module>> {
        self.parameters.refresh(&self.module)?;
        let weights = self.best.take().unwrap_or_else(|| self.parameters.values.clone());
        let module = self.parameters.write(&weights, self.module, &self.world.device, DType::F32);
        let epoch = self.state.best.map_or(self.state.epochs_done, |best| best.epoch);
        Ok(Trained { module: module.valid(), epoch, steps: self.state.step, history: self.state.history })
    }
}

/// The one number of a loss.
fn number(loss: &Tensor<1>) -> Result<f64> {
    match to_vec(loss.clone())?.as_slice() {
        [value] => Ok(f64::from(*value)),
        other => Err(Error::invalid_argument(format!("the learner's loss must be one number, found {}", other.len()))),
    }
}

//! From a request to an answer: choose the version, complete the features, predict, count, log.
//!
//! Invariant: the version is chosen once per request and held until the answer, so a swap in between changes
//! nothing for it, and the version in the answer is the one that computed it.

use std::{sync::Arc, time::Duration};

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, cast::AsArray};
use arrow_schema::{FieldRef, Schema};
use axum::http::{HeaderMap, header};
use mlops_core::{Error, ErrorKind, Model, ModelName, PredictionBatch, Result, Timestamp, Version};

use super::{ActiveRollout, Inner, Server, arm::Chosen};
#[cfg(feature = "remote")]
use crate::remote::RemoteModel;
use crate::{
    ambient::Ambient,
    executor::{Ask, BatchPolicy, Close, Payload, Predicted, Priority, guarded},
    features::common_time,
    metrics::{Failed, Refusal},
    model::ServedModel,
    observe,
    protocol::known_model,
    repository::{Entry, EntryState, LoadedVersion, predict_rows},
    rollout::{StickyCookie, Variant, bandit::CONTEXT_MAX},
    tensor::{Tensor, from_batch, to_field_column},
};

/// Copies for a shadow that were not predicted, for want of a worker or of the request's time.
const SHADOWS_SKIPPED: &str = "mlops_serve_shadow_skipped_total";

/// How one request wants to be answered; the default leaves everything to the server.
#[derive(Debug, Clone, Default)]
pub struct InferOptions {
    /// Name of the request in the prediction log; the server makes one when none is given.
    pub request_id: Option<String>,
    /// Answer with exactly this version.
    pub version: Option<Version>,
    /// Answer with this side of a rollout, whatever the key says.
    pub variant: Option<Variant>,
    /// What decides the side of a rollout; the request id when none is given.
    pub routing_key: Option<String>,
    /// What a bandit on a linear model knows of the request.
    pub context: Vec<f64>,
    /// A shorter deadline than the server's.
    pub timeout: Option<Duration>,
    /// Whether it is served before or after others that wait.
    pub priority: Priority,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct InferReply {
    /// The output columns, one row per input row.
    pub outputs: RecordBatch,
    /// The version that computed them.
    pub version: Version,
    /// Its side of the rollout.
    pub variant: Variant,
    /// The chance that it had to be that side, where a bandit decided; for off-policy estimates.
    pub propensity: Option<f64>,
    /// The id in the prediction log.
    pub request_id: Arc<str>,
}

/// An answer in tensors.
#[derive(Debug)]
pub(crate) struct TensorReply {
    pub(crate) outputs: Vec<Tensor>,
    pub(crate) version: Version,
    pub(crate) variant: Variant,
    /// The id in the prediction log, where the request had none and the server made one.
    pub(crate) made_id: Option<Arc<str>>,
    /// What keeps the client on its side of the rollout.
    pub(crate) cookie: Option<String>,
}

/// The model and version a request speaks to, before routing: what its inputs are checked against.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) entry: Arc<Entry>,
    pub(crate) state: Arc<EntryState>,
    pub(crate) described_by: Arc<LoadedVersion>,
    pinned: bool,
}

/// Leave to ask a model, given to the sender of the request that this task answers.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    model: &'a str,
}

impl Permit<'_> {
    /// The model as it is now.
    ///
    /// # Errors
    /// As [`Inner::awake`].
    pub(crate) async fn asked(&self, server: &Server, version: Option<Version>) -> Result<Asked> {
        Ok(Asked::of(server.inner.awake(self.model, version).await?))
    }

    /// The same; of a rollout the side that is wanted, when no version is.
    ///
    /// # Errors
    /// As [`Inner::awake`].
    pub(crate) async fn asked_side(
        &self,
        server: &Server,
        version: Option<Version>,
        side: Option<Variant>,
    ) -> Result<Asked> {
        Ok(Asked::of(server.inner.awake_side(self.model, version, side).await?))
    }
}

/// A model that may be asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) wanted: Wanted,
    /// What decides the side of a rollout where neither the request nor its inputs do: the key in the client's cookie, or
    /// the one that `cookie` sets.
    kept: Option<String>,
    /// What keeps the client on its side of the rollout.
    cookie: Option<String>,
}

impl Asked {
    fn of(wanted: Wanted) -> Self {
        Self { wanted, kept: None, cookie: None }
    }

    /// The options of a request with what its headers, or its metadata, say of the side of a rollout.
    ///
    /// # Errors
    /// `InvalidArgument` for a context that the rollout's bandit cannot learn from.
    pub(crate) fn complete(&mut self, options: InferOptions, headers: &HeaderMap) -> Result<InferOptions> {
        let Some(active) = &self.wanted.state.rollout else { return Ok(options) };
        let settings = &active.rollout.settings;
        self.kept = settings.sticky_cookie.as_ref().and_then(|cookie| key_in(cookie, headers));
        let value = |name: &Option<String>| headers.get(name.as_deref()?)?.to_str().ok();
        let context = match (options.context.is_empty(), value(&settings.context_by)) {
            (true, Some(text)) => context_of(text)?,
            _ => options.context,
        };
        match settings.context_wanted() {
            Some(wanted) if !context.is_empty() && context.len() != wanted => {
                let found = context.len();
                let text = format!("the context has {found} numbers; the rollout of this model takes {wanted}");
                return Err(Error::invalid_argument(text));
            }
            _ => {}
        }
        Ok(InferOptions {
            variant: options.variant.or_else(|| value(&settings.override_by).and_then(Variant::parse)),
            routing_key: options.routing_key.or_else(|| value(&settings.sticky_by).map(str::to_owned)),
            context,
            ..options
        })
    }

    /// Lets the client keep the key that its cookie holds, or a new one, for as long as nothing else decides its side.
    pub(crate) fn keep_by_cookie(&mut self, server: &Server, options: &InferOptions) {
        let active = self.wanted.state.rollout.as_ref().filter(|active| active.rollout.is_active());
        let Some(cookie) = active.and_then(|active| active.rollout.settings.sticky_cookie.as_ref()) else { return };
        if self.wanted.pinned || options.routing_key.is_some() {
            return;
        }
        let key = self.kept.get_or_insert_with(|| server.inner.next_request_id());
        self.cookie = Some(cookie.keeping(key));
    }
}

fn key_in(cookie: &StickyCookie, headers: &HeaderMap) -> Option<String> {
    let sent = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookie.key(sent).map(str::to_owned)
}

/// The numbers of a context as text has them, with commas between.
///
/// # Errors
/// `InvalidArgument` for anything else, and more than [`CONTEXT_MAX`] numbers.
pub(crate) fn context_of(text: &str) -> Result<Vec<f64>> {
    let numbers = text.split(',').take(CONTEXT_MAX + 1).map(|number| number.trim().parse().ok());
    let numbers: Option<Vec<f64>> =
        numbers.map(|number: Option<f64>| number.filter(|number| number.is_finite())).collect();
    numbers.filter(|numbers| numbers.len() <= CONTEXT_MAX).ok_or_else(|| {
        Error::invalid_argument(format!("a context is at most {CONTEXT_MAX} finite numbers with commas between"))
    })
}

/// Counts a request whose caller went away before the answer.
struct Unanswered<'a> {
    inner: &'a Inner,
    routed: &'a Routed,
    armed: bool,
}

impl Unanswered<'_> {
    fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.armed {
            let took = self.inner.clock.monotonic().saturating_sub(self.routed.started);
            let counters = &self.routed.version.counters;
            counters.failed(Failed::Cancelled, took);
            counters.ended(self.routed.variant, ErrorKind::Cancelled.http_status(), took);
        }
    }
}

/// A request that knows who answers it.
struct Routed {
    entry: Arc<Entry>,
    version: Arc<LoadedVersion>,
    variant: Variant,
    propensity: Option<f64>,
    context: Vec<f64>,
    /// Where it counts; none for a request that was not routed by chance.
    rollout: Option<Arc<ActiveRollout>>,
    /// Gets a copy of the request.
    shadow: Option<Arc<LoadedVersion>>,
    request_id: Arc<str>,
    timeout: Duration,
    priority: Priority,
    started: Duration,
}

impl Server {
    /// Predicts every row of `batch`, which has the columns that the model's metadata asks for (join keys in place of
    /// looked-up features); other columns are ignored.
    ///
    /// # Errors
    /// `NotFound` for an unknown model or version; `Unavailable` when it is not in service or the feature store is away;
    /// `InvalidArgument` when the batch does not fit; `ResourceExhausted` when the queue is full;
    /// `DeadlineExceeded`; `Internal` when the model panicked or broke its contract.
    pub async fn infer(&self, name: &ModelName, batch: RecordBatch, options: InferOptions) -> Result<InferReply> {
        let started = self.inner.clock.monotonic();
        let wanted = self.inner.awake(name.as_str(), options.version).await?;
        if matches!(wanted.described_by.model, ServedModel::Tensors(_)) {
            return Err(Error::failed_precondition(format!(
                "model \"{name}\" works on raw tensors; call it over a protocol"
            )));
        }
        let sent = project(&wanted.described_by, &batch)?;
        let key = sticky_name(&wanted).and_then(|column| key_text(sent.column_by_name(column)?));
        let routed = self.inner.route(wanted, options, key, started);
        self.inner.answer(&routed, sent.num_rows(), self.inner.answer_rows(&routed, sent)).await
    }

    /// Whether the sender of the request that this task answers may ask `model`. It is asked before anything else of
    /// a request is looked at, and whether or not there is such a model.
    ///
    /// # Errors
    /// `NotFound` for what is no name; `Unauthenticated`, and the authorizer's refusal.
    pub(crate) async fn permit<'a>(&self, model: &'a str) -> Result<Permit<'a>> {
        if let Some(access) = &self.inner.access {
            access.permit_prediction(&known_model(model)?).await.inspect_err(|error| {
                let unknown = error.kind() == ErrorKind::Unauthenticated;
                let refusal = if unknown { Refusal::Unauthenticated } else { Refusal::PermissionDenied };
                self.inner.traffic.refused(refusal);
            })?;
        }
        Ok(Permit { model })
    }

    /// Answers validated tensors; they come in any order.
    pub(crate) async fn infer_tensors(
        &self,
        Asked { wanted, kept, cookie }: Asked,
        tensors: Vec<Tensor>,
        options: InferOptions,
        started: Duration,
    ) -> Result<TensorReply> {
        let inner = &self.inner;
        let key = sticky_name(&wanted)
            .and_then(|name| key_text(tensors.iter().find(|tensor| tensor.name() == name)?.values()));
        let by_cookie = options.routing_key.is_none() && key.is_none();
        let (key, cookie) = if by_cookie { (kept, cookie) } else { (key, None) };
        let nameless = options.request_id.is_none();
        let rows = tensors.first().map_or(1, Tensor::rows);
        if rows > wanted.entry.config.rows_max {
            let limit = wanted.entry.config.rows_max;
            return Err(Error::invalid_argument(format!("the request has {rows} rows; at most {limit} are allowed")));
        }
        let sent = match wanted.described_by.model {
            ServedModel::Tensors(_) => {
                if wanted.described_by.batches() {
                    tensors.iter().try_for_each(|tensor| check_rows(tensor, rows))?;
                }
                None
            }
            _ => Some(gather(&wanted.described_by, &tensors, rows)?),
        };
        let routed = inner.route(wanted, options, key, started);
        let made_id = nameless.then(|| Arc::clone(&routed.request_id));
        match (routed.version.model.rows(), sent) {
            (Some(model), Some(sent)) => {
                let reply = inner.answer(&routed, rows, inner.answer_rows(&routed, sent)).await?;
                let begun = inner.clock.monotonic();
                let outputs = from_batch(model.signature(), &reply.outputs, rows)?;
                routed.version.counters.compute_output.add(inner.clock.monotonic().saturating_sub(begun));
                let InferReply { version, variant, .. } = reply;
                Ok(TensorReply { outputs, version, variant, made_id, cookie })
            }
            _ => {
                let outputs = inner.answer(&routed, rows, inner.answer_tensors(&routed, tensors, rows)).await?;
                let (version, variant) = (routed.version.version, routed.variant);
                Ok(TensorReply { outputs, version, variant, made_id, cookie })
            }
        }
    }
}

impl Inner {
    /// As [`Inner::wanted`], after loading a model that sleeps to save memory.
    ///
    /// # Errors
    /// As [`Inner::wanted`]; what keeps the model from loading; `DeadlineExceeded` when that takes too long.
    pub(crate) async fn awake(&self, name: &str, version: Option<Version>) -> Result<Wanted> {
        if let Some(sleeping) = self.repository.touch(name) {
            let limit = Duration::from_millis(self.settings.timeout_ms);
            let awake = tokio::time::timeout(limit, self.repository.wake_all(name, sleeping)).await;
            awake.unwrap_or_else(|_| {
                let limit = limit.as_millis();
                Err(Error::deadline_exceeded(format!("model {name:?} was not loaded within {limit} ms; ask again")))
            })?;
        }
        self.wanted(name, version)
    }

    /// Finds the version that describes the request's inputs.
    ///
    /// # Errors
    /// `NotFound` for an unknown model or version, `Unavailable` when the model is not in service.
    pub(crate) fn wanted(&self, name: &str, version: Option<Version>) -> Result<Wanted> {
        let entry = self.repository.entry(name)?;
        let state = entry.state();
        let Some(champion) = state.champion() else {
            let reason = state.reason.as_deref().unwrap_or(match (state.unloaded, state.asleep) {
                (true, _) => "it was unloaded",
                (false, true) => "it sleeps to save memory; ask it for a prediction",
                (false, false) => "it is loading",
            });
            return Err(Error::unavailable(format!("model {name:?} is not in service: {reason}")));
        };
        let described_by = match version {
            Some(version) => state
                .versions
                .get(&version)
                .cloned()
                .ok_or_else(|| Error::not_found(format!("model {name:?} has no loaded version {version}")))?,
            None => Arc::clone(champion),
        };
        Ok(Wanted { entry, state, described_by, pinned: version.is_some() })
    }

    fn route(&self, wanted: Wanted, options: InferOptions, sticky: Option<String>, started: Duration) -> Routed {
        let request_id: Arc<str> = options.request_id.unwrap_or_else(|| self.next_request_id()).into();
        let priority = options.priority;
        let rollout = wanted.state.rollout.clone().filter(|active| active.rollout.is_active() && !wanted.pinned);
        let key = options.routing_key.or(sticky);
        let forced = options.variant.filter(|variant| *variant != Variant::Pinned);
        let loaded = |version: &Version| wanted.state.versions.get(version).cloned();
        let (mut version, mut shadow) = (Arc::clone(&wanted.described_by), None);
        let mut chosen = Chosen { variant: Variant::Champion, propensity: None };
        if wanted.pinned {
            chosen.variant = Variant::Pinned;
        } else if let Some(active) = &rollout {
            let by_chance = || active.choose(key.as_deref().unwrap_or(&request_id), &request_id, &options.context);
            let choice = forced.map_or_else(by_chance, |variant| Chosen { variant, propensity: None });
            let candidates = &active.rollout.candidates;
            let place = active.rollout.arm(choice.variant).and_then(|arm| arm.checked_sub(1));
            if let Some(candidate) = place.and_then(|place| candidates.get(place)).and_then(loaded) {
                version = candidate;
                chosen = choice;
            } else if place.is_none() {
                chosen.propensity = choice.propensity;
            }
            if forced.is_none() && active.mirrors(&request_id) {
                shadow = candidates.first().and_then(loaded);
            }
        }
        // Who asks for a side is no random sample of those who get it.
        let rollout = rollout.filter(|_| forced.is_none());
        let mut timeout = Duration::from_millis(self.settings.timeout_ms);
        timeout = timeout.min(wanted.entry.config.timeout.unwrap_or(timeout)).min(options.timeout.unwrap_or(timeout));
        let Chosen { variant, propensity } = chosen;
        let context = options.context;
        Routed {
            entry: wanted.entry,
            version,
            variant,
            propensity,
            context,
            rollout,
            shadow,
            request_id,
            timeout,
            priority,
            started,
        }
    }

    /// Keeps the deadline and counts the outcome.
    async fn answer<T>(&self, routed: &Routed, rows: usize, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut unanswered = Unanswered { inner: self, routed, armed: true };
        let answered = tokio::time::timeout(routed.timeout, work).await;
        let took = self.clock.monotonic().saturating_sub(routed.started);
        let outcome = match answered {
            // An answer and the end of its time may come together, and then the timer lets the answer through.
            Ok(outcome) if took <= routed.timeout || outcome.is_err() => outcome,
            _ => Err(Error::deadline_exceeded(format!(
                "model \"{}\" did not answer within {} ms",
                routed.entry.config.name,
                routed.timeout.as_millis()
            ))),
        };
        unanswered.disarm();
        match &outcome {
            Ok(_) => routed.version.counters.answered(rows, took, self.clock.now()),
            Err(error) => routed.version.counters.failed(Failed::of(error), took),
        }
        self.note(routed, rows);
        self.measure(routed, took, outcome.as_ref().err());
        outcome
    }

    fn note(&self, routed: &Routed, rows: usize) {
        let Some(notes) = observe::current() else { return };
        notes.write(|noted| {
            noted.answered_by = Some((routed.entry.config.name.clone(), routed.version.version, routed.variant));
            noted.rows = rows;
        });
    }

    fn measure(&self, routed: &Routed, took: Duration, error: Option<&Error>) {
        let code = error.map_or(200, |error| error.kind().http_status());
        routed.version.counters.ended(routed.variant, code, took);
        if let Some(meter) = &self.measured {
            let (model, version) = (routed.entry.config.name.as_str(), routed.version.version.to_string());
            let (labels, code) = ([("model", model), ("version", version.as_str())], code.to_string());
            let [model_label, version_label] = labels;
            meter.count("mlops_serve_requests_total", &[model_label, version_label, ("code", code.as_str())], 1);
            meter.observe("mlops_serve_request_seconds", &labels, took.as_secs_f64());
            if error.is_some_and(|error| error.kind() == ErrorKind::ResourceExhausted) {
                meter.count("mlops_serve_queue_rejections_total", &[("model", model)], 1);
            }
            meter.gauge("mlops_serve_queue_depth", &[], self.executor.waiting().0 as f64);
        }
        // A full queue or a client that is wrong says nothing about the arm.
        let fault = |kind| !matches!(kind, ErrorKind::ResourceExhausted | ErrorKind::Cancelled);
        if let Some(active) = routed.rollout.as_ref().filter(|_| error.is_none_or(|error| fault(error.kind()))) {
            active.count(routed.variant, took, error.is_some());
            if error.is_none() {
                let chosen = Chosen { variant: routed.variant, propensity: routed.propensity };
                active.expect_outcome(&routed.request_id, &chosen, &routed.context);
            }
        }
    }

    async fn answer_rows(&self, routed: &Routed, sent: RecordBatch) -> Result<InferReply> {
        let Some(model) = routed.version.model.rows() else {
            return Err(Error::internal("a model on raw tensors was given rows"));
        };
        let begun = self.clock.monotonic();
        let now = self.clock.now();
        let (completed, at) = match &routed.entry.config.features {
            Some(lookup) => {
                let time = lookup.as_of.as_deref().and_then(|name| common_time(sent.column_by_name(name)?));
                (lookup.complete(&sent, model.signature(), now).await?, time)
            }
            None => (sent, None),
        };
        let inputs = model.signature().project_inputs(&completed)?;
        routed.version.counters.compute_input.add(self.clock.monotonic().saturating_sub(begun));
        let Payload::Rows(outputs) = self.compute(routed, inputs.num_rows(), Payload::Rows(inputs)).await? else {
            return Err(Error::internal("a model on rows answered raw tensors"));
        };
        self.log(routed, routed.version.version, routed.variant.as_str(), at, &completed, &outputs);
        if let Some(shadow) = &routed.shadow {
            self.mirror(routed, shadow, at, completed);
        }
        let (version, variant, propensity) = (routed.version.version, routed.variant, routed.propensity);
        Ok(InferReply { outputs, version, variant, propensity, request_id: Arc::clone(&routed.request_id) })
    }

    async fn answer_tensors(&self, routed: &Routed, mut tensors: Vec<Tensor>, rows: usize) -> Result<Vec<Tensor>> {
        let place = |tensor: &Tensor| routed.version.inputs.iter().position(|info| info.name == tensor.name());
        tensors.sort_by_key(place);
        let Payload::Tensors(outputs) = self.compute(routed, rows, Payload::Tensors(tensors)).await? else {
            return Err(Error::internal("a model on raw tensors answered rows"));
        };
        Ok(outputs)
    }

    /// Runs a prediction: inline when recent small calls of this version were cheap, else on a worker.
    async fn compute(&self, routed: &Routed, rows: usize, inputs: Payload) -> Result<Payload> {
        let (version, counters) = (&routed.version, &routed.version.counters);
        #[cfg(feature = "remote")]
        if let (ServedModel::Remote(model), Payload::Rows(batch)) = (&version.model, &inputs) {
            return Box::pin(self.compute_there(routed, model, batch)).await;
        }
        let ambient = version.model.may_ask_others().then(|| Arc::new(self.ambient(routed)));
        let _waiting = ambient.as_ref().map(Ambient::waiting);
        let _asking = ambient.as_ref().map(|ambient| Asking { version, ambient: Arc::clone(ambient) });
        let small = rows <= self.settings.inline_rows_max;
        let predicted = if small && counters.is_cheap(Duration::from_micros(self.settings.inline_below_us)) {
            let begun = self.clock.monotonic();
            let here = ambient.clone();
            let outputs = guarded(|| {
                let _here = here.map(Ambient::enter);
                version.predict(inputs)
            })?;
            let took = self.clock.monotonic().saturating_sub(begun);
            counters.executed(rows, took, Close::Inline);
            Predicted { outputs, waited: Duration::ZERO, took }
        } else {
            let config = &routed.entry.config;
            let rows_max = if version.batches() { config.batch_rows_max } else { 1 };
            let policy = BatchPolicy { rows_max, delay: config.batch_delay };
            let deadline = routed.started.saturating_add(routed.timeout);
            let (priority, ambient) = (routed.priority, ambient.clone());
            let ask = Ask { version, inputs, rows, policy, priority, deadline, ambient };
            self.executor.predict(ask).await?
        };
        counters.queue.add(predicted.waited);
        counters.compute_infer.add(predicted.took);
        if let Some(notes) = observe::current() {
            notes.write(|noted| (noted.queue, noted.compute) = (predicted.waited, predicted.took));
        }
        if small {
            counters.small_call(predicted.took);
        }
        Ok(predicted.outputs)
    }

    /// What a prediction knows of a request.
    fn ambient(&self, routed: &Routed) -> Ambient {
        let spent = self.clock.monotonic().saturating_sub(routed.started);
        let ambient = Ambient::within(routed.timeout.saturating_sub(spent));
        #[cfg(feature = "remote")]
        let ambient = {
            let trace = observe::current().and_then(|notes| notes.with(|noted| noted.trace));
            ambient.named(trace, Arc::clone(&routed.request_id))
        };
        ambient
    }

    /// Lets another server predict, without a worker: the call only waits.
    #[cfg(feature = "remote")]
    async fn compute_there(&self, routed: &Routed, model: &RemoteModel, inputs: &RecordBatch) -> Result<Payload> {
        let begun = self.clock.monotonic();
        let outcome = model.predict_within(inputs, Arc::new(self.ambient(routed))).await;
        let took = self.clock.monotonic().saturating_sub(begun);
        let counters = &routed.version.counters;
        counters.executed(inputs.num_rows(), took, Close::Inline);
        counters.compute_infer.add(took);
        if let Some(notes) = observe::current() {
            notes.write(|noted| noted.compute = took);
        }
        outcome.map(Payload::Rows)
    }

    fn log(
        &self,
        routed: &Routed,
        version: Version,
        variant: &str,
        at: Option<Timestamp>,
        inputs: &RecordBatch,
        outputs: &RecordBatch,
    ) {
        let Some(sink) = &self.predictions else { return };
        let delivery = sink.append(PredictionBatch {
            request_id: Arc::clone(&routed.request_id),
            model: routed.entry.config.name.clone(),
            version,
            variant: variant.into(),
            propensity: routed.propensity,
            at: at.unwrap_or_else(|| self.clock.now()),
            inputs: inputs.clone(),
            outputs: outputs.clone(),
        });
        if delivery == mlops_core::Delivery::Dropped {
            let model = routed.entry.config.name.as_str();
            self.meter.count("mlops_serve_predictions_dropped_total", &[("model", model)], 1);
        }
    }

    /// Lets the candidate predict a copy on a worker, if one has room and the request has time left; nobody waits for it.
    fn mirror(&self, routed: &Routed, shadow: &Arc<LoadedVersion>, at: Option<Timestamp>, completed: RecordBatch) {
        let (Some(model), Some(active)) = (shadow.model.to_rows(), &routed.rollout) else { return };
        let (active, clock) = (Arc::clone(active), Arc::clone(&self.clock));
        let sink = self.predictions.clone();
        let (request_id, name) = (Arc::clone(&routed.request_id), routed.entry.config.name.clone());
        let version = shadow.version;
        let (ambient, meter) = (Arc::new(self.ambient(routed)), Arc::clone(&self.meter));
        let work = move || {
            // Without time it has no chance: that says nothing about the candidate.
            let skipped = || meter.count(SHADOWS_SKIPPED, &[("model", name.as_str())], 1);
            if ambient.check().is_err() {
                return skipped();
            }
            let _here = Arc::clone(&ambient).enter();
            let begun = clock.monotonic();
            let outcome = guarded(|| predict_rows(&*model, &model.signature().project_inputs(&completed)?));
            if outcome.is_err() && ambient.check().is_err() {
                return skipped();
            }
            active.count(Variant::Canary, clock.monotonic().saturating_sub(begun), outcome.is_err());
            if let (Some(sink), Ok(outputs)) = (sink, outcome) {
                let at = at.unwrap_or_else(|| clock.now());
                let batch = PredictionBatch {
                    request_id,
                    model: name,
                    version,
                    variant: "shadow".into(),
                    propensity: None,
                    at,
                    inputs: completed,
                    outputs,
                };
                // A shed copy is counted by the sink.
                let _ = sink.append(batch);
            }
        };
        if self.executor.offer_detached(work).is_err() {
            self.meter.count(SHADOWS_SKIPPED, &[("model", routed.entry.config.name.as_str())], 1);
        }
    }
}

/// Notes of a version that it asked another server, however the prediction ends: also when its time is over, or its caller
/// goes.
struct Asking<'a> {
    version: &'a LoadedVersion,
    ambient: Arc<Ambient>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.ambient.asked_elsewhere() {
            self.version.counters.asks_elsewhere();
        }
    }
}

fn sticky_name(wanted: &Wanted) -> Option<&str> {
    wanted.state.rollout.as_ref()?.rollout.settings.sticky_by.as_deref()
}

/// The first value as text.
fn key_text(values: &dyn Array) -> Option<String> {
    if values.is_empty() || values.is_null(0) {
        return None;
    }
    match values.as_binary_opt::<i32>() {
        Some(bytes) => Some(String::from_utf8_lossy(bytes.value(0)).into_owned()),
        None => arrow_cast::display::array_value_to_string(values, 0).ok(),
    }
}

/// The columns that the client must send, in order.
pub(super) fn project(version: &LoadedVersion, batch: &RecordBatch) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(version.input_specs.len());
    for (spec, field) in version.input_specs.iter().zip(version.input_schema.fields()) {
        let Some(column) = batch.column_by_name(&spec.name) else {
            if version.optional_input.as_deref() == Some(&spec.name) {
                continue;
            }
            return Err(Error::invalid_argument(format!("input column {:?} is missing", spec.name)));
        };
        if column.data_type() != field.data_type() {
            let (want, found) = (field.data_type(), column.data_type());
            return Err(Error::invalid_argument(format!("input column {:?} must be {want}, found {found}", spec.name)));
        }
        if !spec.nullable && column.null_count() > 0 {
            return Err(Error::invalid_argument(format!("input column {:?} must have no nulls", spec.name)));
        }
        columns.push((field, Arc::clone(column)));
    }
    sent(version, columns, batch.num_rows())
}

/// Validated tensors as the columns that the client must send, in order.
pub(super) fn gather(version: &LoadedVersion, tensors: &[Tensor], rows: usize) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(tensors.len());
    for (spec, field) in version.input_specs.iter().zip(version.input_schema.fields()) {
        let Some(tensor) = tensors.iter().find(|tensor| tensor.name() == spec.name) else { continue };
        check_rows(tensor, rows)?;
        columns.push((field, to_field_column(spec, field, tensor)?));
    }
    sent(version, columns, rows)
}

/// A batch of what was sent; it shares its schema with all others where nothing was left out.
fn sent(version: &LoadedVersion, columns: Vec<(&FieldRef, ArrayRef)>, rows: usize) -> Result<RecordBatch> {
    let schema = if columns.len() == version.input_specs.len() {
        Arc::clone(&version.input_schema)
    } else {
        Arc::new(Schema::new(columns.iter().map(|(field, _)| Arc::clone(field)).collect::<Vec<_>>()))
    };
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

fn check_rows(tensor: &Tensor, rows: usize) -> Result<()> {
    if tensor.rows() == rows {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "input {:?} has {} rows, another input has {rows}; all inputs need the same",
        tensor.name(),
        tensor.rows()
    )))
}

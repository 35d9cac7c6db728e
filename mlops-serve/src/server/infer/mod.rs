//! From a request to an answer: choose the version, complete the features, predict, count, log.
//!
//! Invariant: the version is chosen once per request and held until the answer, so a swap in between changes
//! nothing for it, and the version in the answer is the one that computed it.

mod answer;
mod asked;
mod compute;
mod record;
mod route;
mod sent;

use std::{pin::pin, sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use mlops_core::{Error, ModelName, Result, Version};

pub(super) use asked::Asked;
pub(crate) use asked::{Wanted, context_of};
use route::{Routed, key_text, sticky_name};
use sent::check_rows;
pub(super) use sent::{gather, project};

use super::Server;
use crate::{
    executor::{Payload, Priority},
    model::ServedModel,
    rollout::Variant,
    tensor::{Tensor, from_batch},
};

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

/// A request in tensors that only has to be answered.
pub(crate) struct Prepared {
    routed: Routed,
    sent: Payload,
    rows: usize,
    made_id: Option<Arc<str>>,
    cookie: Option<String>,
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

    /// Chooses who answers validated tensors, which come in any order, and brings them into the form that it takes.
    ///
    /// # Errors
    /// `InvalidArgument` for more rows than the model's settings allow, and for inputs of different numbers of rows.
    pub(crate) fn prepare(
        &self,
        Asked { wanted, kept, cookie }: Asked,
        tensors: Vec<Tensor>,
        options: InferOptions,
        started: Duration,
    ) -> Result<Prepared> {
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
                Payload::Tensors(tensors)
            }
            _ => Payload::Rows(gather(&wanted.described_by, &tensors, rows)?),
        };
        let routed = self.inner.route(wanted, options, key, started);
        let made_id = nameless.then(|| Arc::clone(&routed.request_id));
        Ok(Prepared { routed, sent, rows, made_id, cookie })
    }

    /// Answers what was prepared.
    ///
    /// # Errors
    /// As [`Server::infer`].
    #[allow(clippy::manual_async_fn, reason = "the arguments of an async function take room in its future twice")]
    pub(crate) fn answer(&self, prepared: Prepared) -> impl Future<Output = Result<TensorReply>> + Send {
        async move {
            let (inner, routed, rows) = (&self.inner, &prepared.routed, prepared.rows);
            let outputs = match prepared.sent {
                Payload::Rows(sent) => {
                    let work = pin!(inner.answer_rows(routed, sent));
                    let reply = inner.answer(routed, rows, work).await?;
                    let begun = inner.clock.monotonic();
                    let outputs = from_batch(routed.model()?.signature(), &reply.outputs, rows)?;
                    routed.version.counters.compute_output.add(inner.clock.monotonic().saturating_sub(begun));
                    outputs
                }
                Payload::Tensors(tensors) => {
                    let work = pin!(inner.answer_tensors(routed, tensors, rows));
                    inner.answer(routed, rows, work).await?
                }
            };
            let (version, variant) = (routed.version.version, routed.variant);
            Ok(TensorReply { outputs, version, variant, made_id: prepared.made_id, cookie: prepared.cookie })
        }
    }
}

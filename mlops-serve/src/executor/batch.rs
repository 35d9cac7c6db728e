//! Dynamic batching: calls of one version that waited together share one prediction.
//!
//! Pull model: a batch is what waits when a worker becomes idle. Invariant: every call
//! gets exactly the answer it would have got alone. When a shared prediction fails, its halves are tried apart until
//! the call at fault is alone with its error, and no answer that is known waits for another prediction.

use std::{sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use arrow_select::concat::{concat, concat_batches};
use mlops_core::{Clock, Error, Result};
use tokio::sync::oneshot;

use super::{guarded, lane::BatchPolicy, pace::Pace, priority::Priority};
use crate::{
    ambient::Ambient,
    repository::{LoadedVersion, Rejection},
    tensor::Tensor,
};

/// What goes into a prediction, and what comes out.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// For models on record batches.
    Rows(RecordBatch),
    /// For models on raw tensors.
    Tensors(Vec<Tensor>),
}

/// An answer with where the time went.
#[derive(Debug)]
pub(crate) struct Predicted {
    pub(crate) outputs: Payload,
    /// In the queue.
    pub(crate) waited: Duration,
    /// In the model, for the whole batch.
    pub(crate) took: Duration,
}

/// A prediction that waits for a worker.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) inputs: Payload,
    pub(super) rows: usize,
    pub(super) priority: Priority,
    pub(super) queued_at: Duration,
    /// When its time in the queue is over.
    pub(super) patience_ends: Duration,
    /// When its caller gives up.
    pub(super) deadline: Duration,
    /// What it will take, as recent predictions of the version went.
    pub(super) pace: Pace,
    pub(super) ambient: Option<Arc<Ambient>>,
    pub(super) reply: oneshot::Sender<Result<Predicted>>,
}

/// What may become of a waiting call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It can be answered.
    Live,
    /// Nobody waits for the answer.
    Cancelled,
    /// Its caller has given up.
    PastDeadline,
    /// Its caller gives up while it would run.
    TooLate,
    /// It waited longer than the server lets anything wait.
    Overdue,
}

impl Call {
    pub(super) fn outlook(&self, now: Duration) -> Outlook {
        if self.reply.is_closed() {
            Outlook::Cancelled
        } else if now >= self.deadline {
            Outlook::PastDeadline
        } else if now > self.patience_ends {
            Outlook::Overdue
        } else {
            Outlook::Live
        }
    }

    /// Answers a call that is not run because of its `outlook`, and counts why.
    pub(super) fn refuse_dead(self, outlook: Outlook, version: &LoadedVersion, now: Duration) {
        let waited = now.saturating_sub(self.queued_at);
        let (reason, error) = match outlook {
            Outlook::Cancelled | Outlook::Live => (Rejection::Cancelled, None),
            Outlook::PastDeadline => (Rejection::Deadline, Some(past_deadline(waited))),
            Outlook::TooLate => (Rejection::Shed, Some(too_late(waited))),
            Outlook::Overdue => (Rejection::QueueTimeout, Some(overdue(waited))),
        };
        version.counters.rejected(reason);
        if let Some(error) = error {
            // The caller may have gone meanwhile; nobody wants the answer then.
            let _ = self.reply.send(Err(error));
        }
    }
}

/// A call that was taken out of the queue without being run.
#[derive(Debug)]
#[must_use = "its caller waits for an answer"]
pub(super) struct Removed {
    pub(super) version: Arc<LoadedVersion>,
    pub(super) call: Call,
}

impl Removed {
    /// Answers a call that made way for another, and counts why.
    pub(super) fn evict(self, now: Duration) {
        let error = Error::resource_exhausted("more urgent requests filled the queue; retry later");
        self.refuse(now, Rejection::Evicted, error);
    }

    /// Answers it with `error`, or with what became of it in the queue, and counts why.
    pub(super) fn refuse(self, now: Duration, reason: Rejection, error: Error) {
        let outlook = self.call.outlook(now);
        if outlook != Outlook::Live {
            return self.call.refuse_dead(outlook, &self.version, now);
        }
        self.version.counters.rejected(reason);
        // The caller may have gone meanwhile; nobody wants the answer then.
        let _ = self.call.reply.send(Err(error));
    }
}

/// Why a batch took no more calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Close {
    /// One more would have been too many rows.
    Full,
    /// A worker was idle and nobody else waited.
    Idle,
    /// Company was waited for as long as the model's settings allow.
    Delay,
    /// The others that waited for the version have other dimensions.
    Shape,
    /// It was cheap enough to run at once, without queue.
    Inline,
}

impl Close {
    pub(crate) const ALL: [Self; 5] = [Self::Full, Self::Idle, Self::Delay, Self::Shape, Self::Inline];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Idle => "idle",
            Self::Delay => "delay",
            Self::Shape => "shape",
            Self::Inline => "inline",
        }
    }
}

/// Calls that share a prediction.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) version: Arc<LoadedVersion>,
    pub(super) policy: BatchPolicy,
    pub(super) calls: Vec<Call>,
    /// Calls that are refused unrun.
    pub(super) dead: Vec<(Call, Outlook)>,
    pub(super) closed_by: Close,
    /// When it is expected to be predicted.
    pub(super) ends: Duration,
}

/// An answer that has not left.
type Answer = (oneshot::Sender<Result<Predicted>>, Result<Predicted>);

impl Batch {
    /// Answers every call, each before another prediction begins. The version is let go before the answers of the last
    /// prediction leave: who got one of those finds the model idle, unless others still wait.
    pub(super) fn run(self, clock: &dyn Clock) {
        let Self { version, calls, dead, closed_by, .. } = self;
        let begun = clock.monotonic();
        for (call, outlook) in dead {
            call.refuse_dead(outlook, &version, begun);
        }
        let mut answers = Vec::with_capacity(calls.len());
        Turn { version: &version, begun, closed_by, clock }.predict(calls, &mut answers);
        drop(version);
        leave(answers);
    }
}

fn leave(answers: impl IntoIterator<Item = Answer>) {
    for (reply, answer) in answers {
        // The caller may have gone meanwhile.
        let _ = reply.send(answer);
    }
}

/// One turn of a worker.
#[derive(Clone, Copy)]
struct Turn<'a> {
    version: &'a LoadedVersion,
    begun: Duration,
    closed_by: Close,
    clock: &'a dyn Clock,
}

impl Turn<'_> {
    /// Leaves the answers of the last prediction in `answers`.
    fn predict(self, calls: Vec<Call>, answers: &mut Vec<Answer>) {
        let Some(first) = calls.first() else { return };
        let rows = calls.iter().map(|call| call.rows).sum();
        let started = self.clock.monotonic();
        let ambient = calls.iter().map(|call| call.ambient.clone()).collect::<Option<Vec<_>>>().map(Ambient::shared);
        let outcome = guarded(|| {
            let _here = ambient.map(Ambient::enter);
            let inputs = if calls.len() == 1 { first.inputs.clone() } else { merge(&calls)? };
            let outputs = self.version.predict(inputs)?;
            if calls.len() == 1 { Ok(vec![outputs]) } else { split(&outputs, &calls) }
        });
        let took = self.clock.monotonic().saturating_sub(started);
        self.version.counters.executed(rows, took, self.closed_by);
        match outcome {
            Ok(parts) => answers.extend(calls.into_iter().zip(parts).map(|(call, outputs)| {
                let waited = self.begun.saturating_sub(call.queued_at);
                (call.reply, Ok(Predicted { outputs, waited, took }))
            })),
            Err(error) => self.predict_apart(calls, error, answers),
        }
    }

    /// Finds the call at fault by halves: `2 log2(n)` more predictions for one bad call among `n`.
    fn predict_apart(self, mut calls: Vec<Call>, error: Error, answers: &mut Vec<Answer>) {
        if calls.len() > 1 {
            let now = self.clock.monotonic();
            for call in calls.extract_if(.., |call| call.outlook(now) != Outlook::Live) {
                let outlook = call.outlook(now);
                call.refuse_dead(outlook, self.version, now);
            }
            let back = calls.split_off(calls.len() / 2);
            self.predict(calls, answers);
            leave(answers.drain(..));
            self.predict(back, answers);
        } else if let Some(call) = calls.pop() {
            answers.push((call.reply, Err(error)));
        }
    }
}

pub(super) fn overdue(waited: Duration) -> Error {
    Error::unavailable(format!("waited {} ms for a worker; the server is overloaded", waited.as_millis()))
}

fn past_deadline(waited: Duration) -> Error {
    Error::deadline_exceeded(format!(
        "the deadline passed after {} ms in the queue; the request was not run",
        waited.as_millis()
    ))
}

fn too_late(waited: Duration) -> Error {
    Error::deadline_exceeded(format!(
        "after {} ms in the queue the answer would come after the deadline; the request was not run",
        waited.as_millis()
    ))
}

fn mixed() -> Error {
    Error::internal("a batch mixes rows and tensors")
}

fn merge(calls: &[Call]) -> Result<Payload> {
    match calls.first().map(|call| &call.inputs) {
        Some(Payload::Rows(first)) => {
            let batches = calls.iter().map(|call| match &call.inputs {
                Payload::Rows(batch) => Ok(batch),
                Payload::Tensors(_) => Err(mixed()),
            });
            let batches = batches.collect::<Result<Vec<_>>>()?;
            Ok(Payload::Rows(concat_batches(&first.schema(), batches)?))
        }
        Some(Payload::Tensors(first)) => {
            let merged = (0..first.len()).map(|index| merge_tensor(calls, index)).collect::<Result<Vec<_>>>()?;
            Ok(Payload::Tensors(merged))
        }
        None => Err(Error::internal("a batch is empty")),
    }
}

fn merge_tensor(calls: &[Call], index: usize) -> Result<Tensor> {
    let parts = calls.iter().map(|call| match &call.inputs {
        Payload::Tensors(tensors) => tensors.get(index).ok_or_else(mixed),
        Payload::Rows(_) => Err(mixed()),
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let first = parts.first().ok_or_else(mixed)?;
    let values: Vec<&dyn arrow_array::Array> = parts.iter().map(|part| part.values().as_ref()).collect();
    let rows = parts.iter().map(|part| part.rows()).sum();
    let shape: Vec<usize> = std::iter::once(rows).chain(first.shape().iter().skip(1).copied()).collect();
    Tensor::new(first.name(), first.data_type(), shape, concat(&values)?)
}

/// The rows of each call, without copying.
fn split(outputs: &Payload, calls: &[Call]) -> Result<Vec<Payload>> {
    let mut from = 0;
    calls
        .iter()
        .map(|call| {
            let offset = from;
            from += call.rows;
            match outputs {
                Payload::Rows(batch) => Ok(Payload::Rows(batch.slice(offset, call.rows))),
                Payload::Tensors(tensors) => {
                    let parts = tensors.iter().map(|tensor| tensor.slice_rows(offset, call.rows));
                    Ok(Payload::Tensors(parts.collect::<Result<Vec<_>>>()?))
                }
            }
        })
        .collect()
}

//! One step of a DAG: its code, its retries, and what it is told when it runs.
//!
//! Invariant: a task may run more than once (a retry, a crash, a taken-over run), and every time
//! it sees the same inputs and the same [`TaskContext::idempotency_key`]. A body that makes its
//! effect conditional on that key has its effect exactly once.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{Digest, Error, ErrorKind, Result, Retry};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// The code of a task.
#[async_trait]
pub trait TaskBody: Send + Sync + 'static {
    /// Does the work and returns what dependent tasks may read; small values, not data. The future
    /// is dropped when the task's time is up or the run is cancelled and does not end by itself.
    ///
    /// # Errors
    /// Whatever went wrong; its kind decides whether it is tried again ([`RetryPolicy`]).
    async fn run(&self, context: &TaskContext) -> Result<Value>;
}

/// A named task with its dependencies.
///
/// ```
/// use std::time::Duration;
/// use mlops_pipeline::{RetryPolicy, Task, TaskContext};
/// use serde_json::json;
///
/// let task = Task::new("upload", |context: TaskContext| async move {
///     Ok(json!({ "key": context.idempotency_key() }))
/// })
/// .after(["fit", "evaluate"])
/// .with_retry(RetryPolicy { attempts_max: 5, ..RetryPolicy::default() })
/// .with_timeout(Duration::from_secs(60));
/// assert_eq!(task.dependencies(), ["fit", "evaluate"]);
/// ```
#[derive(Clone)]
pub struct Task {
    name: Arc<str>,
    dependencies: Vec<String>,
    retry: RetryPolicy,
    timeout: Option<Duration>,
    body: Arc<dyn TaskBody>,
}

impl Task {
    /// A task from an async closure.
    pub fn new<F, Fut>(name: impl AsRef<str>, body: F) -> Self
    where
        F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value>> + Send + 'static,
    {
        Self::from_body(name, Arc::new(FutureFn(body)))
    }

    /// A task from a closure that computes or blocks; it runs on the blocking pool and never holds
    /// up the runtime. Such a closure cannot be interrupted: it should look at
    /// [`TaskContext::cancellation`] from time to time.
    pub fn blocking<F>(name: impl AsRef<str>, body: F) -> Self
    where
        F: Fn(&TaskContext) -> Result<Value> + Send + Sync + 'static,
    {
        Self::from_body(name, Arc::new(BlockingFn(Arc::new(body))))
    }

    /// A task from an implementation of [`TaskBody`].
    pub fn from_body(name: impl AsRef<str>, body: Arc<dyn TaskBody>) -> Self {
        Self {
            name: name.as_ref().into(),
            dependencies: Vec::new(),
            retry: RetryPolicy::default(),
            timeout: None,
            body,
        }
    }

    /// Adds tasks that must succeed first; their outputs are in the context.
    #[must_use]
    pub fn after(mut self, dependencies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.dependencies.extend(dependencies.into_iter().map(Into::into));
        self
    }

    /// Tries again after failures. Default: one attempt.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Limits one attempt. Default: no limit.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The name, unique within its DAG.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tasks that must succeed first.
    #[must_use]
    pub fn dependencies(&self) -> &[String] {
        &self.dependencies
    }

    /// When it is tried again.
    #[must_use]
    pub fn retry(&self) -> &RetryPolicy {
        &self.retry
    }

    /// The limit of one attempt.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(crate) fn body(&self) -> Arc<dyn TaskBody> {
        Arc::clone(&self.body)
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.name)
            .field("dependencies", &self.dependencies)
            .field("retry", &self.retry)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

struct FutureFn<F>(F);

#[async_trait]
impl<F, Fut> TaskBody for FutureFn<F>
where
    F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value>> + Send + 'static,
{
    async fn run(&self, context: &TaskContext) -> Result<Value> {
        (self.0)(context.clone()).await
    }
}

struct BlockingFn<F>(Arc<F>);

#[async_trait]
impl<F> TaskBody for BlockingFn<F>
where
    F: Fn(&TaskContext) -> Result<Value> + Send + Sync + 'static,
{
    async fn run(&self, context: &TaskContext) -> Result<Value> {
        let (body, context) = (Arc::clone(&self.0), context.clone());
        match tokio::task::spawn_blocking(move || body(&context)).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(Error::cancelled(format!("blocking task did not run: {error}"))),
            },
        }
    }
}

/// When and how often a failed attempt is repeated.
///
/// The wait before attempt `n + 1` after `n` failures is drawn uniformly from the upper half of
/// `d = min(delay_ms_max, delay_ms * 2^(n - 1))`, that is from `[d / 2, d]`. The draw is a hash of
/// the idempotency key and `n`: it spreads the tasks of a fleet and is the same in every replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// Attempts in all, from 1. Attempts that the death of the process cut short do not count.
    /// Default 1.
    pub attempts_max: u32,
    /// Wait after the first failure in milliseconds. Default 1,000.
    pub delay_ms: u64,
    /// Longest wait in milliseconds. Default 60,000.
    pub delay_ms_max: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts_max: 1, delay_ms: 1_000, delay_ms_max: 60_000 }
    }
}

impl RetryPolicy {
    /// The wait before the next attempt, or none when `error` is final: after the last attempt, or
    /// for a kind that stays wrong however often it is tried. Tried again are the kinds whose
    /// [`Error::retry`] says so, and `Internal`, which is what a panic is.
    #[must_use]
    pub fn delay(&self, idempotency_key: &str, failures: u32, error: &Error) -> Option<Duration> {
        let transient = error.retry() != Retry::Never || error.kind() == ErrorKind::Internal;
        if !transient || failures >= self.attempts_max {
            return None;
        }
        let factor = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
        let ceiling = self.delay_ms.saturating_mul(factor).min(self.delay_ms_max);
        let digest = Digest::of_parts([idempotency_key.as_bytes(), &failures.to_le_bytes()]);
        let draw = digest.as_bytes().iter().take(8).fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        Some(Duration::from_millis(ceiling - draw % (ceiling / 2 + 1)))
    }
}

/// What a running task knows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TaskContext {
    pub(crate) shared: Arc<Shared>,
    pub(crate) cancellation: CancellationToken,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dag: Arc<str>,
    pub(crate) run_key: Arc<str>,
    pub(crate) task: Arc<str>,
    pub(crate) attempt: u32,
    pub(crate) params: Arc<Value>,
    pub(crate) inputs: BTreeMap<String, Value>,
}

impl TaskContext {
    /// The DAG.
    #[must_use]
    pub fn dag(&self) -> &str {
        &self.shared.dag
    }

    /// The key of the run.
    #[must_use]
    pub fn run_key(&self) -> &str {
        &self.shared.run_key
    }

    /// This task's name.
    #[must_use]
    pub fn task(&self) -> &str {
        &self.shared.task
    }

    /// Which start of the task this is, from 1, over all processes that worked on the run.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.shared.attempt
    }

    /// The parameters of the run.
    #[must_use]
    pub fn params(&self) -> &Value {
        &self.shared.params
    }

    /// `<run>/<task>`: the same in every attempt and after every restart.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}", self.shared.run_key, self.shared.task)
    }

    /// The outputs of the tasks this one depends on, by name.
    #[must_use]
    pub fn outputs(&self) -> &BTreeMap<String, Value> {
        &self.shared.inputs
    }

    /// The output of one task this one depends on.
    ///
    /// # Errors
    /// `NotFound` when `task` is not a direct dependency.
    pub fn output(&self, task: &str) -> Result<&Value> {
        self.shared.inputs.get(task).ok_or_else(|| {
            Error::not_found(format!(
                "task {:?} has no input from {task:?}; declare the dependency with after([{task:?}])",
                self.task()
            ))
        })
    }

    /// The output of a dependency, read as `T`.
    ///
    /// # Errors
    /// As [`TaskContext::output`]; `InvalidArgument` when it has another form.
    pub fn output_as<T: DeserializeOwned>(&self, task: &str) -> Result<T> {
        T::deserialize(self.output(task)?).map_err(|error| {
            Error::invalid_argument(format!("output of task {task:?} is not what {:?} expects: {error}", self.task()))
        })
    }

    /// Told when the run is cancelled or this attempt's time is up.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay_ms(policy: RetryPolicy, failures: u32) -> u64 {
        let error = Error::unavailable("down");
        u64::try_from(policy.delay("run/task", failures, &error).unwrap().as_millis()).unwrap()
    }

    #[test]
    fn delays_double_up_to_the_ceiling_and_repeat_exactly() {
        let policy = RetryPolicy { attempts_max: 100, delay_ms: 100, delay_ms_max: 1_000 };
        for (failures, ceiling) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1_000), (90, 1_000)] {
            let delay = delay_ms(policy, failures);
            assert!((ceiling / 2..=ceiling).contains(&delay), "{failures}: {delay}");
            assert_eq!(delay, delay_ms(policy, failures));
        }
    }

    #[test]
    fn final_errors_and_the_last_attempt_are_not_repeated() {
        let policy = RetryPolicy { attempts_max: 2, ..RetryPolicy::default() };
        assert!(policy.delay("k", 1, &Error::internal("panic")).is_some());
        assert!(policy.delay("k", 2, &Error::internal("panic")).is_none());
        assert!(policy.delay("k", 1, &Error::invalid_argument("typo")).is_none());
        assert!(RetryPolicy::default().delay("k", 1, &Error::unavailable("down")).is_none());
    }
}

//! One run under way: which tasks are ready, running, waiting.
//!
//! Invariant: `records` equals what the journal has. A task moves on only after the journal has
//! taken its new state; when the journal refuses because the lease is lost, the tasks under way
//! are dropped and nothing more is written.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use mlops_core::{Error, ErrorKind, Result};
use serde_json::Value;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{RunReport, Runner};
use crate::{
    dag::Dag,
    journal::{Lease, RunRecord, RunState, TaskRecord, TaskState, lease_owner},
    task::{Shared, Task, TaskContext},
};

type Joined = Result<(Id, Result<Value>), JoinError>;

pub(super) struct Execution<'a> {
    runner: &'a Runner,
    dag: &'a Dag,
    run: RunRecord,
    params: Arc<Value>,
    records: Vec<TaskRecord>,
    lease: Lease,
    /// Tasks that may begin now.
    ready: BTreeSet<usize>,
    /// Attempts under way.
    attempts: JoinSet<Result<Value>>,
    /// Which task an attempt belongs to.
    attempt_of: HashMap<Id, usize>,
    /// Tasks that wait for their next attempt; each ends with its task's position.
    waits: JoinSet<usize>,
    /// Told to every attempt.
    stop: CancellationToken,
}

impl<'a> Execution<'a> {
    pub(super) fn new(
        runner: &'a Runner,
        dag: &'a Dag,
        run: RunRecord,
        records: Vec<TaskRecord>,
        lease: Lease,
    ) -> Result<Self> {
        let same = records.iter().map(|record| record.task.as_str()).eq(dag.tasks().iter().map(Task::name));
        if !same {
            return Err(Error::data_loss(format!("the journal's tasks of run {:?} are not those of its DAG", run.key)));
        }
        Ok(Self {
            params: Arc::new(run.params.clone()),
            runner,
            dag,
            run,
            records,
            lease,
            ready: BTreeSet::new(),
            attempts: JoinSet::new(),
            attempt_of: HashMap::new(),
            waits: JoinSet::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Drives the run until it has ended, is cancelled, or can no longer be written.
    pub(super) async fn finish(mut self, cancellation: &CancellationToken) -> Result<RunReport> {
        let stop = self.stop.clone().drop_guard();
        self.pick_up().await?;
        let mut heartbeat = interval(self.runner.settings.lease_ttl() / 3);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        while !self.is_done() {
            if cancellation.is_cancelled() {
                return self.cancel().await;
            }
            self.begin_ready().await?;
            tokio::select! {
                biased;
                () = cancellation.cancelled() => return self.cancel().await,
                _ = heartbeat.tick() => self.renew().await?,
                Some(joined) = self.attempts.join_next_with_id() => self.take(joined).await?,
                Some(Ok(index)) = self.waits.join_next() => { self.ready.insert(index); }
            }
        }
        drop(stop);
        let state = self.end_state();
        self.close(state).await
    }

    fn is_done(&self) -> bool {
        self.records.iter().all(|record| record.state.is_final())
    }

    /// Finds where the run stands: fresh tasks, interrupted ones, ones that wait for a retry.
    async fn pick_up(&mut self) -> Result<()> {
        let interruptions_max = self.runner.settings.interruptions_max;
        for index in 0..self.records.len() {
            let Some(record) = self.records.get(index).cloned() else { continue };
            match record.state {
                TaskState::Pending if record.interruptions > interruptions_max => {
                    let count = record.interruptions;
                    let error = format!("the process ended {count} times during this task; it is not tried again");
                    self.fail(index, record, error).await?;
                }
                TaskState::Pending if self.inputs_done(index) => {
                    self.ready.insert(index);
                }
                TaskState::RetryWait => {
                    let now = self.runner.clock.now();
                    let left = record.not_before.map_or(Duration::ZERO, |at| at.duration_since(now));
                    self.wait(index, left);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn inputs_done(&self, index: usize) -> bool {
        let succeeded = |&before: &usize| self.records.get(before).is_some_and(|r| r.state == TaskState::Succeeded);
        self.dag.dependencies(index).iter().all(succeeded)
    }

    fn wait(&mut self, index: usize, left: Duration) {
        self.waits.spawn(async move {
            sleep(left).await;
            index
        });
    }

    /// Begins as many ready tasks as may run; each start is in the journal first.
    async fn begin_ready(&mut self) -> Result<()> {
        let tasks_max = usize::try_from(self.runner.settings.tasks_max).unwrap_or(usize::MAX);
        let free = tasks_max.saturating_sub(self.attempts.len());
        let chosen: Vec<usize> = self.ready.iter().copied().take(free).collect();
        let now = self.runner.clock.now();
        let begun: Vec<TaskRecord> = chosen
            .iter()
            .filter_map(|&index| self.records.get(index))
            .map(|record| TaskRecord {
                state: TaskState::Running,
                attempt: record.attempt + 1,
                not_before: None,
                started_at: Some(now),
                ended_at: None,
                ..record.clone()
            })
            .collect();
        if begun.is_empty() {
            return Ok(());
        }
        self.record(&chosen, begun).await?;
        for index in chosen {
            self.ready.remove(&index);
            self.begin(index);
        }
        Ok(())
    }

    fn begin(&mut self, index: usize) {
        let (Some(task), Some(record)) = (self.dag.tasks().get(index), self.records.get(index)) else { return };
        let outputs = self.dag.dependencies(index).iter().filter_map(|&before| self.records.get(before));
        let shared = Shared {
            dag: self.dag.name().into(),
            run_key: self.run.key.as_str().into(),
            task: task.name().into(),
            attempt: record.attempt,
            params: Arc::clone(&self.params),
            inputs: outputs.map(|r| (r.task.clone(), r.output.clone().unwrap_or_default())).collect(),
        };
        let context = TaskContext { shared: Arc::new(shared), cancellation: self.stop.child_token() };
        let attempt = self.attempts.spawn(attempt(task.clone(), context));
        self.attempt_of.insert(attempt.id(), index);
    }

    /// Deals with an attempt that ended.
    async fn take(&mut self, joined: Joined) -> Result<()> {
        let (index, outcome) = self.identify(joined)?;
        let (Some(task), Some(record)) = (self.dag.tasks().get(index), self.records.get(index).cloned()) else {
            return Err(Error::internal("an attempt belongs to no task"));
        };
        let ended_at = Some(self.runner.clock.now());
        match self.check_size(outcome) {
            Ok(output) => {
                let done =
                    TaskRecord { state: TaskState::Succeeded, ended_at, output: Some(output), error: None, ..record };
                self.record(&[index], vec![done]).await?;
                let next: Vec<_> =
                    self.dag.dependents(index).iter().copied().filter(|&i| self.inputs_done(i)).collect();
                self.ready.extend(next);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(task = task.name(), attempt = record.attempt, error = %error.chain(), "attempt failed");
                let failures = record.failures + 1;
                let record = TaskRecord { failures, ended_at, ..record };
                let key = format!("{}/{}", self.run.key, task.name());
                match task.retry().delay(&key, failures, &error) {
                    Some(delay) => self.retry(index, record, &error, delay).await,
                    None => self.fail(index, record, describe(&error)).await,
                }
            }
        }
    }

    fn identify(&mut self, joined: Joined) -> Result<(usize, Result<Value>)> {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(from_join(error))),
        };
        let index = self.attempt_of.remove(&id).ok_or_else(|| Error::internal("an attempt belongs to no task"))?;
        Ok((index, outcome))
    }

    fn check_size(&self, outcome: Result<Value>) -> Result<Value> {
        let output = outcome?;
        let (bytes, limit) = (output.to_string().len(), self.runner.settings.output_bytes_max);
        if bytes <= limit {
            return Ok(output);
        }
        Err(Error::invalid_argument(format!(
            "output is {bytes} bytes of JSON, the limit is {limit}; keep data in a store and return its name"
        )))
    }

    async fn retry(&mut self, index: usize, record: TaskRecord, error: &Error, delay: Duration) -> Result<()> {
        let not_before = Some(self.runner.clock.now() + delay);
        let error = Some(describe(error));
        self.record(&[index], vec![TaskRecord { state: TaskState::RetryWait, not_before, error, ..record }]).await?;
        self.wait(index, delay);
        Ok(())
    }

    /// Fails a task and skips, in the same write, everything that depends on it.
    async fn fail(&mut self, index: usize, record: TaskRecord, error: String) -> Result<()> {
        let reason = format!("skipped: task {:?} failed", record.task);
        let mut indices = vec![index];
        let mut changed = vec![TaskRecord { state: TaskState::Failed, error: Some(error), ..record }];
        let mut next: BTreeSet<usize> = self.dag.dependents(index).iter().copied().collect();
        while let Some(at) = next.pop_first() {
            let Some(record) = self.records.get(at).filter(|record| !record.state.is_final()) else { continue };
            changed.push(TaskRecord { state: TaskState::Skipped, error: Some(reason.clone()), ..record.clone() });
            indices.push(at);
            next.extend(self.dag.dependents(at));
        }
        self.record(&indices, changed).await
    }

    async fn record(&mut self, indices: &[usize], changed: Vec<TaskRecord>) -> Result<()> {
        self.runner.journal.record(&self.lease, &changed).await?;
        for (&index, new) in indices.iter().zip(changed) {
            if let Some(record) = self.records.get_mut(index) {
                *record = new;
            }
        }
        Ok(())
    }

    /// A journal that cannot be reached is borne with until the lease has run out: after that
    /// someone else may be at work.
    async fn renew(&mut self) -> Result<()> {
        let now = self.runner.clock.now();
        let until = now + self.runner.settings.lease_ttl();
        match self.runner.journal.renew(&self.lease, until).await {
            Ok(()) => {
                self.lease.until = until;
                Ok(())
            }
            Err(error) if lease_owner(&error).is_none() && now < self.lease.until => {
                tracing::warn!(run = self.run.key, error = %error.chain(), "lease could not be renewed yet");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Asks attempts to stop, keeps the results of those that end in time, drops the rest.
    async fn cancel(mut self) -> Result<RunReport> {
        self.stop.cancel();
        let grace = Duration::from_millis(self.runner.settings.cancel_grace_ms);
        let until = self.runner.clock.now() + grace + self.runner.settings.lease_ttl();
        self.runner.journal.renew(&self.lease, until).await?;
        let mut ended = Vec::new();
        let drained = timeout(grace, async {
            while let Some(outcome) = self.attempts.join_next_with_id().await {
                ended.push(outcome);
            }
        });
        if drained.await.is_err() {
            self.attempts.shutdown().await;
        }
        for outcome in ended {
            let (index, outcome) = self.identify(outcome)?;
            self.settle_cancelled(index, self.check_size(outcome)).await?;
        }
        let dropped: Vec<usize> = self.attempt_of.values().copied().collect();
        for index in dropped {
            self.settle_cancelled(index, Err(Error::cancelled("run was cancelled"))).await?;
        }
        let state = if self.is_done() { self.end_state() } else { RunState::Cancelled };
        self.close(state).await
    }

    fn end_state(&self) -> RunState {
        let all = self.records.iter().all(|record| record.state == TaskState::Succeeded);
        if all { RunState::Succeeded } else { RunState::Failed }
    }

    /// An attempt that succeeded all the same counts; any other is as if it had not begun.
    async fn settle_cancelled(&mut self, index: usize, outcome: Result<Value>) -> Result<()> {
        let Some(record) = self.records.get(index).cloned() else { return Ok(()) };
        let ended_at = Some(self.runner.clock.now());
        let record = match outcome {
            Ok(output) => {
                TaskRecord { state: TaskState::Succeeded, ended_at, output: Some(output), error: None, ..record }
            }
            Err(_) => TaskRecord {
                state: TaskState::Pending,
                ended_at,
                error: Some("interrupted: the run was cancelled".to_owned()),
                ..record
            },
        };
        self.record(&[index], vec![record]).await
    }

    async fn close(mut self, state: RunState) -> Result<RunReport> {
        let at = self.runner.clock.now();
        self.runner.journal.close(&self.lease, state, at).await?;
        self.run = RunRecord { state, ended_at: Some(at), owner: None, lease_until: None, ..self.run };
        tracing::info!(run = self.run.key, ?state, "run closed");
        Ok(RunReport::new(self.run, self.records))
    }
}

/// One attempt, within its time.
async fn attempt(task: Task, context: TaskContext) -> Result<Value> {
    let body = task.body();
    let Some(limit) = task.timeout() else { return body.run(&context).await };
    match timeout(limit, body.run(&context)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            context.cancellation.cancel();
            Err(Error::deadline_exceeded(format!("attempt took longer than {} ms", limit.as_millis())))
        }
    }
}

fn from_join(error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => {
            let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            Error::internal(format!("task panicked: {}", message.unwrap_or_else(|| "no message".to_owned())))
        }
        Err(_) => Error::new(ErrorKind::Cancelled, "attempt was dropped"),
    }
}

fn describe(error: &Error) -> String {
    format!("{}: {}", error.kind(), error.chain())
}

//! Runs DAGs, and goes on with runs that were begun before.
//!
//! Invariant: what a run is about to do is in the journal before it is done, and nothing runs
//! while another process holds the run's lease. The runner spawns nothing that outlives the call
//! to [`Runner::run`]: dropping its future stops the tasks and leaves the run resumable.

mod execution;
mod report;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mlops_core::{Clock, Error, Event, EventBus, Fact, Result, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use report::RunReport;

use crate::{
    dag::Dag,
    journal::{Claim, Journal, RunSpec},
    name::check_run_key,
    task::Task,
};
use execution::Execution;

/// Limits of a runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunnerSettings {
    /// Tasks of one run that run at the same time. Default 4.
    pub tasks_max: u32,
    /// How long a run stays with a process that has stopped answering, in milliseconds; renewed
    /// three times as often. Default 30,000.
    pub lease_ttl_ms: u64,
    /// How long cancelled tasks may take to end by themselves, in milliseconds. Default 5,000.
    pub cancel_grace_ms: u64,
    /// How often the process may die during one task before the task counts as failed: such a task
    /// is likely the cause. Default 20.
    pub interruptions_max: u32,
    /// Largest output of a task as JSON, in bytes. Data belongs in a store, its name in the
    /// output. Default 1 MiB.
    pub output_bytes_max: usize,
}

impl Default for RunnerSettings {
    fn default() -> Self {
        Self {
            tasks_max: 4,
            lease_ttl_ms: 30_000,
            cancel_grace_ms: 5_000,
            interruptions_max: 20,
            output_bytes_max: 1 << 20,
        }
    }
}

impl RunnerSettings {
    fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.lease_ttl_ms)
    }

    fn check(&self) -> Result<()> {
        let mut faults = Vec::new();
        if self.tasks_max == 0 {
            faults.push("tasks_max is 0; at least 1 is needed");
        }
        if self.lease_ttl_ms < 100 {
            faults.push("lease_ttl_ms is below 100");
        }
        if self.output_bytes_max < 4 {
            faults.push("output_bytes_max is below 4, the size of null");
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("runner settings: {}", faults.join("; "))))
    }
}

/// Runs DAGs against a journal.
///
/// See the [crate] for an example.
#[derive(Debug)]
pub struct Runner {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    bus: Option<Arc<dyn EventBus>>,
    owner: String,
    settings: RunnerSettings,
    active: Mutex<HashSet<String>>,
}

impl Runner {
    /// Begins a runner that keeps its record in `journal`.
    pub fn builder(journal: Arc<dyn Journal>) -> RunnerBuilder {
        RunnerBuilder { journal, clock: None, bus: None, owner: None, settings: RunnerSettings::default() }
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// Runs `dag` under `run_key`, or goes on with the run of that key. Finished tasks are not run
    /// again; a run that has ended is answered from the journal.
    ///
    /// A failed task is no error: the report says which failed and why. `PipelineFinished` is
    /// published when the run ends.
    ///
    /// # Errors
    /// `Conflict` when another process holds the run or takes it over; `AlreadyExists` when the run
    /// was begun with other parameters or by another DAG; `FailedPrecondition` when the DAG has
    /// changed its shape since, or when this runner is at work on the run already; whatever keeps
    /// the journal from being written.
    pub async fn run(&self, dag: &Dag, run_key: &str, params: Value) -> Result<RunReport> {
        self.run_until(dag, run_key, params, &CancellationToken::new()).await
    }

    /// As [`Runner::run`], until `cancellation` is told: tasks under way are asked to stop and, if
    /// they do not within the grace period, dropped. The report's state is then
    /// [`RunState::Cancelled`](crate::RunState::Cancelled), and running the key again goes on.
    ///
    /// # Errors
    /// As [`Runner::run`].
    #[tracing::instrument(skip_all, fields(dag = dag.name(), run = run_key))]
    pub async fn run_until(
        &self,
        dag: &Dag,
        run_key: &str,
        params: Value,
        cancellation: &CancellationToken,
    ) -> Result<RunReport> {
        check_run_key(run_key)?;
        let _active = Active::enter(&self.active, run_key)?;
        let spec = RunSpec {
            key: run_key.to_owned(),
            dag: dag.name().to_owned(),
            graph: dag.digest(),
            params,
            tasks: dag.tasks().iter().map(|task| Task::name(task).to_owned()).collect(),
        };
        let claim = Claim { owner: self.owner.clone(), now: self.clock.now(), ttl: self.settings.lease_ttl() };
        let opened = self.journal.open(&spec, &claim).await?;
        let Some(lease) = opened.lease else {
            return Ok(RunReport::new(opened.run, opened.tasks));
        };
        let report = Execution::new(self, dag, opened.run, opened.tasks, lease)?.finish(cancellation).await?;
        self.announce(&report).await;
        Ok(report)
    }

    /// The run has ended in the journal; a subscriber's trouble is its own.
    async fn announce(&self, report: &RunReport) {
        let (Some(bus), true) = (&self.bus, report.state().is_final()) else { return };
        let fact = Fact::PipelineFinished {
            pipeline: report.dag().to_owned(),
            run: report.run_key().to_owned(),
            succeeded: report.succeeded(),
        };
        if let Err(error) = bus.publish(Event::new(self.clock.now(), fact)).await {
            tracing::warn!(run = report.run_key(), error = %error.chain(), "end of run could not be announced");
        }
    }
}

/// Assembles a [`Runner`].
#[derive(Debug)]
#[must_use]
pub struct RunnerBuilder {
    journal: Arc<dyn Journal>,
    clock: Option<Arc<dyn Clock>>,
    bus: Option<Arc<dyn EventBus>>,
    owner: Option<String>,
    settings: RunnerSettings,
}

impl RunnerBuilder {
    /// Tells the time. Default: the clock of the operating system.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Publishes `PipelineFinished`. Default: nobody is told.
    pub fn with_bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Names this runner in leases. A runner takes over at once what its own name holds, so a
    /// program that is alone by other means (it holds the home directory) restarts without waiting
    /// for a lease to expire. Two runners must never use one name at the same time. Default: a name
    /// that no other runner has.
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Sets the limits.
    pub fn with_settings(mut self, settings: RunnerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidArgument` naming every fault of the settings.
    pub fn build(self) -> Result<Runner> {
        self.settings.check()?;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let owner = self.owner.unwrap_or_else(|| unique_owner(clock.as_ref()));
        Ok(Runner {
            journal: self.journal,
            clock,
            bus: self.bus,
            owner,
            settings: self.settings,
            active: Mutex::default(),
        })
    }
}

/// Process ids come again, and a process may have several runners: the time and a counter tell
/// them apart.
fn unique_owner(clock: &dyn Clock) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("process-{}-{}-{count}", std::process::id(), clock.now().as_micros())
}

/// Keeps two calls of one runner from working on the same run, which its lease would allow.
struct Active<'a> {
    keys: &'a Mutex<HashSet<String>>,
    key: &'a str,
}

impl<'a> Active<'a> {
    fn enter(keys: &'a Mutex<HashSet<String>>, key: &'a str) -> Result<Self> {
        if keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned()) {
            return Ok(Self { keys, key });
        }
        Err(Error::failed_precondition(format!("run {key:?} is being worked on by this runner already"))
            .with("run", key))
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(self.key);
    }
}

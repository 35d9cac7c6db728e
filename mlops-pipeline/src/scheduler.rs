//! Fires schedules, and runs whatever is due: what schedules and triggers asked for.
//!
//! Invariant: a due time is in the journal before its run begins, and is settled after the run has
//! ended. What happens in between, a crash included, is made good by the next tick: the run key
//! `<dag>@<due time>` is the same, so the run goes on instead of beginning again.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use mlops_core::{Clock, Error, ErrorKind, Result, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    dag::Dag,
    journal::{Firing, FiringJournal, FiringSource},
    runner::{RunReport, Runner},
    schedule::Schedule,
};

/// Limits of a scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerSettings {
    /// DAGs that run at the same time; the runs of one DAG follow one another. Default 4.
    pub dags_max: usize,
    /// Firings taken up in one tick; the next tick goes on. Default 100.
    pub firings_max: u32,
    /// How often the background loop ticks, in milliseconds. Default 1,000.
    pub tick_ms: u64,
}

impl Default for SchedulerSettings {
    fn default() -> Self {
        Self { dags_max: 4, firings_max: 100, tick_ms: 1_000 }
    }
}

/// What a tick did.
#[derive(Debug, Default)]
pub struct TickReport {
    /// Due times that were put into the journal.
    pub recorded: Vec<Firing>,
    /// Runs that were worked on.
    pub runs: Vec<RunReport>,
    /// Firings that stay outstanding because another process works on them or the journal could
    /// not be written, and runs that were refused for good, with the reason.
    pub errors: Vec<(String, Error)>,
}

struct Entry {
    dag: Dag,
    schedule: Option<Schedule>,
    params: Value,
}

/// Runs DAGs when they are due.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_pipeline::{Dag, Runner, Schedule, Scheduler, SqlJournal, Task, TaskContext};
/// use mlops_store::SqliteMetaStore;
/// use serde_json::json;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let journal = Arc::new(SqlJournal::open(Arc::new(SqliteMetaStore::in_memory().await?)).await?);
/// let runner = Arc::new(Runner::builder(journal.clone()).build()?);
/// let dag = Dag::builder("nightly")
///     .with_task(Task::new("hello", |_: TaskContext| async { Ok(json!("done")) }))
///     .build()?;
/// let scheduler = Scheduler::builder(runner, journal)
///     .with_scheduled(dag, Schedule::cron("0 2 * * *")?, json!({}))
///     .build()?;
/// scheduler.tick("2024-01-01T00:00:00Z".parse()?).await?;
/// let report = scheduler.tick("2024-01-01T02:00:00Z".parse()?).await?;
/// assert_eq!(report.runs[0].run_key(), "nightly@2024-01-01T02:00:00Z");
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
pub struct Scheduler {
    runner: Arc<Runner>,
    journal: Arc<dyn FiringJournal>,
    clock: Arc<dyn Clock>,
    entries: BTreeMap<String, Entry>,
    settings: SchedulerSettings,
}

impl Scheduler {
    /// Begins a scheduler that runs by `runner` and keeps firings in `journal`.
    pub fn builder(runner: Arc<Runner>, journal: Arc<dyn FiringJournal>) -> SchedulerBuilder {
        SchedulerBuilder { runner, journal, clock: None, entries: Vec::new(), settings: SchedulerSettings::default() }
    }

    /// Records what is due at `now`, then works on all that is outstanding and returns when that
    /// has ended. The first look at a schedule only sets its cursor to `now`.
    ///
    /// # Errors
    /// When the journal cannot be read or written; what went wrong with single runs is in the
    /// report.
    pub async fn tick(&self, now: Timestamp) -> Result<TickReport> {
        self.tick_until(now, &CancellationToken::new()).await
    }

    /// As [`Scheduler::tick`], until `cancellation` is told; cancelled runs stay outstanding.
    ///
    /// # Errors
    /// As [`Scheduler::tick`].
    pub async fn tick_until(&self, now: Timestamp, cancellation: &CancellationToken) -> Result<TickReport> {
        let mut report = TickReport { recorded: self.record_due(now).await?, ..TickReport::default() };
        let dags: Vec<String> = self.entries.keys().cloned().collect();
        let mut by_dag: BTreeMap<String, Vec<Firing>> = BTreeMap::new();
        for firing in self.journal.outstanding(&dags, self.settings.firings_max).await? {
            by_dag.entry(firing.dag.clone()).or_default().push(firing);
        }
        let mut lanes = stream::iter(by_dag.into_values().map(|firings| self.work_off(firings, cancellation)))
            .buffer_unordered(self.settings.dags_max);
        while let Some((runs, errors)) = lanes.next().await {
            report.runs.extend(runs);
            report.errors.extend(errors);
        }
        Ok(report)
    }

    /// Ticks in the background, by the scheduler's clock, until the handle stops it.
    #[must_use]
    pub fn spawn(self: Arc<Self>) -> SchedulerHandle {
        let cancellation = CancellationToken::new();
        let task = tokio::spawn(self.run_loop(cancellation.clone()));
        SchedulerHandle { cancellation, task }
    }

    async fn run_loop(self: Arc<Self>, cancellation: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_millis(self.settings.tick_ms));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while cancellation.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.tick_until(self.clock.now(), &cancellation).await {
                Ok(report) => {
                    for (run, error) in report.errors {
                        tracing::warn!(run, error = %error.chain(), "due run was not finished");
                    }
                }
                Err(error) => tracing::error!(error = %error.chain(), "schedules could not be looked at"),
            }
        }
    }

    async fn record_due(&self, now: Timestamp) -> Result<Vec<Firing>> {
        let mut recorded = Vec::new();
        for (name, entry) in &self.entries {
            let Some(schedule) = &entry.schedule else { continue };
            let Some(cursor) = self.journal.cursor(name).await? else {
                self.journal.advance(name, None, now, &[]).await?;
                continue;
            };
            let due = schedule.due(cursor, now)?;
            let firing = |&due_at: &Timestamp| Firing {
                run_key: format!("{name}@{due_at}"),
                dag: name.clone(),
                due_at,
                source: FiringSource::Schedule,
                params: entry.params.clone(),
                outcome: None,
            };
            let firings: Vec<_> = due.times.iter().map(firing).collect();
            // A cursor without firings need not be written each tick: the next look begins where
            // this one did and finds the same. Under the other policies missed times are given up
            // by moving on, which the next firing does as well.
            if !firings.is_empty() && self.journal.advance(name, Some(cursor), due.until, &firings).await? {
                recorded.extend(firings);
            }
        }
        Ok(recorded)
    }

    /// The firings of one DAG, one after another.
    async fn work_off(
        &self,
        firings: Vec<Firing>,
        cancellation: &CancellationToken,
    ) -> (Vec<RunReport>, Vec<(String, Error)>) {
        let (mut runs, mut errors) = (Vec::new(), Vec::new());
        for firing in firings {
            if cancellation.is_cancelled() {
                break;
            }
            let key = firing.run_key.clone();
            match self.work_on(firing, cancellation).await {
                Ok(run) => runs.push(run),
                Err(error) => errors.push((key, error)),
            }
        }
        (runs, errors)
    }

    async fn work_on(&self, firing: Firing, cancellation: &CancellationToken) -> Result<RunReport> {
        let entry = self.entries.get(&firing.dag);
        let entry = entry.ok_or_else(|| Error::internal("an outstanding firing belongs to no DAG"))?;
        match self.runner.run_until(&entry.dag, &firing.run_key, firing.params, cancellation).await {
            Ok(report) => {
                if report.state().is_final() {
                    self.journal.settle(&firing.run_key, report.state()).await?;
                }
                Ok(report)
            }
            Err(error) => {
                // Refused for good: it would be refused again by every later tick.
                if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::InvalidArgument) {
                    self.journal.settle(&firing.run_key, crate::RunState::Failed).await?;
                }
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("dags", &self.entries.keys().collect::<Vec<_>>())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Assembles a [`Scheduler`].
#[must_use]
pub struct SchedulerBuilder {
    runner: Arc<Runner>,
    journal: Arc<dyn FiringJournal>,
    clock: Option<Arc<dyn Clock>>,
    entries: Vec<Entry>,
    settings: SchedulerSettings,
}

impl SchedulerBuilder {
    /// Runs `dag` with `params` when `schedule` says so, and when a trigger asks for it.
    pub fn with_scheduled(mut self, dag: Dag, schedule: Schedule, params: Value) -> Self {
        self.entries.push(Entry { dag, schedule: Some(schedule), params });
        self
    }

    /// Runs `dag` when a trigger asks for it.
    pub fn with_triggered(mut self, dag: Dag) -> Self {
        self.entries.push(Entry { dag, schedule: None, params: Value::Null });
        self
    }

    /// Tells the background loop the time. Default: the clock of the operating system.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets the limits.
    pub fn with_settings(mut self, settings: SchedulerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidArgument` when a DAG appears twice or a limit is 0.
    pub fn build(self) -> Result<Scheduler> {
        let SchedulerSettings { dags_max, firings_max, tick_ms } = self.settings;
        if dags_max == 0 || firings_max == 0 || tick_ms == 0 {
            return Err(Error::invalid_argument(format!(
                "scheduler settings: dags_max {dags_max}, firings_max {firings_max} and tick_ms {tick_ms} must be at least 1"
            )));
        }
        let mut entries = BTreeMap::new();
        for entry in self.entries {
            let name = entry.dag.name().to_owned();
            if entries.insert(name.clone(), entry).is_some() {
                return Err(Error::invalid_argument(format!("DAG {name:?} is given to the scheduler twice")));
            }
        }
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        Ok(Scheduler { runner: self.runner, journal: self.journal, clock, entries, settings: self.settings })
    }
}

impl fmt::Debug for SchedulerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Owns the background loop; dropping it asks the loop to stop without waiting.
#[derive(Debug)]
pub struct SchedulerHandle {
    cancellation: CancellationToken,
    task: JoinHandle<()>,
}

impl SchedulerHandle {
    /// Whether the loop is at work. It ends by itself only when it panics.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.task.is_finished()
    }

    /// Cancels running DAGs, which stay resumable, and waits for the loop to end.
    ///
    /// # Errors
    /// `Internal` when the loop had panicked.
    pub async fn stop(mut self) -> Result<()> {
        self.cancellation.cancel();
        (&mut self.task).await.map_err(|error| Error::internal(format!("the scheduler's loop ended badly: {error}")))
    }
}

impl Drop for SchedulerHandle {
    fn drop(&mut self) {
        self.cancellation.cancel();
    }
}

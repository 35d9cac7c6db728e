//! What became of a run.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::journal::{RunRecord, RunState, TaskRecord, TaskState};

/// A run and its tasks after [`Runner::run`](crate::Runner::run): the same as what the journal
/// has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    run: RunRecord,
    tasks: Vec<TaskRecord>,
}

impl RunReport {
    pub(super) fn new(run: RunRecord, tasks: Vec<TaskRecord>) -> Self {
        Self { run, tasks }
    }

    /// The DAG.
    #[must_use]
    pub fn dag(&self) -> &str {
        &self.run.dag
    }

    /// The key of the run.
    #[must_use]
    pub fn run_key(&self) -> &str {
        &self.run.key
    }

    /// How far the run has come.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.run.state
    }

    /// Whether every task succeeded.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.run.state == RunState::Succeeded
    }

    /// The run, with its times.
    #[must_use]
    pub fn run(&self) -> &RunRecord {
        &self.run
    }

    /// Every task in the order of the DAG, with its times, attempts and output.
    #[must_use]
    pub fn tasks(&self) -> &[TaskRecord] {
        &self.tasks
    }

    /// One task.
    #[must_use]
    pub fn task(&self, name: &str) -> Option<&TaskRecord> {
        self.tasks.iter().find(|record| record.task == name)
    }

    /// What a task returned, if it succeeded.
    #[must_use]
    pub fn output(&self, task: &str) -> Option<&Value> {
        self.task(task)?.output.as_ref()
    }

    /// Failed tasks with the reason; those skipped because of them are left out.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let failed = self.tasks.iter().filter(|record| record.state == TaskState::Failed);
        failed.map(|record| (record.task.as_str(), record.error.as_deref().unwrap_or_default()))
    }
}

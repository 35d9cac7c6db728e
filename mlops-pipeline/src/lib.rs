//! DAGs of tasks with a durable journal, schedules and triggers: what runs, when, and why.
//!
//! A pipeline is ordinary async Rust. The journal keeps every decision before it is acted upon, so
//! a process that dies is replaced by one that goes on where it stopped: finished tasks are not
//! run again, and whatever was under way runs again under the same idempotency key.
//! What this is not: a cluster scheduler, or a replayer of user code.
//!
//! | look for | in |
//! |---|---|
//! | tasks, their retries and what they are told | [`task`] |
//! | the graph and its checks | [`dag`] |
//! | running and resuming | [`runner`] |
//! | the durable record: runs, firings, decisions | [`journal`] |
//! | cron expressions and catch-up | [`schedule`] |
//! | firing schedules and carrying out what triggers asked for | [`scheduler`] |
//! | evidence, news and budget: when to retrain | [`trigger`] |
//! | the promises every journal keeps, as tests | `conformance` (feature `conformance`) |
//!
//! ```
//! use std::sync::Arc;
//!
//! use mlops_core::Result;
//! use mlops_pipeline::{Dag, Runner, SqlJournal, Task, TaskContext};
//! use mlops_store::SqliteMetaStore;
//! use serde_json::json;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let dag = Dag::builder("train")
//!     .with_task(Task::new("extract", |_: TaskContext| async { Ok(json!(41)) }))
//!     .with_task(
//!         Task::new("fit", |context: TaskContext| async move {
//!             let rows: i64 = context.output_as("extract")?;
//!             Ok(json!(rows + 1))
//!         })
//!         .after(["extract"]),
//!     )
//!     .build()?;
//!
//! let journal = SqlJournal::open(Arc::new(SqliteMetaStore::in_memory().await?)).await?;
//! let runner = Runner::builder(Arc::new(journal)).build()?;
//! let report = runner.run(&dag, "train@2024-01-01", json!({})).await?;
//! assert!(report.succeeded());
//! assert_eq!(report.output("fit"), Some(&json!(42)));
//!
//! // The same key again: answered from the journal, nothing runs twice.
//! assert_eq!(runner.run(&dag, "train@2024-01-01", json!({})).await?, report);
//! # Result::<()>::Ok(())
//! # }).unwrap();
//! ```

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod dag;
pub mod journal;
pub mod runner;
pub mod schedule;
pub mod scheduler;
pub mod task;
pub mod trigger;

mod name;

pub use dag::{Dag, DagBuilder};
pub use journal::{
    DecisionJournal, Firing, FiringJournal, FiringSource, Journal, RunFilter, RunRecord, RunState, SqlJournal,
    TaskRecord, TaskState,
};
pub use runner::{RunReport, Runner, RunnerBuilder, RunnerSettings};
pub use schedule::{CatchUp, Schedule, ScheduleSettings};
pub use scheduler::{Scheduler, SchedulerBuilder, SchedulerHandle, SchedulerSettings, TickReport};
pub use task::{RetryPolicy, Task, TaskBody, TaskContext};
pub use tokio_util::sync::CancellationToken;
pub use trigger::{Budget, Decision, DecisionRecord, Trigger, TriggerBuilder, TriggerSettings};

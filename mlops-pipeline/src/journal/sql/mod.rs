//! The journal in the metadata database: one transaction for each decision.
//!
//! Invariant: every write to a run names the epoch of its lease, so only the latest holder writes.

mod decision;
mod firing;
mod run;

use std::sync::Arc;

use mlops_core::{Error, ErrorKind, Result};
use mlops_store::{MetaStore, MetaStoreExt as _, Migration, Migrations, Row};
use serde::{Serialize, de::DeserializeOwned};

const MIGRATIONS: Migrations = Migrations {
    namespace: "pipeline",
    steps: &[Migration {
        version: 1,
        name: "runs, tasks, firings, decisions",
        sql: "CREATE TABLE pipeline_run (
    seq {auto_id},
    run_key TEXT NOT NULL UNIQUE,
    dag TEXT NOT NULL,
    graph TEXT NOT NULL,
    params TEXT NOT NULL,
    state TEXT NOT NULL,
    owner TEXT,
    lease_until BIGINT,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX pipeline_run_by_dag ON pipeline_run (dag, seq);
CREATE TABLE pipeline_task (
    run_key TEXT NOT NULL,
    position BIGINT NOT NULL,
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    interruptions BIGINT NOT NULL,
    not_before BIGINT,
    started_at BIGINT,
    ended_at BIGINT,
    output TEXT,
    error TEXT,
    PRIMARY KEY (run_key, task)
);
CREATE TABLE pipeline_cursor (dag TEXT PRIMARY KEY, at BIGINT NOT NULL);
CREATE TABLE pipeline_firing (
    run_key TEXT PRIMARY KEY,
    dag TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    source TEXT NOT NULL,
    params TEXT NOT NULL,
    outcome TEXT
);
CREATE INDEX pipeline_firing_by_dag ON pipeline_firing (dag, due_at);
CREATE TABLE pipeline_decision (
    trigger_name TEXT NOT NULL,
    event_key TEXT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    evidence BIGINT NOT NULL,
    topics TEXT NOT NULL,
    fired BIGINT NOT NULL,
    decision TEXT NOT NULL,
    announced BIGINT NOT NULL,
    PRIMARY KEY (trigger_name, event_key)
);
CREATE INDEX pipeline_decision_by_time ON pipeline_decision (trigger_name, at);
",
    }],
};

/// How often a transaction that lost a race is begun again.
const ATTEMPTS_MAX: u32 = 100;

/// All three journals over one metadata database.
#[derive(Debug, Clone)]
pub struct SqlJournal {
    meta: Arc<dyn MetaStore>,
}

impl SqlJournal {
    /// Brings the tables up to date.
    ///
    /// # Errors
    /// `FailedPrecondition` when the tables are of a newer version, `Unavailable` when the database
    /// cannot be reached.
    pub async fn open(meta: Arc<dyn MetaStore>) -> Result<Self> {
        meta.migrate(&MIGRATIONS).await?;
        Ok(Self { meta })
    }
}

/// Repeats `attempt` while it loses races (PostgreSQL's serialisable transactions abort the loser).
/// An error that says who holds a lease is an answer, not a lost race.
async fn with_retry<T, F>(attempt: impl Fn() -> F + Send + Sync) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
{
    for _ in 1..ATTEMPTS_MAX {
        match attempt().await {
            Err(error) if error.kind() == ErrorKind::Conflict && error.context().is_empty() => {
                tokio::task::yield_now().await;
            }
            outcome => return outcome,
        }
    }
    attempt().await
}

/// The serde name of a word such as a state.
fn word<T: Serialize>(value: &T) -> Result<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        _ => Err(Error::internal("a journal word is not text")),
    }
}

fn parse_word<T: DeserializeOwned>(word: String) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(damaged)
}

fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("a journal value is not JSON").with_source(error))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(damaged)
}

fn damaged(error: serde_json::Error) -> Error {
    Error::data_loss(format!("the journal holds something unreadable: {error}")).with_source(error)
}

fn read_all<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T>) -> Result<Vec<T>> {
    rows.iter().map(read).collect()
}

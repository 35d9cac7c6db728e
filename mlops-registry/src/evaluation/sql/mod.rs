//! Evaluation datasets, scorers and issues in the metadata database.
//!
//! Invariant: a dataset's count, schema and digest change in the transaction that changes its records.

mod dataset;
mod issue;
mod port;
mod records;
mod scorer;

use std::sync::Arc;

use mlops_core::{Clock, Result, SystemClock};
use mlops_store::{MetaStore, Migration, Migrations};

use crate::{
    id_source::{IdSource, prefixed_id},
    sql_store::sql_store,
};

const MIGRATIONS: Migrations = Migrations {
    namespace: "evaluation",
    steps: &[
        Migration {
            version: 1,
            name: "datasets and records",
            sql: "CREATE TABLE evaluation_dataset (
    id TEXT PRIMARY KEY,
    created BIGINT NOT NULL,
    content TEXT NOT NULL
);
CREATE TABLE evaluation_experiment (
    dataset TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    PRIMARY KEY (dataset, experiment)
);
CREATE INDEX evaluation_experiment_by_experiment ON evaluation_experiment (experiment);
CREATE TABLE evaluation_record (
    seq {auto_id},
    dataset TEXT NOT NULL,
    inputs TEXT NOT NULL,
    id TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE UNIQUE INDEX evaluation_record_by_inputs ON evaluation_record (dataset, inputs);
CREATE INDEX evaluation_record_by_id ON evaluation_record (dataset, id);
",
        },
        Migration {
            version: 2,
            name: "scorers",
            sql: "CREATE TABLE evaluation_scorer (
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (experiment, name, version)
);
",
        },
        Migration {
            version: 3,
            name: "issues",
            sql: "CREATE TABLE evaluation_issue (
    seq {auto_id},
    id TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    status TEXT NOT NULL,
    severity BIGINT NOT NULL,
    source_run TEXT,
    created BIGINT NOT NULL,
    content TEXT NOT NULL
);
CREATE UNIQUE INDEX evaluation_issue_by_id ON evaluation_issue (id);
CREATE INDEX evaluation_issue_by_severity ON evaluation_issue (severity, created, seq);
CREATE INDEX evaluation_issue_by_experiment ON evaluation_issue (experiment, severity, created, seq);
",
        },
    ],
};

/// A store of evaluation datasets over a [`MetaStore`].
///
/// ```
/// use std::sync::Arc;
/// use mlops_registry::{CreateEvaluationDataset, EvaluationStore, SqlEvaluationStore};
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = SqlEvaluationStore::builder(Arc::new(SqliteMetaStore::in_memory().await?)).build().await?;
/// let made = store.create(CreateEvaluationDataset::new("questions")).await?;
/// assert_eq!(store.dataset(&made.id).await?, made);
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SqlEvaluationStore {
    meta: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    ids: Option<Arc<dyn IdSource>>,
}

/// Puts a [`SqlEvaluationStore`] together.
#[derive(Debug, Clone)]
#[must_use]
pub struct SqlEvaluationStoreBuilder {
    store: SqlEvaluationStore,
}

sql_store!(
    SqlEvaluationStore,
    SqlEvaluationStoreBuilder,
    "Gives ids. Default: random ones, seeded by the operating system."
);

impl SqlEvaluationStoreBuilder {
    /// Brings the tables up to date.
    ///
    /// # Errors
    /// `FailedPrecondition` when the tables are of a newer version, `Unavailable` when the database cannot be reached.
    pub async fn build(self) -> Result<SqlEvaluationStore> {
        self.store.opened(&MIGRATIONS).await
    }
}

impl SqlEvaluationStore {
    /// Begins a store with its rows in `meta`.
    pub fn builder(meta: Arc<dyn MetaStore>) -> SqlEvaluationStoreBuilder {
        SqlEvaluationStoreBuilder { store: Self { meta, clock: Arc::new(SystemClock::new()), ids: None } }
    }

    fn next_id(&self, prefix: &str) -> Result<String> {
        Ok(prefixed_id(self.ids()?, prefix))
    }
}

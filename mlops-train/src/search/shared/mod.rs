//! A study in a database, for workers in several processes.
//!
//! Every operation is one transaction: it reads what others have written since, does to the study what [`Study`] does,
//! and writes what changed. So trial numbers have no gaps and no doubles, every proposal knows all trials told before
//! it, and what was answered is durable. A running trial is leased to its worker; when the lease has run out, whoever
//! asks next fails the trial and tries its parameters again.
//!
//! Invariant: the study in memory is what the database held at `revision`, unless it is `dirty`: an operation that
//! failed or was dropped halfway may have changed it, so the next one reads it anew.

mod tables;

use std::sync::Arc;

use mlops_core::{Clock, Error, Result};
use mlops_store::{MetaStore, MetaStoreExt, Transaction, TransactionExt, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::tables::MIGRATIONS;
use super::{
    study::{Outcome, Study},
    trial::{RETRY_OF, Trial, TrialState},
};
use crate::{attempts::Attempts, params::Params};

/// Attribute of a trial that repeats a dead one: how many times its parameters were tried before.
const RETRIES: &str = "retry:count";

/// How workers share a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedSettings {
    /// How long a trial belongs to its worker after its last sign of life, in milliseconds, at least 1. Default 60,000.
    pub lease_ms: u64,
    /// How many times the parameters of a trial whose worker died are tried again. Default 3.
    pub retries_max: u64,
}

impl Default for SharedSettings {
    fn default() -> Self {
        Self { lease_ms: 60_000, retries_max: 3 }
    }
}

/// One worker's hold on a study that several share.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::SystemClock;
/// use mlops_store::SqliteMetaStore;
/// use mlops_train::{Direction, SearchSpace, Study, search::{Outcome, SharedSettings, SharedStudy}};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = Arc::new(SqliteMetaStore::in_memory().await?);
/// let study = Study::builder(SearchSpace::new().with_float("x", 0.0, 1.0), Direction::Minimize).build()?;
/// let clock = Arc::new(SystemClock::new());
/// let mut worker = SharedStudy::open(store, clock, study, "worker-1", SharedSettings::default()).await?;
/// let trial = worker.ask().await?;
/// let x = trial.params.number("x")?;
/// worker.tell(trial.number, Outcome::Complete { values: vec![x], constraints: vec![] }).await?;
/// assert_eq!(worker.study().best().and_then(|best| best.value()), Some(x));
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct SharedStudy {
    store: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    settings: SharedSettings,
    worker: String,
    /// The study without trials.
    empty: Study,
    study: Study,
    id: i64,
    revision: i64,
    /// Whether the study in memory may hold what was never committed.
    dirty: bool,
}

impl SharedStudy {
    /// Opens the study of this name, or creates it as it is given; the trials of `study` are not looked at.
    ///
    /// # Errors
    /// `FailedPrecondition` when a study of this name has another space, sampler, pruner, direction or seed; `Conflict`
    /// when others were faster a hundred times;
    /// `InvalidArgument` when the lease has no length; `DataLoss` when stored trials are damaged; those of the store.
    pub async fn open(
        store: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
        study: Study,
        worker: impl Into<String>,
        settings: SharedSettings,
    ) -> Result<Self> {
        if settings.lease_ms == 0 {
            return Err(Error::invalid_argument("lease_ms must be at least 1"));
        }
        store.migrate(&MIGRATIONS).await?;
        let empty = study.without_trials();
        let spec = serde_json::to_string(&empty)
            .map_err(|error| Error::internal("a study cannot be written as JSON").with_source(error))?;
        let mut attempts = Attempts::default();
        let id = loop {
            match enroll(store.as_ref(), &empty, &spec).await {
                Ok(id) => break id,
                Err(error) => attempts.again(error, clock.as_ref()).await?,
            }
        };
        let worker = worker.into();
        let mut shared =
            Self { store, clock, settings, worker, study: empty.clone(), empty, id, revision: 0, dirty: false };
        shared.refresh().await?;
        Ok(shared)
    }

    /// The study as it was at the last operation. After one that failed or was dropped it may hold what was not stored,
    /// until the next one.
    #[must_use]
    pub fn study(&self) -> &Study {
        &self.study
    }

    /// Reads what others have written.
    ///
    /// # Errors
    /// `DataLoss` when stored trials are damaged; `Conflict` when others were faster a hundred times; those of the
    /// store.
    pub async fn refresh(&mut self) -> Result<()> {
        let mut attempts = Attempts::default();
        loop {
            match self.try_refresh().await {
                Ok(()) => return Ok(()),
                Err(error) => attempts.again(error, self.clock.as_ref()).await?,
            }
        }
    }

    /// Proposes the next trial and leases it. A trial whose lease has run out is failed, and its parameters are tried
    /// again first.
    ///
    /// # Errors
    /// As [`Study::ask`]; `Conflict` when other workers were faster a hundred times; those of the store.
    pub async fn ask(&mut self) -> Result<Trial> {
        self.write(Change::Ask).await?.ok_or_else(|| Error::internal("asking gave no trial"))
    }

    /// Adds a trial of the caller's own and leases it.
    ///
    /// # Errors
    /// As [`Study::enqueue`]; `Conflict` when other workers were faster a hundred times; those of the store.
    pub async fn enqueue(&mut self, params: Params) -> Result<Trial> {
        self.write(Change::Enqueue(params)).await?.ok_or_else(|| Error::internal("adding gave no trial"))
    }

    /// Reports a value on the way, which renews the lease, and asks whether to stop.
    ///
    /// # Errors
    /// As [`Study::report`]; `Conflict` when other workers were faster a hundred times; those of the store.
    pub async fn report(&mut self, number: usize, step: u64, value: f64) -> Result<bool> {
        Ok(self.write(Change::Report(number, step, value)).await?.is_some())
    }

    /// Tells what a trial came to.
    ///
    /// # Errors
    /// As [`Study::tell_outcome`]; `Conflict` when other workers were faster a hundred times; those of the store.
    pub async fn tell(&mut self, number: usize, outcome: Outcome) -> Result<()> {
        self.write(Change::Tell(number, outcome)).await.map(drop)
    }

    /// Notes something about a trial, which renews the lease.
    ///
    /// # Errors
    /// As [`Study::set_user_attribute`]; `Conflict` when other workers were faster a hundred times; those of the store.
    pub async fn set_user_attribute(&mut self, number: usize, name: &str, value: impl Into<Value>) -> Result<()> {
        self.write(Change::Note(number, name.to_owned(), value.into())).await.map(drop)
    }

    /// Renews the leases of all trials that run on this worker; returns how many there are.
    ///
    /// # Errors
    /// `Conflict` when other workers were faster a hundred times; those of the store.
    pub async fn heartbeat(&self) -> Result<u64> {
        let sql = "UPDATE mlops_study_trial SET lease_until = $1
            WHERE study_id = $2 AND worker = $3 AND lease_until IS NOT NULL";
        let mut attempts = Attempts::default();
        loop {
            match self.store.execute(sql, params![self.lease_end(), self.id, &self.worker]).await {
                Ok(trials) => return Ok(trials),
                Err(error) => attempts.again(error, self.clock.as_ref()).await?,
            }
        }
    }

    fn lease_end(&self) -> i64 {
        let length = i64::try_from(self.settings.lease_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        self.clock.now().as_micros().saturating_add(length)
    }

    async fn try_refresh(&mut self) -> Result<()> {
        let mut tx = self.store.begin().await?;
        let sql = "SELECT revision FROM mlops_study WHERE id = $1";
        let revision: i64 = tx.query_one(sql, params![self.id]).await?.get("revision")?;
        self.sync(tx.as_mut(), revision).await
    }

    /// One transaction, begun again when another worker was faster: takes the study, reads, changes, writes.
    async fn write(&mut self, change: Change) -> Result<Option<Trial>> {
        let mut attempts = Attempts::default();
        loop {
            let outcome = match self.take().await {
                Ok((tx, revision)) => self.try_write(tx, revision, change.clone()).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) => attempts.again(error, self.clock.as_ref()).await?,
            }
        }
    }

    /// Begins a transaction that holds the study's row, with the revision it writes. Writers wait for each other here,
    /// so that one which loses a race has nothing to undo.
    async fn take(&self) -> Result<(Box<dyn Transaction>, i64)> {
        let mut tx = self.store.begin().await?;
        let sql = "UPDATE mlops_study SET revision = revision + 1 WHERE id = $1 RETURNING revision";
        let revision = tx.query_one(sql, params![self.id]).await?.get("revision")?;
        Ok((tx, revision))
    }

    async fn try_write(
        &mut self,
        mut tx: Box<dyn Transaction>,
        revision: i64,
        change: Change,
    ) -> Result<Option<Trial>> {
        self.sync(tx.as_mut(), revision - 1).await?;
        // Until the commit has returned, every way out of here, a dropped future too, leaves memory ahead of the
        // database.
        self.dirty = true;
        let mut touched = Vec::new();
        let mut answer = Ok(None);
        match change {
            Change::Ask => {
                answer = match self.retry_dead(tx.as_mut(), &mut touched).await? {
                    Some(trial) => Ok(Some(trial)),
                    None => self.study.ask().map(Some),
                };
                match &answer {
                    Ok(trial) => touched.extend(trial.iter().map(|trial| trial.number)),
                    // Nothing has changed. Who waits asks often, and need not read all trials each time.
                    Err(_) if touched.is_empty() => {
                        self.dirty = false;
                        return answer;
                    }
                    // There is no trial, but the dead have failed.
                    Err(_) => {}
                }
            }
            Change::Enqueue(params) => {
                let trial = self.study.enqueue(params)?;
                touched.push(trial.number);
                answer = Ok(Some(trial));
            }
            Change::Report(number, step, value) => {
                let stop = self.study.report(number, step, value)?;
                let kept = self.study.trials().get(number).filter(|_| value.is_finite());
                if kept.is_some() {
                    let sql = "INSERT INTO mlops_study_report (study_id, number, step, value, revision)
                        VALUES ($1, $2, $3, $4, $5)
                        ON CONFLICT (study_id, number, step) DO UPDATE SET value = $4, revision = $5";
                    tx.execute(sql, params![self.id, number as u64, step, value, revision]).await?;
                }
                touched.push(number);
                answer = Ok(self.study.trials().get(number).filter(|_| stop).cloned());
            }
            Change::Note(number, name, value) => {
                self.study.set_user_attribute(number, &name, value)?;
                touched.push(number);
            }
            Change::Tell(number, outcome) => {
                self.study.tell_outcome(number, outcome)?;
                touched.push(number);
            }
        }
        for number in touched {
            self.put(tx.as_mut(), number, revision).await?;
        }
        tx.commit().await?;
        self.revision = revision;
        self.dirty = false;
        answer
    }

    /// Fails trials whose lease has run out; the first whose parameters may be tried again is.
    async fn retry_dead(&mut self, tx: &mut dyn Transaction, touched: &mut Vec<usize>) -> Result<Option<Trial>> {
        let sql = "SELECT number FROM mlops_study_trial
            WHERE study_id = $1 AND lease_until < $2 ORDER BY number LIMIT 100";
        for row in tx.query(sql, params![self.id, self.clock.now()]).await? {
            let number = row.get::<u64>("number")? as usize;
            let Some(dead) = self.study.trials().get(number).cloned() else { continue };
            self.study.fail(number)?;
            touched.push(number);
            let tried = dead.attributes.get(RETRIES).and_then(Value::as_u64).unwrap_or(0);
            if tried < self.settings.retries_max {
                let mut attributes = dead.attributes;
                attributes.insert(RETRY_OF.to_owned(), Value::from(number));
                attributes.insert(RETRIES.to_owned(), Value::from(tried + 1));
                return self.study.repeat(dead.params, attributes).map(Some);
            }
        }
        Ok(None)
    }

    /// Writes a trial as it is now.
    async fn put(&self, tx: &mut dyn Transaction, number: usize, revision: i64) -> Result<()> {
        let Some(trial) = self.study.trials().get(number) else { return Ok(()) };
        let lease = Some(self.lease_end()).filter(|_| trial.state == TrialState::Running);
        let sql = "INSERT INTO mlops_study_trial (study_id, number, revision, body, worker, lease_until)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (study_id, number) DO UPDATE SET revision = $3, body = $4, worker = $5, lease_until = $6";
        let values = params![self.id, number as u64, revision, tables::body(trial)?, &self.worker, lease];
        tx.execute(sql, values).await.map(drop)
    }

    /// Brings the study in memory to `revision`, which the database holds.
    async fn sync(&mut self, tx: &mut dyn Transaction, revision: i64) -> Result<()> {
        if revision == self.revision && !self.dirty {
            return Ok(());
        }
        let known = if self.dirty { 0 } else { self.revision };
        let sql = "SELECT number, body FROM mlops_study_trial
            WHERE study_id = $1 AND revision > $2 ORDER BY number";
        let rows = tx.query(sql, params![self.id, known]).await?;
        let mut trials = rows.iter().map(tables::trial).collect::<Result<Vec<Trial>>>()?;
        let sql = "SELECT number, step, value FROM mlops_study_report
            WHERE study_id = $1 AND revision > $2 ORDER BY number, step";
        let mut reports = Vec::new();
        for row in tx.query(sql, params![self.id, known]).await? {
            reports.push((row.get::<u64>("number")? as usize, row.get::<u64>("step")?, row.get::<f64>("value")?));
        }
        if self.dirty {
            self.study = self.empty.clone();
        }
        self.dirty = true;
        self.study.merge(&mut trials, &reports)?;
        self.revision = revision;
        self.dirty = false;
        Ok(())
    }
}

/// Finds the study's row or makes it.
async fn enroll(store: &dyn MetaStore, empty: &Study, spec: &str) -> Result<i64> {
    let mut tx = store.begin().await?;
    let sql = "INSERT INTO mlops_study (name, spec, revision) VALUES ($1, $2, 0) ON CONFLICT (name) DO NOTHING";
    tx.execute(sql, params![empty.name(), spec]).await?;
    let row = tx.query_one("SELECT id, spec FROM mlops_study WHERE name = $1", params![empty.name()]).await?;
    let stored: Study = tables::parse(&row.get::<String>("spec")?, "study")?;
    if stored != *empty {
        return Err(Error::failed_precondition(format!(
            "study {:?} exists with another space, sampler, pruner, direction or seed",
            empty.name()
        )));
    }
    let id = row.get("id")?;
    tx.commit().await?;
    Ok(id)
}

/// What one transaction does.
#[derive(Clone)]
enum Change {
    Ask,
    Enqueue(Params),
    Report(usize, u64, f64),
    Note(usize, String, Value),
    Tell(usize, Outcome),
}

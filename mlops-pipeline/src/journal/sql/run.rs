//! Runs and tasks as rows.

use async_trait::async_trait;
use mlops_core::{Error, Result, Timestamp};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, params};

use super::{SqlJournal, from_json, parse_word, read_all, to_json, with_retry, word};
use crate::journal::{
    Claim, Journal, LEASE_OWNER, Lease, OpenedRun, RunFilter, RunRecord, RunSpec, RunState, TaskRecord, TaskState,
};

const RUN: &str = "SELECT * FROM pipeline_run WHERE run_key = $1";
const TASKS: &str = "SELECT * FROM pipeline_task WHERE run_key = $1 ORDER BY position";

fn read_run(row: &Row) -> Result<RunRecord> {
    Ok(RunRecord {
        key: row.get("run_key")?,
        dag: row.get("dag")?,
        graph: row.get::<String>("graph")?.parse()?,
        params: from_json(&row.get::<String>("params")?)?,
        state: parse_word(row.get("state")?)?,
        owner: row.get("owner")?,
        lease_until: row.get("lease_until")?,
        created_at: row.get("created_at")?,
        ended_at: row.get("ended_at")?,
    })
}

fn read_task(row: &Row) -> Result<TaskRecord> {
    let output: Option<String> = row.get("output")?;
    Ok(TaskRecord {
        task: row.get("task")?,
        state: parse_word(row.get("state")?)?,
        attempt: row.get("attempt")?,
        failures: row.get("failures")?,
        interruptions: row.get("interruptions")?,
        not_before: row.get("not_before")?,
        started_at: row.get("started_at")?,
        ended_at: row.get("ended_at")?,
        output: output.as_deref().map(from_json).transpose()?,
        error: row.get("error")?,
    })
}

fn lost(lease: &Lease) -> Error {
    let message = format!("the lease of run {:?} was lost; another process has taken it over", lease.run_key);
    Error::conflict(message).with("run", &lease.run_key)
}

/// The claimant may have the run now.
fn check_free(row: &Row, run: &RunRecord, claim: &Claim) -> Result<()> {
    let held =
        run.owner.as_ref().zip(run.lease_until).filter(|(owner, until)| **owner != claim.owner && *until > claim.now);
    match held {
        Some((owner, until)) if run.state == RunState::Running => Err(Error::conflict(format!(
            "run {:?} is held by {owner:?} until {until} (epoch {})",
            run.key,
            row.get::<i64>("epoch")?
        ))
        .with(LEASE_OWNER, owner)),
        _ => Ok(()),
    }
}

/// The run is the one that the caller means.
fn check_same(run: &RunRecord, spec: &RunSpec) -> Result<()> {
    if run.dag != spec.dag {
        return Err(Error::already_exists(format!(
            "run {:?} belongs to the DAG {:?}, not {:?}",
            run.key, run.dag, spec.dag
        )));
    }
    if run.params != spec.params {
        return Err(Error::already_exists(format!(
            "run {:?} was begun with other parameters; choose another key",
            run.key
        )));
    }
    if run.graph != spec.graph && !run.state.is_final() {
        return Err(Error::failed_precondition(format!(
            "the DAG {:?} has changed its shape since run {:?} was begun; finish it with the old program or choose another key",
            run.dag, run.key
        )));
    }
    Ok(())
}

async fn begin_run(tx: &mut dyn Transaction, spec: &RunSpec, claim: &Claim) -> Result<()> {
    let sql = "INSERT INTO pipeline_run (run_key, dag, graph, params, state, owner, lease_until, epoch, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8)";
    let until = claim.now + claim.ttl;
    let values = params![
        &spec.key,
        &spec.dag,
        spec.graph.to_string(),
        to_json(&spec.params)?,
        word(&RunState::Running)?,
        &claim.owner,
        until,
        claim.now
    ];
    tx.execute(sql, values).await?;
    for (position, task) in spec.tasks.iter().enumerate() {
        let sql = "INSERT INTO pipeline_task (run_key, position, task, state, attempt, failures, interruptions)
            VALUES ($1, $2, $3, $4, 0, 0, 0)";
        tx.execute(sql, params![&spec.key, position as u64, task, word(&TaskState::Pending)?]).await?;
    }
    Ok(())
}

async fn take_over(tx: &mut dyn Transaction, key: &str, claim: &Claim) -> Result<()> {
    let sql = "UPDATE pipeline_run SET state = $1, owner = $2, lease_until = $3, epoch = epoch + 1, ended_at = NULL
        WHERE run_key = $4";
    let until = claim.now + claim.ttl;
    tx.execute(sql, params![word(&RunState::Running)?, &claim.owner, until, key]).await?;
    let sql =
        "UPDATE pipeline_task SET state = $1, interruptions = interruptions + 1 WHERE run_key = $2 AND state = $3";
    tx.execute(sql, params![word(&TaskState::Pending)?, key, word(&TaskState::Running)?]).await?;
    Ok(())
}

/// Fails unless the lease is still the latest; also locks the run against others until the end.
async fn fence(tx: &mut dyn Transaction, lease: &Lease) -> Result<()> {
    let sql = "UPDATE pipeline_run SET epoch = epoch WHERE run_key = $1 AND epoch = $2 AND owner = $3 AND state = $4";
    let values = params![&lease.run_key, lease.epoch, &lease.owner, word(&RunState::Running)?];
    if tx.execute(sql, values).await? == 0 { Err(lost(lease)) } else { Ok(()) }
}

async fn write_task(tx: &mut dyn Transaction, run_key: &str, task: &TaskRecord) -> Result<()> {
    let sql = "UPDATE pipeline_task SET state = $1, attempt = $2, failures = $3, interruptions = $4, not_before = $5,
        started_at = $6, ended_at = $7, output = $8, error = $9 WHERE run_key = $10 AND task = $11";
    let values = params![
        word(&task.state)?,
        task.attempt,
        task.failures,
        task.interruptions,
        task.not_before,
        task.started_at,
        task.ended_at,
        task.output.as_ref().map(to_json).transpose()?,
        task.error.clone(),
        run_key,
        &task.task
    ];
    if tx.execute(sql, values).await? == 0 {
        return Err(Error::not_found(format!("run {run_key:?} has no task {:?}", task.task)));
    }
    Ok(())
}

impl SqlJournal {
    async fn try_open(&self, spec: &RunSpec, claim: &Claim) -> Result<OpenedRun> {
        let mut tx = self.meta.begin().await?;
        if let Some(row) = tx.query_opt(RUN, params![&spec.key]).await? {
            let run = read_run(&row)?;
            check_same(&run, spec)?;
            if run.state.is_final() {
                let tasks = read_all(&tx.query(TASKS, params![&spec.key]).await?, read_task)?;
                return Ok(OpenedRun { run, tasks, lease: None });
            }
            check_free(&row, &run, claim)?;
            take_over(tx.as_mut(), &spec.key, claim).await?;
        } else {
            begin_run(tx.as_mut(), spec, claim).await?;
        }
        let row = tx.query_one(RUN, params![&spec.key]).await?;
        let (run, epoch) = (read_run(&row)?, row.get("epoch")?);
        let tasks = read_all(&tx.query(TASKS, params![&spec.key]).await?, read_task)?;
        tx.commit().await?;
        let lease =
            Lease { run_key: spec.key.clone(), owner: claim.owner.clone(), epoch, until: claim.now + claim.ttl };
        Ok(OpenedRun { run, tasks, lease: Some(lease) })
    }

    async fn try_record(&self, lease: &Lease, tasks: &[TaskRecord]) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        fence(tx.as_mut(), lease).await?;
        for task in tasks {
            write_task(tx.as_mut(), &lease.run_key, task).await?;
        }
        tx.commit().await
    }

    async fn try_close(&self, lease: &Lease, state: RunState, at: Timestamp) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        fence(tx.as_mut(), lease).await?;
        let sql =
            "UPDATE pipeline_run SET state = $1, owner = NULL, lease_until = NULL, ended_at = $2 WHERE run_key = $3";
        tx.execute(sql, params![word(&state)?, at, &lease.run_key]).await?;
        tx.commit().await
    }

    async fn try_renew(&self, lease: &Lease, until: Timestamp) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        fence(tx.as_mut(), lease).await?;
        let sql = "UPDATE pipeline_run SET lease_until = $1 WHERE run_key = $2";
        tx.execute(sql, params![until, &lease.run_key]).await?;
        tx.commit().await
    }
}

#[async_trait]
impl Journal for SqlJournal {
    async fn open(&self, spec: &RunSpec, claim: &Claim) -> Result<OpenedRun> {
        with_retry(|| self.try_open(spec, claim)).await
    }

    async fn renew(&self, lease: &Lease, until: Timestamp) -> Result<()> {
        with_retry(|| self.try_renew(lease, until)).await
    }

    async fn record(&self, lease: &Lease, tasks: &[TaskRecord]) -> Result<()> {
        with_retry(|| self.try_record(lease, tasks)).await
    }

    async fn close(&self, lease: &Lease, state: RunState, at: Timestamp) -> Result<()> {
        with_retry(|| self.try_close(lease, state, at)).await
    }

    async fn run(&self, key: &str) -> Result<RunRecord> {
        let row = self.meta.query_opt(RUN, params![key]).await?;
        read_run(&row.ok_or_else(|| Error::not_found(format!("the journal has no run {key:?}")))?)
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>> {
        let state = filter.state.map(|state| word(&state)).transpose()?;
        let sql = "SELECT * FROM pipeline_run WHERE ($1 = '' OR dag = $1) AND ($2 = '' OR state = $2) ORDER BY seq DESC LIMIT $3";
        let values = params![filter.dag.clone().unwrap_or_default(), state.unwrap_or_default(), filter.limit];
        read_all(&self.meta.query(sql, values).await?, read_run)
    }

    async fn tasks(&self, run_key: &str) -> Result<Vec<TaskRecord>> {
        read_all(&self.meta.query(TASKS, params![run_key]).await?, read_task)
    }
}

//! Runs as rows.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Error, Result, RunId, RunStatus, Timestamp};
use mlops_store::{Dialect, MetaStoreExt as _, Row, Transaction, TransactionExt as _, Value, Work, params};

use super::{
    SqlTrackingStore,
    experiment::require_active_experiment,
    log::{set_tags, write_tags},
};
use crate::{
    bound::listing,
    id_source::{run_id, run_name},
    limits::run_tag_value,
    retry::on_conflict,
    search::SearchColumns,
    tracking::{
        RUN_NAME_TAG,
        record::{CreateRun, ExperimentId, RunHome, RunRecord, RunUpdate, check_start, status_name},
    },
};

/// By what the tables know a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunNumber {
    pub(super) seq: i64,
    pub(super) experiment: i64,
    pub(super) deleted: bool,
}

impl RunNumber {
    pub(super) async fn of(tx: &mut dyn Transaction, id: &str) -> Result<Option<Self>> {
        let sql = "SELECT seq, experiment, deleted FROM tracking_run WHERE id = $1";
        tx.query_opt(sql, params![id]).await?.map(|row| Self::read(&row)).transpose()
    }

    fn read(row: &Row) -> Result<Self> {
        Ok(Self { seq: row.get("seq")?, experiment: row.get("experiment")?, deleted: row.get("deleted")? })
    }

    /// The same of a run that is not deleted and is about to be changed.
    pub(super) async fn active(tx: &mut dyn Transaction, id: &RunId) -> Result<Self> {
        let run = match tx.dialect() {
            Dialect::Sqlite => {
                let sql =
                    "UPDATE tracking_run SET revision = revision + 1 WHERE id = $1 RETURNING seq, experiment, deleted";
                tx.query_opt(sql, params![id.as_str()]).await?.map(|row| Self::read(&row)).transpose()?
            }
            // Nothing is kept of its runs, and transactions that only add to a run need not wait for each other.
            Dialect::Postgres => Self::of(tx, id.as_str()).await?,
        };
        let run = run.ok_or_else(|| unknown_run(id))?;
        if run.deleted {
            return Err(Error::failed_precondition(format!(
                "The run {id} must be in the 'active' state; it is deleted, restore it first"
            )));
        }
        Ok(run)
    }
}

/// A run that begins.
struct InsertRun {
    id: RunId,
    name: String,
    started: Timestamp,
    run: CreateRun,
}

#[async_trait]
impl Work for InsertRun {
    type Output = RunRecord;

    async fn run(&self, tx: &mut dyn Transaction) -> Result<RunRecord> {
        let Self { id, name, started, run } = self;
        let experiment = require_active_experiment(tx, run.experiment).await?;
        let artifact_uri = format!("{}/{id}/artifacts", experiment.get::<String>("artifact_location")?);
        let status = RunStatus::Running;
        let sql =
            "INSERT INTO tracking_run (id, experiment, name, user_name, status, started, ended, artifact_uri, deleted)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) RETURNING seq";
        let values = params![
            id.as_str(),
            run.experiment.0,
            name,
            &run.user,
            status_name(status),
            *started,
            None::<Timestamp>,
            &artifact_uri
        ];
        let seq = tx.query_one(sql, values).await?.get("seq")?;
        let mut tags: BTreeMap<String, String> =
            run.tags.iter().map(|(key, value)| (key.clone(), run_tag_value(value).to_owned())).collect();
        tags.insert(RUN_NAME_TAG.to_owned(), name.clone());
        write_tags(tx, seq, tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))).await?;
        Ok(RunRecord {
            id: id.clone(),
            experiment: run.experiment,
            name: name.clone(),
            user: run.user.clone(),
            status,
            started: *started,
            ended: None,
            artifact_uri,
            deleted: false,
            params: BTreeMap::new(),
            metrics: BTreeMap::new(),
            tags,
            datasets: Vec::new(),
        })
    }
}

impl SqlTrackingStore {
    /// A transaction on an active run.
    pub(super) async fn begin_run(&self, id: &RunId) -> Result<(Box<dyn Transaction>, RunNumber)> {
        let mut tx = self.meta.begin().await?;
        let run = RunNumber::active(tx.as_mut(), id).await?;
        Ok((tx, run))
    }

    pub(super) async fn mark_run(&self, id: &RunId, deleted: bool) -> Result<()> {
        let sql = "UPDATE tracking_run SET deleted = $1, revision = revision + 1 WHERE id = $2";
        let changed = on_conflict!(self.meta.execute(sql, params![deleted, id.as_str()]))?;
        if changed == 0 { Err(unknown_run(id)) } else { Ok(()) }
    }

    pub(super) async fn insert_run(&self, run: CreateRun) -> Result<RunRecord> {
        check_start(run.name.as_deref().unwrap_or_default(), &run.tags)?;
        let id = run_id(self.ids()?)?;
        let given = run.name.clone().filter(|name| !name.is_empty()).or_else(|| run.tags.get(RUN_NAME_TAG).cloned());
        let name = match given {
            Some(name) => name,
            None => run_name(self.ids()?),
        };
        let name = run_tag_value(&name).to_owned();
        let started = run.started.unwrap_or_else(|| self.now());
        let work = Arc::new(InsertRun { id, name, started, run });
        on_conflict!(self.meta.carry_out(&work))
    }

    pub(super) async fn run_of(&self, id: &RunId) -> Result<RunRecord> {
        let found = self.records_where("r.id", &[Value::from(id.as_str())], &SearchColumns::default()).await?;
        found.into_iter().next().map(|(_, run)| run).ok_or_else(|| unknown_run(id))
    }

    pub(super) async fn homes_of(&self, ids: &[RunId]) -> Result<Vec<RunHome>> {
        let ids: Vec<Value> = ids.iter().map(|id| Value::from(id.as_str())).collect();
        let mut found = Vec::new();
        let sql = "SELECT id, experiment, artifact_uri FROM tracking_run WHERE id IN ({list})";
        for (sql, values) in listing(sql, &[], &ids) {
            for row in self.meta.query(&sql, &values).await? {
                found.push(RunHome {
                    id: row.get::<String>("id")?.parse()?,
                    experiment: ExperimentId(row.get("experiment")?),
                    artifact_uri: row.get("artifact_uri")?,
                });
            }
        }
        Ok(found)
    }

    pub(super) async fn change_fields(&self, id: &RunId, update: RunUpdate) -> Result<RunRecord> {
        on_conflict!(async {
            let (mut tx, run) = self.begin_run(id).await?;
            if let Some(status) = update.status {
                let sql = "UPDATE tracking_run SET status = $1 WHERE seq = $2";
                tx.execute(sql, params![status_name(status), run.seq]).await?;
            }
            if let Some(ended) = update.ended {
                tx.execute("UPDATE tracking_run SET ended = $1 WHERE seq = $2", params![ended, run.seq]).await?;
            }
            if let Some(name) = update.name.as_ref().filter(|name| !name.is_empty()) {
                set_tags(tx.as_mut(), run.seq, &[(RUN_NAME_TAG.to_owned(), name.clone())]).await?;
            }
            tx.commit().await
        })?;
        self.run_of(id).await
    }
}

fn unknown_run(id: &RunId) -> Error {
    Error::not_found(format!("Run with id={id} not found")).with("run_id", id)
}

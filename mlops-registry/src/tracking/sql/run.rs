//! Runs as rows.

use std::collections::{BTreeMap, HashMap};

use mlops_core::{Error, Result, RunId, RunStatus, Timestamp};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, Value, params};

use super::{
    SqlTrackingStore, execute_all,
    experiment::require_active_experiment,
    log::{read_metric, set_tag},
};
use crate::{
    id_source::{run_id, run_name},
    limits::check_key,
    retry::{Statement, on_conflict},
    search::{Filter, OrderKey, Page, Search, compare_by, cut},
    tracking::{
        RUN_NAME_TAG,
        record::{CreateRun, DatasetInput, ExperimentId, RunRecord, RunUpdate, parse_status, status_name},
    },
};

/// How many runs are read by one query of each table.
const ROWS_AT_ONCE: usize = 500;
/// Most experiments in one search: SQLite takes 32,766 values in a statement.
const EXPERIMENTS_MAX: usize = 30_000;

impl SqlTrackingStore {
    /// The runs of these rows, in their order, with a handful of queries however many they are.
    async fn read_runs(&self, rows: &[Row]) -> Result<Vec<RunRecord>> {
        let mut runs = Vec::with_capacity(rows.len());
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let begin = runs.len();
            for row in rows {
                runs.push(bare_run(row)?);
            }
            let chunk = runs.get_mut(begin..).unwrap_or_default();
            let ids: Vec<Value> = chunk.iter().map(|run| Value::from(run.id.as_str())).collect();
            let mut of: HashMap<String, &mut RunRecord> =
                chunk.iter_mut().map(|run| (run.id.as_str().to_owned(), run)).collect();
            let among = places(ids.len());
            let query = async |columns: &str| {
                self.meta.query(&format!("SELECT run_id, {columns} WHERE run_id IN ({among})"), &ids).await
            };
            for row in query("key, value FROM tracking_param").await? {
                if let Some(run) = of.get_mut(&row.get::<String>("run_id")?) {
                    run.params.insert(row.get("key")?, row.get("value")?);
                }
            }
            for row in query("key, value FROM tracking_tag").await? {
                if let Some(run) = of.get_mut(&row.get::<String>("run_id")?) {
                    run.tags.insert(row.get("key")?, row.get("value")?);
                }
            }
            for row in query("key, at, step, bits FROM tracking_latest").await? {
                if let Some(run) = of.get_mut(&row.get::<String>("run_id")?) {
                    let metric = read_metric(&row)?;
                    run.metrics.insert(metric.key.clone(), metric);
                }
            }
            for row in query("input FROM tracking_input").await? {
                if let Some(run) = of.get_mut(&row.get::<String>("run_id")?) {
                    let input: DatasetInput = serde_json::from_str(&row.get::<String>("input")?)
                        .map_err(|error| Error::data_loss("a stored dataset cannot be read").with_source(error))?;
                    run.datasets.push(input);
                }
            }
            for run in chunk {
                run.datasets
                    .sort_by(|a, b| (&a.dataset.name, &a.dataset.digest).cmp(&(&b.dataset.name, &b.dataset.digest)));
            }
        }
        Ok(runs)
    }

    /// Runs statements on an active run, and says how many rows they changed.
    pub(super) async fn change_run(&self, id: &RunId, statements: &[Statement]) -> Result<u64> {
        on_conflict!(async {
            let mut tx = self.begin_run(id).await?;
            let changed = execute_all(tx.as_mut(), statements).await?;
            tx.commit().await?;
            Ok(changed)
        })
    }

    /// A transaction on an active run.
    pub(super) async fn begin_run(&self, id: &RunId) -> Result<Box<dyn Transaction>> {
        let mut tx = self.meta.begin().await?;
        let row = tx.query_opt("SELECT deleted FROM tracking_run WHERE id = $1", params![id.as_str()]).await?;
        if row.ok_or_else(|| unknown_run(id))?.get("deleted")? {
            return Err(Error::failed_precondition(format!(
                "The run {id} must be in the 'active' state; it is deleted, restore it first"
            )));
        }
        Ok(tx)
    }

    pub(super) async fn mark_run(&self, id: &RunId, deleted: bool) -> Result<()> {
        let sql = "UPDATE tracking_run SET deleted = $1 WHERE id = $2";
        let changed = on_conflict!(self.meta.execute(sql, params![deleted, id.as_str()]))?;
        if changed == 0 { Err(unknown_run(id)) } else { Ok(()) }
    }

    pub(super) async fn insert_run(&self, run: CreateRun) -> Result<RunRecord> {
        let tagged = run.tags.get(RUN_NAME_TAG);
        if run.name.as_ref().zip(tagged).is_some_and(|(name, tag)| !name.is_empty() && name != tag) {
            return Err(Error::invalid_argument(
                "run name and the tag mlflow.runName are both given and differ; give one",
            ));
        }
        run.tags.keys().try_for_each(|key| check_key("tag name", key))?;
        let id = run_id(self.ids()?)?;
        let given = run.name.clone().filter(|name| !name.is_empty()).or_else(|| tagged.cloned());
        let name = match given {
            Some(name) => name,
            None => run_name(self.ids()?),
        };
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let experiment = require_active_experiment(tx.as_mut(), run.experiment).await?;
            let uri = format!("{}/{id}/artifacts", experiment.get::<String>("artifact_location")?);
            let sql = "INSERT INTO tracking_run (id, experiment, name, user_name, status, started, ended, artifact_uri, deleted)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)";
            let started = run.started.unwrap_or_else(|| self.now());
            let status = status_name(RunStatus::Running);
            let values =
                params![id.as_str(), run.experiment.0, &name, &run.user, status, started, None::<Timestamp>, uri];
            tx.execute(sql, values).await?;
            for (key, value) in &run.tags {
                execute_all(tx.as_mut(), &set_tag(&id, key, value)).await?;
            }
            execute_all(tx.as_mut(), &set_tag(&id, RUN_NAME_TAG, &name)).await?;
            tx.commit().await
        })?;
        self.run_of(&id).await
    }

    pub(super) async fn run_of(&self, id: &RunId) -> Result<RunRecord> {
        let row = self.meta.query_opt("SELECT * FROM tracking_run WHERE id = $1", params![id.as_str()]).await?;
        let found = self.read_runs(&[row.ok_or_else(|| unknown_run(id))?]).await?;
        found.into_iter().next().ok_or_else(|| unknown_run(id))
    }

    pub(super) async fn find_runs(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<RunRecord>> {
        let (filter, order) =
            (Filter::parse::<RunRecord>(&search.filter)?, OrderKey::parse_all::<RunRecord>(&search.order_by)?);
        if experiments.len() > EXPERIMENTS_MAX {
            return Err(Error::invalid_argument(format!(
                "a search can name at most {EXPERIMENTS_MAX} experiments, found {}",
                experiments.len()
            )));
        }
        let mut found = Vec::new();
        if !experiments.is_empty() {
            let sql = format!(
                "SELECT * FROM tracking_run WHERE experiment IN ({}) ORDER BY started DESC, id",
                places(experiments.len())
            );
            let values: Vec<Value> = experiments.iter().map(|id| Value::from(id.0)).collect();
            let mut rows = Vec::new();
            for row in self.meta.query(&sql, &values).await? {
                if search.view.admits(row.get("deleted")?) {
                    rows.push(row);
                }
            }
            // A chunk at a time, so that memory holds what matches and not everything there is.
            for rows in rows.chunks(ROWS_AT_ONCE) {
                found.extend(self.read_runs(rows).await?.into_iter().filter(|run| filter.admits(run)));
            }
        }
        found.sort_by(|a, b| compare_by(&order, a, b));
        let of = format!("runs {experiments:?} {} {:?} {:?}", search.filter, search.order_by, search.view);
        cut(found, &search.page, &of)
    }

    pub(super) async fn change_fields(&self, id: &RunId, update: RunUpdate) -> Result<RunRecord> {
        let mut change: Vec<Statement> = Vec::new();
        if let Some(status) = update.status {
            let sql = "UPDATE tracking_run SET status = $1 WHERE id = $2";
            change.push((sql.to_owned(), params![status_name(status), id.as_str()].to_vec()));
        }
        if let Some(ended) = update.ended {
            let sql = "UPDATE tracking_run SET ended = $1 WHERE id = $2";
            change.push((sql.to_owned(), params![ended, id.as_str()].to_vec()));
        }
        if let Some(name) = update.name.as_ref().filter(|name| !name.is_empty()) {
            change.extend(set_tag(id, RUN_NAME_TAG, name));
        }
        self.change_run(id, &change).await?;
        self.run_of(id).await
    }
}

/// The columns of a run, without what it logged.
fn bare_run(row: &Row) -> Result<RunRecord> {
    Ok(RunRecord {
        id: row.get::<String>("id")?.parse()?,
        experiment: ExperimentId(row.get("experiment")?),
        name: row.get("name")?,
        user: row.get("user_name")?,
        status: parse_status(&row.get::<String>("status")?)?,
        started: row.get("started")?,
        ended: row.get("ended")?,
        artifact_uri: row.get("artifact_uri")?,
        deleted: row.get("deleted")?,
        params: BTreeMap::new(),
        metrics: BTreeMap::new(),
        tags: BTreeMap::new(),
        datasets: Vec::new(),
    })
}

/// `$1, $2, ...` for that many values.
fn places(count: usize) -> String {
    (1..=count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}

fn unknown_run(id: &RunId) -> Error {
    Error::not_found(format!("Run with id={id} not found")).with("run_id", id)
}

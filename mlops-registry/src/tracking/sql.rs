//! Tracking in the metadata database.
//!
//! Invariant: a batch of metrics, params and tags is one transaction. Metric values are kept as their 64 bits, so NaN
//! and infinities come back as they were.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Clock, Error, Metric, Result, RunId, RunStatus, SystemClock, Timestamp};
use mlops_store::{
    MetaStore, MetaStoreExt as _, Migration, Migrations, Row, Transaction, TransactionExt as _, Value, params,
};

use super::{
    RUN_NAME_TAG,
    record::{
        Batch, CreateExperiment, CreateRun, DatasetInput, Experiment, ExperimentId, RunRecord, RunUpdate, parse_status,
        status_name,
    },
    store::TrackingStore,
};
use crate::{
    id_source::{IdSource, RandomIds, run_id, run_name},
    limits::{
        BATCH_DATASETS_MAX, BATCH_ITEMS_MAX, BATCH_METRICS_MAX, BATCH_PARAMS_MAX, BATCH_TAGS_MAX, EXPERIMENT_NAME_MAX,
        EXPERIMENT_TAG_VALUE_MAX, LOCATION_MAX, PARAM_VALUE_MAX, RUN_TAG_VALUE_MAX, check_free_key, check_key,
        check_length, truncated,
    },
    retry::{Statement, on_conflict},
    search::{Fields, Filter, Operand, OrderKey, Page, PageRequest, Search, compare_by, cut},
};

const MIGRATIONS: Migrations = Migrations {
    namespace: "tracking",
    steps: &[Migration {
        version: 1,
        name: "experiments, runs, metrics",
        sql: "CREATE TABLE tracking_experiment (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    artifact_location TEXT NOT NULL,
    deleted BIGINT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL
);
CREATE TABLE tracking_experiment_tag (
    experiment BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (experiment, key)
);
CREATE TABLE tracking_run (
    seq {auto_id},
    id TEXT NOT NULL UNIQUE,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    user_name TEXT NOT NULL,
    status TEXT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT,
    artifact_uri TEXT NOT NULL,
    deleted BIGINT NOT NULL
);
CREATE INDEX tracking_run_by_experiment ON tracking_run (experiment, started);
CREATE TABLE tracking_param (run_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run_id, key));
CREATE TABLE tracking_tag (run_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run_id, key));
CREATE TABLE tracking_metric (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    bits BIGINT NOT NULL,
    PRIMARY KEY (run_id, key, at, step, bits)
);
CREATE TABLE tracking_latest (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    bits BIGINT NOT NULL,
    PRIMARY KEY (run_id, key)
);
CREATE TABLE tracking_input (
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    input TEXT NOT NULL,
    PRIMARY KEY (run_id, name, digest)
);
",
    }],
};

/// A tracking store over a [`MetaStore`].
#[derive(Debug, Clone)]
pub struct SqlTrackingStore {
    meta: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    ids: Option<Arc<dyn IdSource>>,
    artifact_root: String,
}

/// Puts a [`SqlTrackingStore`] together.
#[derive(Debug, Clone)]
#[must_use]
pub struct SqlTrackingStoreBuilder {
    store: SqlTrackingStore,
}

impl SqlTrackingStoreBuilder {
    /// Tells the time. Default: the clock of the operating system.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.store.clock = clock;
        self
    }

    /// Gives run ids. Default: random ones, seeded by the operating system.
    pub fn with_ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.store.ids = Some(ids);
        self
    }

    /// URI below which experiments keep their files unless they say otherwise. Default `mlflow-artifacts:`.
    pub fn with_artifact_root(mut self, uri: impl Into<String>) -> Self {
        self.store.artifact_root = uri.into().trim_end_matches('/').to_owned();
        self
    }

    /// Brings the tables up to date and creates the experiment `Default`, number 0.
    ///
    /// # Errors
    /// `FailedPrecondition` when the tables are of a newer version, `Unavailable` when the database cannot be reached.
    pub async fn build(self) -> Result<SqlTrackingStore> {
        let mut store = self.store;
        if store.ids.is_none() {
            store.ids = Some(Arc::new(RandomIds::from_os()?));
        }
        store.meta.migrate(&MIGRATIONS).await?;
        let sql = "INSERT INTO tracking_experiment VALUES (0, 'Default', $1, 0, $2, $2) ON CONFLICT (id) DO NOTHING";
        let location = format!("{}/0", store.artifact_root);
        on_conflict!(store.meta.execute(sql, params![&location, store.now()]))?;
        Ok(store)
    }
}

impl SqlTrackingStore {
    /// Begins a store with its rows in `meta`.
    pub fn builder(meta: Arc<dyn MetaStore>) -> SqlTrackingStoreBuilder {
        let artifact_root = "mlflow-artifacts:".to_owned();
        SqlTrackingStoreBuilder { store: Self { meta, clock: Arc::new(SystemClock::new()), ids: None, artifact_root } }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now().as_millis())
    }

    fn ids(&self) -> Result<&dyn IdSource> {
        self.ids.as_deref().ok_or_else(|| Error::internal("the store has no source of ids"))
    }

    async fn read_experiment(&self, row: &Row) -> Result<Experiment> {
        let id: u64 = row.get("id")?;
        let sql = "SELECT key, value FROM tracking_experiment_tag WHERE experiment = $1";
        Ok(Experiment {
            id: ExperimentId(id),
            name: row.get("name")?,
            artifact_location: row.get("artifact_location")?,
            deleted: row.get("deleted")?,
            created: row.get("created")?,
            updated: row.get("updated")?,
            tags: pairs(&self.meta.query(sql, params![id]).await?)?,
        })
    }

    async fn read_run(&self, row: &Row) -> Result<RunRecord> {
        let id: String = row.get("id")?;
        let query = async |sql: &str| self.meta.query(sql, params![&id]).await;
        let metrics = query("SELECT key, at, step, bits FROM tracking_latest WHERE run_id = $1").await?;
        let metrics = metrics.iter().map(|row| read_metric(row).map(|metric| (metric.key.clone(), metric)));
        let inputs = query("SELECT input FROM tracking_input WHERE run_id = $1 ORDER BY name, digest").await?;
        let input = |row: &Row| -> Result<DatasetInput> {
            serde_json::from_str(&row.get::<String>("input")?)
                .map_err(|error| Error::data_loss("a stored dataset cannot be read").with_source(error))
        };
        Ok(RunRecord {
            experiment: ExperimentId(row.get("experiment")?),
            name: row.get("name")?,
            user: row.get("user_name")?,
            status: parse_status(&row.get::<String>("status")?)?,
            started: row.get("started")?,
            ended: row.get("ended")?,
            artifact_uri: row.get("artifact_uri")?,
            deleted: row.get("deleted")?,
            params: pairs(&query("SELECT key, value FROM tracking_param WHERE run_id = $1").await?)?,
            metrics: metrics.collect::<Result<_>>()?,
            tags: pairs(&query("SELECT key, value FROM tracking_tag WHERE run_id = $1").await?)?,
            datasets: inputs.iter().map(input).collect::<Result<_>>()?,
            id: id.parse()?,
        })
    }

    /// Marks an experiment and its runs; `from` is what they must be now.
    async fn mark_experiment(&self, id: ExperimentId, deleted: bool) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let sql = "UPDATE tracking_experiment SET deleted = $1, updated = $2 WHERE id = $3 AND deleted <> $1";
            if tx.execute(sql, params![deleted, self.now(), id.0]).await? == 0 {
                let state = if deleted { "active" } else { "deleted" };
                return Err(Error::not_found(format!("No {state} experiment with ID {id} exists")));
            }
            tx.execute("UPDATE tracking_run SET deleted = $1 WHERE experiment = $2", params![deleted, id.0]).await?;
            tx.commit().await
        })
    }

    /// Runs statements on an active experiment, marks it as changed, and says how many rows they changed.
    async fn change_experiment(&self, id: ExperimentId, statements: &[Statement]) -> Result<u64> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            require_active_experiment(tx.as_mut(), id).await?;
            let changed = execute_all(tx.as_mut(), statements).await?;
            tx.execute("UPDATE tracking_experiment SET updated = $1 WHERE id = $2", params![self.now(), id.0]).await?;
            tx.commit().await?;
            Ok(changed)
        })
    }

    /// Runs statements on an active run, and says how many rows they changed.
    async fn change_run(&self, id: &RunId, statements: &[Statement]) -> Result<u64> {
        on_conflict!(async {
            let mut tx = self.begin_run(id).await?;
            let changed = execute_all(tx.as_mut(), statements).await?;
            tx.commit().await?;
            Ok(changed)
        })
    }

    /// A transaction on an active run.
    async fn begin_run(&self, id: &RunId) -> Result<Box<dyn Transaction>> {
        let mut tx = self.meta.begin().await?;
        let row = tx.query_opt("SELECT deleted FROM tracking_run WHERE id = $1", params![id.as_str()]).await?;
        if row.ok_or_else(|| unknown_run(id))?.get("deleted")? {
            return Err(Error::failed_precondition(format!(
                "run {id} is deleted; it must be in the 'active' state; restore it first"
            )));
        }
        Ok(tx)
    }

    async fn mark_run(&self, id: &RunId, deleted: bool) -> Result<()> {
        let sql = "UPDATE tracking_run SET deleted = $1 WHERE id = $2";
        let changed = on_conflict!(self.meta.execute(sql, params![deleted, id.as_str()]))?;
        if changed == 0 { Err(unknown_run(id)) } else { Ok(()) }
    }
}

fn unknown_run(id: &RunId) -> Error {
    Error::not_found(format!("Run with id={id} not found")).with("run_id", id)
}

fn pairs(rows: &[Row]) -> Result<BTreeMap<String, String>> {
    rows.iter().map(|row| Ok((row.get("key")?, row.get("value")?))).collect()
}

fn read_metric(row: &Row) -> Result<Metric> {
    let value = f64::from_bits(row.get::<i64>("bits")?.cast_unsigned());
    Ok(Metric { key: row.get("key")?, value, timestamp: row.get("at")?, step: row.get("step")? })
}

async fn require_active_experiment(tx: &mut dyn Transaction, id: ExperimentId) -> Result<Row> {
    let row = tx.query_opt("SELECT * FROM tracking_experiment WHERE id = $1", params![id.0]).await?;
    let row = row.ok_or_else(|| Error::not_found(format!("No Experiment with id={id} exists")))?;
    if row.get("deleted")? {
        return Err(Error::failed_precondition(format!(
            "experiment {id} is deleted; it must be in the 'active' state"
        )));
    }
    Ok(row)
}

async fn execute_all(tx: &mut dyn Transaction, statements: &[Statement]) -> Result<u64> {
    let mut changed = 0;
    for (sql, values) in statements {
        changed += tx.execute(sql, values).await?;
    }
    Ok(changed)
}

/// The statements that set a tag; the name tag is the run's name as well.
fn set_tag(id: &RunId, key: &str, value: &str) -> Vec<Statement> {
    let sql =
        "INSERT INTO tracking_tag VALUES ($1, $2, $3) ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value";
    let value = truncated(value, RUN_TAG_VALUE_MAX);
    let mut statements = vec![(sql.to_owned(), params![id.as_str(), key, value].to_vec())];
    if key == RUN_NAME_TAG {
        let sql = "UPDATE tracking_run SET name = $1 WHERE id = $2";
        statements.push((sql.to_owned(), params![value, id.as_str()].to_vec()));
    }
    statements
}

async fn set_param(tx: &mut dyn Transaction, id: &RunId, key: &str, value: &str) -> Result<()> {
    let value = truncated(value, PARAM_VALUE_MAX);
    let sql = "SELECT value FROM tracking_param WHERE run_id = $1 AND key = $2";
    match tx.query_opt(sql, params![id.as_str(), key]).await? {
        Some(row) if row.get::<String>("value")? == value => Ok(()),
        Some(_) => Err(Error::invalid_argument(format!(
            "Changing param values is not allowed. Param with key={key:?} was already logged with another value for run ID={id}"
        ))),
        None => tx
            .execute("INSERT INTO tracking_param VALUES ($1, $2, $3)", params![id.as_str(), key, value])
            .await
            .map(drop),
    }
}

async fn add_metric(tx: &mut dyn Transaction, id: &RunId, metric: &Metric) -> Result<()> {
    let bits = metric.value.to_bits().cast_signed();
    let values = params![id.as_str(), &metric.key, metric.timestamp, metric.step, bits];
    let sql =
        "INSERT INTO tracking_metric VALUES ($1, $2, $3, $4, $5) ON CONFLICT (run_id, key, at, step, bits) DO NOTHING";
    tx.execute(sql, values).await?;
    let sql = "SELECT key, at, step, bits FROM tracking_latest WHERE run_id = $1 AND key = $2";
    let latest =
        tx.query_opt(sql, params![id.as_str(), &metric.key]).await?.map(|row| read_metric(&row)).transpose()?;
    if latest.is_some_and(|latest| rank(&latest) > rank(metric)) {
        return Ok(());
    }
    let sql = "INSERT INTO tracking_latest VALUES ($1, $2, $3, $4, $5) ON CONFLICT (run_id, key)
        DO UPDATE SET at = excluded.at, step = excluded.step, bits = excluded.bits";
    tx.execute(sql, values).await.map(drop)
}

/// Later points win: by step, then time, then value, where NaN counts as zero.
fn rank(metric: &Metric) -> (i64, Timestamp, i64) {
    let value = if metric.value.is_nan() { 0.0 } else { metric.value };
    let bits = value.to_bits().cast_signed();
    // The usual mapping of doubles to integers of the same order.
    (metric.step, metric.timestamp, bits ^ (((bits >> 63).cast_unsigned() >> 1).cast_signed()))
}

fn check_batch(batch: &Batch) -> Result<()> {
    let sizes = [
        ("metrics", batch.metrics.len(), BATCH_METRICS_MAX),
        ("params", batch.params.len(), BATCH_PARAMS_MAX),
        ("tags", batch.tags.len(), BATCH_TAGS_MAX),
        ("items", batch.metrics.len() + batch.params.len() + batch.tags.len(), BATCH_ITEMS_MAX),
    ];
    if let Some((what, size, max)) = sizes.into_iter().find(|(_, size, max)| size > max) {
        return Err(Error::invalid_argument(format!("a batch can have at most {max} {what}, found {size}")));
    }
    for metric in &batch.metrics {
        check_key("metric name", &metric.key)?;
        if metric.timestamp < Timestamp::default() {
            return Err(Error::invalid_argument(format!("timestamp of metric {:?} is negative", metric.key)));
        }
    }
    let mut seen = std::collections::HashSet::new();
    for (key, _) in &batch.params {
        check_key("param name", key)?;
        if !seen.insert(key) {
            return Err(Error::invalid_argument(format!("Duplicate parameter keys have been submitted: {key:?}")));
        }
    }
    batch.tags.iter().try_for_each(|(key, _)| check_key("tag name", key))
}

impl Fields for RunRecord {
    const GROUPS: &'static [(&'static str, &'static str)] = &[
        ("metrics", "metric"),
        ("params", "param"),
        ("parameters", "parameter"),
        ("tags", "tag"),
        ("datasets", "dataset"),
    ];
    const ATTRIBUTES: &'static [(&'static str, bool)] = &[
        ("run_id", false),
        ("run_name", false),
        ("run name", false),
        ("Run name", false),
        ("Run Name", false),
        ("user_id", false),
        ("status", false),
        ("artifact_uri", false),
        ("start_time", true),
        ("end_time", true),
        ("created", true),
        ("Created", true),
    ];
    const LISTED: &'static [&'static str] = &["run_id", "datasets"];
    const NULLABLE: &'static [&'static str] = &["params", "parameters", "tags"];

    fn field(&self, group: &str, key: &str) -> Operand {
        let text = |map: &BTreeMap<String, String>| {
            map.get(key).map_or(Operand::Missing, |value| Operand::Text(value.clone()))
        };
        let millis = |time: Timestamp| Operand::Number(time.as_millis() as f64);
        match (group, key) {
            ("metrics", key) => self.metrics.get(key).map_or(Operand::Missing, |metric| Operand::Number(metric.value)),
            ("params" | "parameters", _) => text(&self.params),
            ("tags", _) => text(&self.tags),
            ("datasets", "digest") => {
                Operand::Texts(self.datasets.iter().map(|input| input.dataset.digest.clone()).collect())
            }
            ("datasets", "context") => Operand::Texts(
                self.datasets.iter().filter_map(|input| input.tags.get(super::DATASET_CONTEXT_TAG).cloned()).collect(),
            ),
            ("datasets", _) => Operand::Texts(self.datasets.iter().map(|input| input.dataset.name.clone()).collect()),
            (_, "run_id") => Operand::Text(self.id.to_string()),
            (_, "run_name" | "run name" | "Run name" | "Run Name") => Operand::Text(self.name.clone()),
            (_, "user_id") => Operand::Text(self.user.clone()),
            (_, "status") => Operand::Text(status_name(self.status).to_owned()),
            (_, "artifact_uri") => Operand::Text(self.artifact_uri.clone()),
            (_, "end_time") => self.ended.map_or(Operand::Missing, millis),
            (_, _) => millis(self.started),
        }
    }
}

impl Fields for Experiment {
    const GROUPS: &'static [(&'static str, &'static str)] = &[("tags", "tag")];
    const ATTRIBUTES: &'static [(&'static str, bool)] =
        &[("name", false), ("experiment_id", false), ("creation_time", true), ("last_update_time", true)];
    const LISTED: &'static [&'static str] = &["experiment_id"];
    const NULLABLE: &'static [&'static str] = &["tags"];

    fn field(&self, group: &str, key: &str) -> Operand {
        match (group, key) {
            ("tags", key) => self.tags.get(key).map_or(Operand::Missing, |value| Operand::Text(value.clone())),
            (_, "name") => Operand::Text(self.name.clone()),
            (_, "experiment_id") => Operand::Text(self.id.to_string()),
            (_, "creation_time") => Operand::Number(self.created.as_millis() as f64),
            (_, _) => Operand::Number(self.updated.as_millis() as f64),
        }
    }

    fn rank(&self, group: &str, key: &str) -> Operand {
        match (group, key) {
            // Text to filters, a number in order.
            ("attributes", "experiment_id") => Operand::Number(self.id.0 as f64),
            _ => self.field(group, key),
        }
    }
}

fn taken(name: &str) -> impl Fn(Error) -> Error + '_ {
    move |error| match error.kind() {
        mlops_core::ErrorKind::AlreadyExists => Error::already_exists(format!(
            "Experiment {name:?} already exists; it may be deleted, then restore it or choose another name"
        )),
        _ => error,
    }
}

fn check_experiment_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid_argument("Invalid experiment name: it is empty"));
    }
    check_length("experiment name", name, EXPERIMENT_NAME_MAX)
}

#[async_trait]
impl TrackingStore for SqlTrackingStore {
    async fn create_experiment(&self, name: &str, options: CreateExperiment) -> Result<ExperimentId> {
        check_experiment_name(name)?;
        check_length("artifact location", options.artifact_location.as_deref().unwrap_or_default(), LOCATION_MAX)?;
        for (key, value) in &options.tags {
            check_free_key("tag key", key)?;
            check_length(&format!("value of tag {key:?}"), value, EXPERIMENT_TAG_VALUE_MAX)?;
        }
        let created = on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let id: u64 = tx.query_one("SELECT MAX(id) + 1 AS id FROM tracking_experiment", &[]).await?.get("id")?;
            let location = options.artifact_location.clone().filter(|location| !location.is_empty());
            let location = location.unwrap_or_else(|| format!("{}/{id}", self.artifact_root));
            let sql = "INSERT INTO tracking_experiment VALUES ($1, $2, $3, 0, $4, $4)";
            tx.execute(sql, params![id, name, location, self.now()]).await?;
            for (key, value) in &options.tags {
                tx.execute("INSERT INTO tracking_experiment_tag VALUES ($1, $2, $3)", params![id, key, value]).await?;
            }
            tx.commit().await?;
            Ok(ExperimentId(id))
        });
        created.map_err(taken(name))
    }

    async fn experiment(&self, id: ExperimentId) -> Result<Experiment> {
        let row = self.meta.query_opt("SELECT * FROM tracking_experiment WHERE id = $1", params![id.0]).await?;
        self.read_experiment(&row.ok_or_else(|| Error::not_found(format!("No Experiment with id={id} exists")))?).await
    }

    async fn experiment_by_name(&self, name: &str) -> Result<Option<Experiment>> {
        match self.meta.query_opt("SELECT * FROM tracking_experiment WHERE name = $1", params![name]).await? {
            Some(row) => self.read_experiment(&row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn search_experiments(&self, search: &Search) -> Result<Page<Experiment>> {
        let (filter, order) =
            (Filter::parse::<Experiment>(&search.filter)?, OrderKey::parse_all::<Experiment>(&search.order_by)?);
        let base = if order.is_empty() { "created DESC, id" } else { "id DESC" };
        let mut found = Vec::new();
        for row in self.meta.query(&format!("SELECT * FROM tracking_experiment ORDER BY {base}"), &[]).await? {
            let experiment = self.read_experiment(&row).await?;
            if search.view.admits(experiment.deleted) && filter.admits(&experiment) {
                found.push(experiment);
            }
        }
        found.sort_by(|a, b| compare_by(&order, a, b));
        cut(found, &search.page, &format!("experiments {} {:?} {:?}", search.filter, search.order_by, search.view))
    }

    async fn rename_experiment(&self, id: ExperimentId, name: &str) -> Result<()> {
        check_experiment_name(name)?;
        let sql = "UPDATE tracking_experiment SET name = $1 WHERE id = $2";
        let rename = [(sql.to_owned(), params![name, id.0].to_vec())];
        self.change_experiment(id, &rename).await.map(drop).map_err(taken(name))
    }

    async fn delete_experiment(&self, id: ExperimentId) -> Result<()> {
        self.mark_experiment(id, true).await
    }

    async fn restore_experiment(&self, id: ExperimentId) -> Result<()> {
        self.mark_experiment(id, false).await
    }

    async fn set_experiment_tags(&self, id: ExperimentId, tags: &[(String, String)]) -> Result<()> {
        for (key, value) in tags {
            check_free_key("tag key", key)?;
            check_length(&format!("value of tag {key:?}"), value, EXPERIMENT_TAG_VALUE_MAX)?;
        }
        let sql = "INSERT INTO tracking_experiment_tag VALUES ($1, $2, $3)
            ON CONFLICT (experiment, key) DO UPDATE SET value = excluded.value";
        let set: Vec<Statement> =
            tags.iter().map(|(key, value)| (sql.to_owned(), params![id.0, key, value].to_vec())).collect();
        self.change_experiment(id, &set).await.map(drop)
    }

    async fn delete_experiment_tag(&self, id: ExperimentId, key: &str) -> Result<()> {
        let sql = "DELETE FROM tracking_experiment_tag WHERE experiment = $1 AND key = $2";
        match self.change_experiment(id, &[(sql.to_owned(), params![id.0, key].to_vec())]).await? {
            0 => Err(Error::not_found(format!("No tag with name: {key} in experiment with id {id}"))),
            _ => Ok(()),
        }
    }

    async fn create_run(&self, run: CreateRun) -> Result<RunRecord> {
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
        self.run(&id).await
    }

    async fn run(&self, id: &RunId) -> Result<RunRecord> {
        let row = self.meta.query_opt("SELECT * FROM tracking_run WHERE id = $1", params![id.as_str()]).await?;
        self.read_run(&row.ok_or_else(|| unknown_run(id))?).await
    }

    async fn search_runs(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<RunRecord>> {
        let (filter, order) =
            (Filter::parse::<RunRecord>(&search.filter)?, OrderKey::parse_all::<RunRecord>(&search.order_by)?);
        let mut found = Vec::new();
        if !experiments.is_empty() {
            let places: Vec<String> = (1..=experiments.len()).map(|place| format!("${place}")).collect();
            let sql = format!(
                "SELECT * FROM tracking_run WHERE experiment IN ({}) ORDER BY started DESC, id",
                places.join(", ")
            );
            let values: Vec<Value> = experiments.iter().map(|id| Value::from(id.0)).collect();
            for row in self.meta.query(&sql, &values).await? {
                if !search.view.admits(row.get("deleted")?) {
                    continue;
                }
                let run = self.read_run(&row).await?;
                if filter.admits(&run) {
                    found.push(run);
                }
            }
        }
        found.sort_by(|a, b| compare_by(&order, a, b));
        let of = format!("runs {experiments:?} {} {:?} {:?}", search.filter, search.order_by, search.view);
        cut(found, &search.page, &of)
    }

    async fn update_run(&self, id: &RunId, update: RunUpdate) -> Result<RunRecord> {
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
        self.run(id).await
    }

    async fn delete_run(&self, id: &RunId) -> Result<()> {
        self.mark_run(id, true).await
    }

    async fn restore_run(&self, id: &RunId) -> Result<()> {
        self.mark_run(id, false).await
    }

    async fn log_batch(&self, id: &RunId, batch: &Batch) -> Result<()> {
        check_batch(batch)?;
        on_conflict!(async {
            let mut tx = self.begin_run(id).await?;
            for (key, value) in &batch.params {
                set_param(tx.as_mut(), id, key, value).await?;
            }
            for metric in &batch.metrics {
                add_metric(tx.as_mut(), id, metric).await?;
            }
            for (key, value) in &batch.tags {
                execute_all(tx.as_mut(), &set_tag(id, key, value)).await?;
            }
            tx.commit().await
        })
    }

    async fn delete_run_tag(&self, id: &RunId, key: &str) -> Result<()> {
        let sql = "DELETE FROM tracking_tag WHERE run_id = $1 AND key = $2";
        match self.change_run(id, &[(sql.to_owned(), params![id.as_str(), key].to_vec())]).await? {
            0 => Err(Error::not_found(format!("No tag with name: {key} in run with id {id}"))),
            _ => Ok(()),
        }
    }

    async fn metric_history(&self, id: &RunId, key: &str, page: &PageRequest) -> Result<Page<Metric>> {
        let sql = "SELECT key, at, step, bits FROM tracking_metric WHERE run_id = $1 AND key = $2 ORDER BY at, step";
        let rows = self.meta.query(sql, params![id.as_str(), key]).await?;
        let mut points = rows.iter().map(read_metric).collect::<Result<Vec<_>>>()?;
        points.sort_by(|a, b| (a.timestamp, a.step).cmp(&(b.timestamp, b.step)).then(a.value.total_cmp(&b.value)));
        cut(points, page, &format!("history {id} {key}"))
    }

    async fn log_inputs(&self, id: &RunId, inputs: &[DatasetInput]) -> Result<()> {
        if inputs.len() > BATCH_DATASETS_MAX {
            return Err(Error::invalid_argument(format!(
                "at most {BATCH_DATASETS_MAX} datasets at once, found {}",
                inputs.len()
            )));
        }
        for input in inputs {
            check_free_key("dataset name", &input.dataset.name)?;
            check_free_key("dataset digest", &input.dataset.digest)?;
        }
        let sql = "INSERT INTO tracking_input VALUES ($1, $2, $3, $4) ON CONFLICT (run_id, name, digest) DO NOTHING";
        let statement = |input: &DatasetInput| -> Result<Statement> {
            let json = serde_json::to_string(input)
                .map_err(|error| Error::internal("dataset is not JSON").with_source(error))?;
            Ok((sql.to_owned(), params![id.as_str(), &input.dataset.name, &input.dataset.digest, json].to_vec()))
        };
        let statements = inputs.iter().map(statement).collect::<Result<Vec<_>>>()?;
        self.change_run(id, &statements).await.map(drop)
    }
}

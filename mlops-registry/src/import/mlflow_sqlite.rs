//! MLflow's SQLite database, read only.
//!
//! Invariant: nothing is written and only columns are named that every schema of MLflow 2 and 3 has. The database may
//! name any place for the files of a run, so they are read below a directory that the caller names and nowhere else;
//! traces and logged models are not read but counted in the report. MLflow keeps an infinity as the largest double; it
//! becomes an infinity again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use mlops_core::{Alias, Error, Metric, ModelName, Result, RunId, Timestamp, Version};
use mlops_store::{MetaStore as _, Row, SqliteMetaStore, SqliteSettings, Value, params};

use super::{
    local,
    report::ImportReport,
    source::{FilePieces, ImportSource, RECORDS_ASKED, SourceFile, check_count},
};
use crate::{
    registry::{ModelVersion, RegisteredModel, STAGE_TAG, VersionSource},
    search::Page,
    tracking::{DatasetInput, Experiment, ExperimentId, LoggedDataset, RunRecord, record::parse_status},
};

const RUNS_PER_PAGE: i64 = 100;
const POINTS_PER_PAGE: i64 = 10_000;

/// A database file that MLflow wrote.
#[derive(Debug, Clone)]
pub struct MlflowSqlite {
    store: SqliteMetaStore,
    name: String,
    artifacts: Option<PathBuf>,
}

impl MlflowSqlite {
    /// Opens the file.
    ///
    /// # Errors
    /// As [`SqliteMetaStore::open_read_only`]; `FailedPrecondition` when the tables are not MLflow's.
    pub async fn open(file: &Path) -> Result<Self> {
        let store = SqliteMetaStore::open_read_only(file, SqliteSettings::default()).await?;
        let sql = "SELECT name FROM sqlite_schema WHERE name IN ('experiments', 'runs', 'metrics', 'latest_metrics')";
        if store.query(sql, &[]).await?.len() != 4 {
            return Err(Error::failed_precondition(format!("{} is no database of MLflow", file.display())));
        }
        let path = file.canonicalize().map_err(|error| local::unreadable(file, error))?;
        Ok(Self { store, name: format!("mlflow-sqlite:{}", path.display()), artifacts: None })
    }

    /// Reads the files of runs that lie below `directory`: by their path, or what the MLflow server keeps there
    /// (`--artifacts-destination`).
    ///
    /// # Errors
    /// `NotFound` or `Unavailable` when it is no directory that can be read.
    pub fn with_artifacts(mut self, directory: &Path) -> Result<Self> {
        self.artifacts = Some(local::root(directory)?);
        Ok(self)
    }

    fn artifact_directory(&self, run: &RunRecord) -> Result<PathBuf, String> {
        match &self.artifacts {
            Some(root) => local::artifact_directory(root, &run.artifact_uri),
            None => Err(format!("its files are at {}; name the directory above them", run.artifact_uri)),
        }
    }

    /// Older schemas lack these tables.
    async fn note_unread(&self, report: &mut ImportReport) -> Result<()> {
        for (table, what) in [("logged_models", "logged models"), ("trace_info", "traces")] {
            let there = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = $1";
            if self.store.query(there, params![table]).await?.is_empty() {
                continue;
            }
            let count = self.store.query(&format!("SELECT COUNT(*) AS count FROM {table}"), &[]).await?;
            let count = count.first().map_or(Ok(0), |row| row.get("count"))?;
            local::note_unread(&self.name, count, what, report);
        }
        Ok(())
    }

    /// All rows, or an error when they are too many.
    async fn records(&self, what: &str, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let rows = self.store.query(&format!("{sql} LIMIT {RECORDS_ASKED}"), params).await?;
        check_count(&self.name, what, rows.len())?;
        Ok(rows)
    }

    async fn pairs(&self, sql: &str, params: &[Value]) -> Result<BTreeMap<String, String>> {
        let rows = self.store.query(sql, params).await?;
        rows.iter().map(|row| Ok((row.get("key")?, row.get::<Option<String>>("value")?.unwrap_or_default()))).collect()
    }

    async fn run(&self, row: &Row, experiment: ExperimentId) -> Result<RunRecord> {
        let id: String = row.get("run_uuid")?;
        let of = params![&id];
        Ok(RunRecord {
            experiment,
            name: text(row, "name")?,
            user: text(row, "user_id")?,
            status: parse_status(&text(row, "status")?)?,
            started: time(row, "start_time")?,
            ended: row.get::<Option<i64>>("end_time")?.map(Timestamp::from_millis),
            artifact_uri: text(row, "artifact_uri")?,
            deleted: text(row, "lifecycle_stage")? == "deleted",
            params: self.pairs("SELECT key, value FROM params WHERE run_uuid = $1", of).await?,
            metrics: BTreeMap::new(),
            tags: self.pairs("SELECT key, value FROM tags WHERE run_uuid = $1", of).await?,
            datasets: self.datasets(&id).await?,
            id: RunId::new(&id)?,
        })
    }

    async fn datasets(&self, run: &str) -> Result<Vec<DatasetInput>> {
        let sql = "SELECT i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema, \
                   d.dataset_profile FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id \
                   WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = $1";
        let mut inputs = Vec::new();
        for row in self.store.query(sql, params![run]).await? {
            let dataset = LoggedDataset {
                name: text(&row, "name")?,
                digest: text(&row, "digest")?,
                source_type: text(&row, "dataset_source_type")?,
                source: text(&row, "dataset_source")?,
                schema: row.get("dataset_schema")?,
                profile: row.get("dataset_profile")?,
            };
            let input = params![row.get::<String>("input_uuid")?].to_vec();
            let tags = self.pairs("SELECT name AS key, value FROM input_tags WHERE input_uuid = $1", &input).await?;
            inputs.push(DatasetInput { dataset, tags });
        }
        Ok(inputs)
    }

    async fn model(&self, row: &Row) -> Result<RegisteredModel> {
        let name: String = row.get("name")?;
        let sql = "SELECT alias, version FROM registered_model_aliases WHERE name = $1";
        let mut aliases = BTreeMap::new();
        for row in self.store.query(sql, params![&name]).await? {
            aliases.insert(Alias::new(row.get::<String>("alias")?)?, Version(row.get("version")?));
        }
        let sql = "SELECT key, value FROM registered_model_tags WHERE name = $1";
        Ok(RegisteredModel {
            description: text(row, "description")?,
            created: time(row, "creation_time")?,
            updated: time(row, "last_updated_time")?,
            last_version: 0,
            tags: self.pairs(sql, params![&name]).await?,
            aliases,
            name: ModelName::new(&name)?,
        })
    }

    async fn version(&self, row: &Row, model: &ModelName) -> Result<ModelVersion> {
        let number: u64 = row.get("version")?;
        let sql = "SELECT key, value FROM model_version_tags WHERE name = $1 AND version = $2";
        let mut tags = self.pairs(sql, params![model.as_str(), number]).await?;
        let stage = text(row, "current_stage")?;
        if !matches!(stage.as_str(), "" | "None") {
            tags.insert(STAGE_TAG.to_owned(), stage);
        }
        Ok(ModelVersion {
            model: model.clone(),
            version: Version(number),
            source: VersionSource::Uri(text(row, "source")?),
            run_id: row.get::<Option<String>>("run_id")?.and_then(|id| RunId::new(id).ok()),
            run_link: text(row, "run_link")?,
            description: text(row, "description")?,
            created_by: text(row, "user_id")?,
            created: time(row, "creation_time")?,
            updated: time(row, "last_updated_time")?,
            tags,
            aliases: Vec::new(),
        })
    }
}

fn text(row: &Row, column: &str) -> Result<String> {
    Ok(row.get::<Option<String>>(column)?.unwrap_or_default())
}

fn time(row: &Row, column: &str) -> Result<Timestamp> {
    Ok(Timestamp::from_millis(row.get::<Option<i64>>(column)?.unwrap_or(0)))
}

/// Keeps what can be read and notes what cannot.
fn keep<T>(outcome: Result<T>, place: String, report: &mut ImportReport) -> Option<T> {
    outcome.map_err(|error| report.skip(place, error.message())).ok()
}

fn point(row: &Row) -> Result<Metric> {
    let value: f64 = row.get("value")?;
    let value = match value {
        _ if row.get::<bool>("is_nan")? => f64::NAN,
        f64::MAX => f64::INFINITY,
        f64::MIN => f64::NEG_INFINITY,
        value => value,
    };
    let timestamp = Timestamp::from_millis(row.get("timestamp")?);
    Ok(Metric { key: row.get("key")?, value, timestamp, step: row.get("step")? })
}

#[async_trait]
impl ImportSource for MlflowSqlite {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn experiments(&self, report: &mut ImportReport) -> Result<Vec<Experiment>> {
        let rows = self.records("experiments", "SELECT * FROM experiments ORDER BY experiment_id", &[]).await?;
        self.note_unread(report).await?;
        let mut all = Vec::new();
        for row in &rows {
            let id: u64 = row.get("experiment_id")?;
            let sql = "SELECT key, value FROM experiment_tags WHERE experiment_id = $1";
            let tags = self.pairs(sql, params![id]).await?;
            let read = || {
                Ok(Experiment {
                    id: ExperimentId(id),
                    name: row.get("name")?,
                    artifact_location: text(row, "artifact_location")?,
                    deleted: text(row, "lifecycle_stage")? == "deleted",
                    created: time(row, "creation_time")?,
                    updated: time(row, "last_update_time")?,
                    tags,
                })
            };
            all.extend(keep(read(), format!("experiments: {id}"), report));
        }
        Ok(all)
    }

    /// Pages follow the numbers of the rows, which do not change.
    async fn runs(
        &self,
        experiment: ExperimentId,
        token: Option<String>,
        report: &mut ImportReport,
    ) -> Result<Page<RunRecord>> {
        let after: i64 = token.and_then(|token| token.parse().ok()).unwrap_or(i64::MIN);
        let sql = "SELECT rowid AS place, * FROM runs WHERE experiment_id = $1 AND rowid > $2 ORDER BY rowid LIMIT $3";
        let rows = self.store.query(sql, params![experiment.0, after, RUNS_PER_PAGE]).await?;
        let mut items = Vec::new();
        for row in &rows {
            let place = format!("runs: {}", row.get::<String>("run_uuid")?);
            items.extend(keep(self.run(row, experiment).await, place, report));
        }
        let last = rows.last().map(|row| row.get::<i64>("place")).transpose()?;
        Ok(Page { items, next_page_token: last.map(|place| place.to_string()) })
    }

    /// The token is the place in the order of (key, step, row), which the index on metrics has.
    async fn points(&self, run: &RunRecord, token: Option<String>, report: &mut ImportReport) -> Result<Page<Metric>> {
        let start = (String::new(), i64::MIN, i64::MIN);
        let (key, step, place): (String, i64, i64) =
            token.and_then(|token| serde_json::from_str(&token).ok()).unwrap_or(start);
        let sql = "SELECT rowid AS place, key, value, timestamp, step, is_nan FROM metrics \
                   WHERE run_uuid = $1 AND (key, step, rowid) > ($2, $3, $4) ORDER BY key, step, rowid LIMIT $5";
        let rows = self.store.query(sql, params![run.id.as_str(), key, step, place, POINTS_PER_PAGE]).await?;
        let place = || format!("metrics of run {}", run.id);
        let items = rows.iter().filter_map(|row| keep(point(row), place(), report)).collect();
        let Some(last) = rows.last() else { return Ok(Page { items, next_page_token: None }) };
        let last = (last.get::<String>("key")?, last.get::<i64>("step")?, last.get::<i64>("place")?);
        Ok(Page { items, next_page_token: Some(crate::rows::to_json("page token", &last)?) })
    }

    async fn files(&self, run: &RunRecord, report: &mut ImportReport) -> Result<Vec<SourceFile>> {
        local::files_of(run, self.artifact_directory(run), report).await
    }

    async fn open(&self, run: &RunRecord, path: &str) -> Result<FilePieces> {
        local::open(self.artifact_directory(run), path).await
    }

    async fn models(&self, report: &mut ImportReport) -> Result<Vec<RegisteredModel>> {
        let mut all = Vec::new();
        let sql = "SELECT * FROM registered_models ORDER BY name";
        for row in self.records("registered models", sql, &[]).await? {
            let place = format!("registered_models: {}", row.get::<String>("name")?);
            all.extend(keep(self.model(&row).await, place, report));
        }
        Ok(all)
    }

    async fn versions(&self, model: &RegisteredModel, report: &mut ImportReport) -> Result<Vec<ModelVersion>> {
        let sql =
            "SELECT * FROM model_versions WHERE name = $1 AND current_stage <> 'Deleted_Internal' ORDER BY version";
        let mut all = Vec::new();
        for row in self.records("versions of one model", sql, params![model.name.as_str()]).await? {
            let place = format!("model_versions: {} {}", model.name, row.get::<i64>("version")?);
            all.extend(keep(self.version(&row, &model.name).await, place, report));
        }
        Ok(all)
    }
}

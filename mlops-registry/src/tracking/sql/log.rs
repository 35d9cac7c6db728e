//! What is logged to runs: metrics, params, tags, datasets.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use mlops_core::{Error, Result, RunId};
use mlops_store::{MetaStoreExt as _, Transaction, TransactionExt as _, Value, Work, params};

use super::{
    SqlTrackingStore, execute_all,
    keys::{KeyNumbers, Numbers},
    latest, points,
    run::RunNumber,
};
use crate::{
    bound::{insert_rows, listing},
    limits::{check_key, param_value, run_tag_value},
    logged_models::{ModelMetric, add_points},
    retry::{Statement, on_conflict},
    tracking::{
        RUN_NAME_TAG,
        record::{Batch, DatasetInput},
        segment::{Point, normalize},
        store::appended,
    },
};

/// A batch on its way to its run, its points by key.
struct WriteBatch {
    run: RunId,
    params: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    points: BTreeMap<String, Vec<Point>>,
    model_metrics: Vec<ModelMetric>,
    keys: Arc<KeyNumbers>,
}

impl WriteBatch {
    fn new(run: &RunId, batch: &Batch, keys: &Arc<KeyNumbers>) -> Self {
        let mut points: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        for metric in &batch.metrics {
            match points.get_mut(&metric.key) {
                Some(series) => series.push(Point::from(metric)),
                None => drop(points.insert(metric.key.clone(), vec![Point::from(metric)])),
            }
        }
        Self {
            run: run.clone(),
            params: batch.params.clone(),
            tags: batch.tags.clone(),
            points,
            model_metrics: batch.model_metrics.clone(),
            keys: Arc::clone(keys),
        }
    }

    /// Adds the points and gives the numbers of their keys.
    async fn add_metrics(&self, tx: &mut dyn Transaction, run: RunNumber) -> Result<Numbers> {
        if self.points.is_empty() {
            return Ok(Numbers::new());
        }
        let keys: Vec<&str> = self.points.keys().map(String::as_str).collect();
        let numbers = self.keys.assign(tx, &keys).await?;
        let numbered = self.points.iter().filter_map(|(key, points)| Some((*numbers.get(key)?, points.clone())));
        let mut by_number: BTreeMap<i64, Vec<Point>> = numbered.collect();
        latest::update(tx, run, &by_number).await?;
        by_number.values_mut().for_each(normalize);
        points::append(tx, run.seq, &by_number).await?;
        Ok(numbers)
    }
}

#[async_trait]
impl Work for WriteBatch {
    type Output = Numbers;

    async fn run(&self, tx: &mut dyn Transaction) -> Result<Numbers> {
        let run = RunNumber::active(tx, &self.run).await?;
        add_params(tx, &self.run, run.seq, &self.params).await?;
        let numbers = self.add_metrics(tx, run).await?;
        set_tags(tx, run.seq, &self.tags).await?;
        add_points(tx, &self.run, &self.model_metrics).await?;
        Ok(numbers)
    }
}

/// An item for the list in a tag.
struct AppendTag {
    run: RunId,
    key: String,
    item: serde_json::Value,
}

#[async_trait]
impl Work for AppendTag {
    type Output = ();

    async fn run(&self, tx: &mut dyn Transaction) -> Result<()> {
        let run = RunNumber::active(tx, &self.run).await?;
        let sql = "SELECT value FROM tracking_run_tag WHERE run = $1 AND key = $2";
        let held = tx.query_opt(sql, params![run.seq, &self.key]).await?;
        let held: Option<String> = held.map(|row| row.get("value")).transpose()?;
        let list = appended(held.as_deref(), &self.item)?;
        set_tags(tx, run.seq, &[(self.key.clone(), list)]).await
    }
}

impl SqlTrackingStore {
    pub(super) async fn write_batch(&self, id: &RunId, batch: &Batch) -> Result<()> {
        batch.check()?;
        let work = Arc::new(WriteBatch::new(id, batch, &self.keys));
        let numbers = on_conflict!(self.meta.carry_out(&work))?;
        self.keys.remember(numbers);
        Ok(())
    }

    pub(super) async fn append_tag(&self, id: &RunId, key: &str, item: &serde_json::Value) -> Result<()> {
        check_key("tag name", key)?;
        let work = Arc::new(AppendTag { run: id.clone(), key: key.to_owned(), item: item.clone() });
        on_conflict!(self.meta.carry_out(&work))
    }

    pub(super) async fn untag_run(&self, id: &RunId, key: &str) -> Result<()> {
        let removed = on_conflict!(async {
            let (mut tx, run) = self.begin_run(id).await?;
            let sql = "DELETE FROM tracking_run_tag WHERE run = $1 AND key = $2";
            let removed = tx.execute(sql, params![run.seq, key]).await?;
            tx.commit().await?;
            Ok(removed)
        })?;
        match removed {
            0 => Err(Error::not_found(format!("No tag with name: {key} in run with id {id}"))),
            _ => Ok(()),
        }
    }

    pub(super) async fn link_inputs(&self, id: &RunId, inputs: &[DatasetInput]) -> Result<()> {
        DatasetInput::check_all(inputs)?;
        let sql = "INSERT INTO tracking_input VALUES ($1, $2, $3, $4) ON CONFLICT (run_id, name, digest) DO NOTHING";
        let statement = |input: &DatasetInput| -> Result<Statement> {
            let json = serde_json::to_string(input)
                .map_err(|error| Error::internal("dataset is not JSON").with_source(error))?;
            Ok((sql.to_owned(), params![id.as_str(), &input.dataset.name, &input.dataset.digest, json].to_vec()))
        };
        let statements = inputs.iter().map(statement).collect::<Result<Vec<_>>>()?;
        on_conflict!(async {
            let (mut tx, _) = self.begin_run(id).await?;
            execute_all(tx.as_mut(), &statements).await?;
            tx.commit().await
        })
    }
}

/// Sets tags, of several with one key the last; the name tag is the run's name as well.
pub(super) async fn set_tags(tx: &mut dyn Transaction, run: i64, tags: &[(String, String)]) -> Result<()> {
    let last: BTreeMap<&str, &str> = tags.iter().map(|(key, value)| (key.as_str(), run_tag_value(value))).collect();
    write_tags(tx, run, last.iter().map(|(key, value)| (*key, *value))).await?;
    if let Some(name) = last.get(RUN_NAME_TAG) {
        tx.execute("UPDATE tracking_run SET name = $1 WHERE seq = $2", params![*name, run]).await?;
    }
    Ok(())
}

/// Writes tags, each key once, as they are.
pub(super) async fn write_tags<'a>(
    tx: &mut dyn Transaction,
    run: i64,
    tags: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<()> {
    let rows: Vec<Vec<Value>> = tags.map(|(key, value)| params![run, key, value].to_vec()).collect();
    let tail = "ON CONFLICT (run, key) DO UPDATE SET value = excluded.value";
    insert_rows(tx, "INSERT INTO tracking_run_tag (run, key, value)", rows, tail).await
}

/// Adds params, none of which may change a value.
async fn add_params(tx: &mut dyn Transaction, id: &RunId, run: i64, given: &[(String, String)]) -> Result<()> {
    let keys: Vec<Value> = given.iter().map(|(key, _)| Value::from(key)).collect();
    let mut known: HashMap<String, String> = HashMap::new();
    let sql = "SELECT key, value FROM tracking_run_param WHERE run = $1 AND key IN ({list})";
    for (sql, values) in listing(sql, &[Value::from(run)], &keys) {
        for row in tx.query(&sql, &values).await? {
            known.insert(row.get("key")?, row.get("value")?);
        }
    }
    let mut rows = Vec::new();
    for (key, value) in given {
        let value = param_value(value);
        match known.get(key) {
            Some(known) if known == value => {}
            Some(_) => {
                return Err(Error::invalid_argument(format!(
                    "Changing param values is not allowed. Param with key={key:?} was already logged with another value for run ID={id}"
                )));
            }
            None => rows.push(params![run, key, value].to_vec()),
        }
    }
    insert_rows(tx, "INSERT INTO tracking_run_param (run, key, value)", rows, "").await
}

//! What is logged to runs: metrics, params, tags, datasets.

use std::collections::{BTreeMap, HashMap};

use mlops_core::{Error, Result, RunId};
use mlops_store::{Transaction, Value, params};

use super::{
    SqlTrackingStore,
    bound::{insert_rows, listing},
    execute_all,
    keys::Numbers,
    latest, points,
    run::RunNumber,
};
use crate::{
    limits::{param_value, run_tag_value},
    logged_models::add_points,
    retry::{Statement, on_conflict},
    tracking::{
        RUN_NAME_TAG,
        record::{Batch, DatasetInput},
        segment::{Point, normalize},
    },
};

impl SqlTrackingStore {
    pub(super) async fn write_batch(&self, id: &RunId, batch: &Batch) -> Result<()> {
        batch.check()?;
        let numbers = on_conflict!(async {
            let (mut tx, run) = self.begin_run(id).await?;
            add_params(tx.as_mut(), id, run.seq, &batch.params).await?;
            let numbers = self.add_metrics(tx.as_mut(), run, batch).await?;
            set_tags(tx.as_mut(), run.seq, &batch.tags).await?;
            add_points(tx.as_mut(), id, &batch.model_metrics).await?;
            tx.commit().await?;
            Ok(numbers)
        })?;
        self.keys.remember(numbers);
        Ok(())
    }

    /// Adds the points of a batch and gives the numbers of their keys.
    async fn add_metrics(&self, tx: &mut dyn Transaction, run: RunNumber, batch: &Batch) -> Result<Numbers> {
        let mut by_key: BTreeMap<&str, Vec<Point>> = BTreeMap::new();
        for metric in &batch.metrics {
            by_key.entry(&metric.key).or_default().push(Point::from(metric));
        }
        if by_key.is_empty() {
            return Ok(Numbers::new());
        }
        let keys: Vec<&str> = by_key.keys().copied().collect();
        let numbers = self.keys.assign(tx, &keys).await?;
        let numbered = by_key.into_iter().filter_map(|(key, points)| Some((*numbers.get(key)?, points)));
        let mut by_number: BTreeMap<i64, Vec<Point>> = numbered.collect();
        latest::update(tx, run, &by_number).await?;
        by_number.values_mut().for_each(normalize);
        points::append(tx, run.seq, &by_number).await?;
        Ok(numbers)
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
    let rows: Vec<Vec<Value>> = last.iter().map(|(key, value)| params![run, *key, *value].to_vec()).collect();
    let tail = "ON CONFLICT (run, key) DO UPDATE SET value = excluded.value";
    insert_rows(tx, "INSERT INTO tracking_run_tag (run, key, value)", rows, tail).await?;
    if let Some(name) = last.get(RUN_NAME_TAG) {
        tx.execute("UPDATE tracking_run SET name = $1 WHERE seq = $2", params![*name, run]).await?;
    }
    Ok(())
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

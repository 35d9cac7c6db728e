//! What is logged to runs: metrics, params, tags, datasets.

use mlops_core::{Error, Metric, Result, RunId, Timestamp};
use mlops_store::{Row, Transaction, TransactionExt as _, params};

use super::{SqlTrackingStore, execute_all};
use crate::{
    limits::{
        BATCH_DATASETS_MAX, BATCH_ITEMS_MAX, BATCH_METRICS_MAX, BATCH_PARAMS_MAX, BATCH_TAGS_MAX, PARAM_VALUE_MAX,
        RUN_TAG_VALUE_MAX, check_free_key, check_key, truncated,
    },
    logged_models::add_points,
    retry::{Statement, on_conflict},
    search::{Page, PageRequest, cut},
    tracking::{
        RUN_NAME_TAG,
        record::{Batch, DatasetInput},
    },
};

impl SqlTrackingStore {
    pub(super) async fn write_batch(&self, id: &RunId, batch: &Batch) -> Result<()> {
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
            add_points(tx.as_mut(), id, &batch.model_metrics).await?;
            tx.commit().await
        })
    }

    pub(super) async fn untag_run(&self, id: &RunId, key: &str) -> Result<()> {
        let sql = "DELETE FROM tracking_tag WHERE run_id = $1 AND key = $2";
        match self.change_run(id, &[(sql.to_owned(), params![id.as_str(), key].to_vec())]).await? {
            0 => Err(Error::not_found(format!("No tag with name: {key} in run with id {id}"))),
            _ => Ok(()),
        }
    }

    pub(super) async fn history_of(&self, id: &RunId, key: &str, page: &PageRequest) -> Result<Page<Metric>> {
        let sql = "SELECT key, at, step, bits FROM tracking_metric WHERE run_id = $1 AND key = $2 ORDER BY at, step";
        let rows = self.meta.query(sql, params![id.as_str(), key]).await?;
        let mut points = rows.iter().map(read_metric).collect::<Result<Vec<_>>>()?;
        points.sort_by(|a, b| (a.timestamp, a.step).cmp(&(b.timestamp, b.step)).then(a.value.total_cmp(&b.value)));
        cut(points, page, &format!("history {id} {key}"))
    }

    pub(super) async fn link_inputs(&self, id: &RunId, inputs: &[DatasetInput]) -> Result<()> {
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

pub(super) fn read_metric(row: &Row) -> Result<Metric> {
    let value = f64::from_bits(row.get::<i64>("bits")?.cast_unsigned());
    Ok(Metric { key: row.get("key")?, value, timestamp: row.get("at")?, step: row.get("step")? })
}

/// The statements that set a tag; the name tag is the run's name as well.
pub(super) fn set_tag(id: &RunId, key: &str, value: &str) -> Vec<Statement> {
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
        ("model metrics", batch.model_metrics.len(), BATCH_METRICS_MAX),
        ("params", batch.params.len(), BATCH_PARAMS_MAX),
        ("tags", batch.tags.len(), BATCH_TAGS_MAX),
        ("items", batch.metrics.len() + batch.params.len() + batch.tags.len(), BATCH_ITEMS_MAX),
    ];
    if let Some((what, size, max)) = sizes.into_iter().find(|(_, size, max)| size > max) {
        return Err(Error::invalid_argument(format!("a batch can have at most {max} {what}, found {size}")));
    }
    for metric in batch.metrics.iter().chain(batch.model_metrics.iter().map(|point| &point.metric)) {
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

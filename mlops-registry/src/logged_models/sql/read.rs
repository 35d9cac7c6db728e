//! Models from their rows.

use std::collections::{BTreeMap, HashMap};

use mlops_core::{Metric, Result};
use mlops_store::{MetaStoreExt as _, Row, Value, params};

use super::{SqlLoggedModelStore, unknown};
use crate::{
    limits::MODEL_POINTS_MAX,
    logged_models::record::{LoggedModel, LoggedModelId, LoggedModelStatus, ModelMetric},
    rows::places,
    search::View,
    tracking::ExperimentId,
};

/// How many models are read by one query of each table.
pub(super) const MODELS_AT_ONCE: usize = 500;

impl SqlLoggedModelStore {
    pub(super) async fn read(&self, id: &LoggedModelId, view: View) -> Result<LoggedModel> {
        let row = self.meta.query_opt("SELECT * FROM logged_model WHERE id = $1", params![id.as_str()]).await?;
        let row = row.ok_or_else(|| unknown(id))?;
        if !view.admits(row.get("deleted")?) {
            return Err(unknown(id));
        }
        self.complete(&[row]).await?.pop().ok_or_else(|| unknown(id))
    }

    /// The models of these rows, in their order, with a handful of queries however many they are; at most
    /// [`MODELS_AT_ONCE`].
    pub(super) async fn complete(&self, rows: &[Row]) -> Result<Vec<LoggedModel>> {
        let mut models = rows.iter().map(bare).collect::<Result<Vec<_>>>()?;
        let ids: Vec<Value> = models.iter().map(|model| Value::from(model.id.as_str())).collect();
        let mut of: HashMap<String, &mut LoggedModel> =
            models.iter_mut().map(|model| (model.id.as_str().to_owned(), model)).collect();
        let among = places(1, ids.len());
        let query = async |table: &str| {
            self.meta.query(&format!("SELECT model, key, value FROM {table} WHERE model IN ({among})"), &ids).await
        };
        for row in query("logged_model_param").await? {
            if let Some(model) = of.get_mut(&row.get::<String>("model")?) {
                model.params.insert(row.get("key")?, row.get("value")?);
            }
        }
        for row in query("logged_model_tag").await? {
            if let Some(model) = of.get_mut(&row.get::<String>("model")?) {
                model.tags.insert(row.get("key")?, row.get("value")?);
            }
        }
        let sql = format!(
            "SELECT * FROM (SELECT p.*, ROW_NUMBER() OVER (PARTITION BY model ORDER BY at DESC, step DESC, key, run_id) AS place
                FROM logged_model_point AS p WHERE model IN ({among})) AS ranked
            WHERE place <= {MODEL_POINTS_MAX} ORDER BY at, step, key, run_id"
        );
        for row in self.meta.query(&sql, &ids).await? {
            let point = point(&row)?;
            if let Some(model) = of.get_mut(point.model.as_str()) {
                model.metrics.push(point);
            }
        }
        Ok(models)
    }
}

fn point(row: &Row) -> Result<ModelMetric> {
    let value = f64::from_bits(row.get::<i64>("bits")?.cast_unsigned());
    Ok(ModelMetric {
        model: row.get::<String>("model")?.parse()?,
        metric: Metric { key: row.get("key")?, value, timestamp: row.get("at")?, step: row.get("step")? },
        run: Some(row.get::<String>("run_id")?.parse()?),
        dataset_name: row.get("dataset_name")?,
        dataset_digest: row.get("dataset_digest")?,
    })
}

/// The columns of a model, without what was logged to it.
fn bare(row: &Row) -> Result<LoggedModel> {
    Ok(LoggedModel {
        id: row.get::<String>("id")?.parse()?,
        experiment: ExperimentId(row.get("experiment")?),
        name: row.get("name")?,
        model_type: row.get("model_type")?,
        source_run: row.get::<Option<String>>("source_run")?.map(|run| run.parse()).transpose()?,
        status: LoggedModelStatus::parse(&row.get::<String>("status")?)?,
        created: row.get("created")?,
        updated: row.get("updated")?,
        artifact_uri: row.get("artifact_uri")?,
        deleted: row.get("deleted")?,
        params: BTreeMap::new(),
        tags: BTreeMap::new(),
        metrics: Vec::new(),
    })
}

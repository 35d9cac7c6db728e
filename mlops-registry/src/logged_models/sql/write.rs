//! Changing models, and the points that come with a batch of a run.

use std::collections::BTreeMap;

use mlops_core::{Error, ModelName, Result, RunId, Version};
use mlops_store::{Transaction, TransactionExt as _, params};
use serde::{Deserialize, Serialize};

use super::{SqlLoggedModelStore, unknown};
use crate::{
    id_source::run_name,
    limits::{EXPERIMENT_NAME_MAX, EXPERIMENT_TAG_VALUE_MAX, PARAM_VALUE_MAX, check_free_key, check_length, truncated},
    logged_models::{
        REGISTRATIONS_TAG,
        record::{CreateLoggedModel, LoggedModel, LoggedModelId, LoggedModelStatus, ModelMetric},
    },
    retry::on_conflict,
    search::{View, value_order::order_of},
    sql_store::touched,
};

/// What no name of a logged model may have.
const NAME_FORBIDS: [char; 6] = ['/', ':', '.', '%', '"', '\''];

/// A version that a model was registered as, as the tag holds it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Registration {
    name: String,
    version: u64,
}

impl Registration {
    /// With the blanks that MLflow writes, since clients compare the text.
    fn to_json(&self) -> String {
        format!("{{\"name\": {}, \"version\": {}}}", serde_json::Value::from(self.name.as_str()), self.version)
    }
}

impl SqlLoggedModelStore {
    pub(super) async fn insert(&self, model: CreateLoggedModel) -> Result<LoggedModel> {
        if let Some(name) = &model.name {
            check_name(name)?;
        }
        check_length("model_type", &model.model_type, EXPERIMENT_NAME_MAX)?;
        check_pairs("param", &model.params, usize::MAX)?;
        check_pairs("tag", &model.tags, EXPERIMENT_TAG_VALUE_MAX)?;
        let experiment = self.tracking.experiment(model.experiment).await?;
        if experiment.deleted {
            return Err(Error::failed_precondition(format!(
                "experiment {} is deleted; it must be in the 'active' state",
                experiment.id
            )));
        }
        let id = LoggedModelId::new(format!("m-{:032x}", self.ids()?.next_id()))?;
        let name = match &model.name {
            Some(name) => name.clone(),
            None => run_name(self.ids()?),
        };
        let uri = format!("{}/models/{id}/artifacts", experiment.artifact_location.trim_end_matches('/'));
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let sql =
                "INSERT INTO logged_model (id, experiment, name, model_type, source_run, status, created, updated,
                artifact_uri, deleted) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, 0)";
            let values = params![
                id.as_str(),
                model.experiment.0,
                &name,
                &model.model_type,
                model.source_run.as_ref().map(|run| run.to_string()),
                LoggedModelStatus::Pending.name(),
                self.now(),
                &uri
            ];
            tx.execute(sql, values).await?;
            for (key, value) in &model.params {
                set_param(tx.as_mut(), &id, key, value).await?;
            }
            for (key, value) in &model.tags {
                set_tag(tx.as_mut(), &id, key, value).await?;
            }
            tx.commit().await
        })?;
        self.read(&id, View::All).await
    }

    /// A transaction on a model that is there.
    async fn begin(&self, id: &LoggedModelId) -> Result<Box<dyn Transaction>> {
        let mut tx = self.meta.begin().await?;
        require(tx.as_mut(), id).await?;
        Ok(tx)
    }

    pub(super) async fn set_status(&self, id: &LoggedModelId, status: LoggedModelStatus) -> Result<LoggedModel> {
        on_conflict!(async {
            let mut tx = self.begin(id).await?;
            let sql = format!("UPDATE logged_model SET status = $1, {} WHERE id = $3", touched(2));
            tx.execute(&sql, params![status.name(), self.now(), id.as_str()]).await?;
            tx.commit().await
        })?;
        self.read(id, View::ActiveOnly).await
    }

    pub(super) async fn mark_deleted(&self, id: &LoggedModelId) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.begin(id).await?;
            let sql = format!("UPDATE logged_model SET deleted = 1, {} WHERE id = $2", touched(1));
            tx.execute(&sql, params![self.now(), id.as_str()]).await?;
            tx.commit().await
        })
    }

    pub(super) async fn set_tags(&self, id: &LoggedModelId, tags: &[(String, String)]) -> Result<()> {
        check_pairs("tag", tags, EXPERIMENT_TAG_VALUE_MAX)?;
        on_conflict!(async {
            let mut tx = self.begin(id).await?;
            for (key, value) in tags {
                set_tag(tx.as_mut(), id, key, value).await?;
            }
            tx.commit().await
        })
    }

    pub(super) async fn remove_tag(&self, id: &LoggedModelId, key: &str) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.begin(id).await?;
            let sql = "DELETE FROM logged_model_tag WHERE model = $1 AND key = $2";
            if tx.execute(sql, params![id.as_str(), key]).await? == 0 {
                return Err(Error::not_found(format!("No tag with key '{key}' found for model with ID '{id}'.")));
            }
            tx.commit().await
        })
    }

    pub(super) async fn set_params(&self, id: &LoggedModelId, params: &[(String, String)]) -> Result<()> {
        check_pairs("param", params, usize::MAX)?;
        on_conflict!(async {
            let mut tx = self.begin(id).await?;
            for (key, value) in params {
                set_param(tx.as_mut(), id, key, value).await?;
            }
            tx.commit().await
        })
    }

    pub(super) async fn note_registration(&self, id: &LoggedModelId, name: &ModelName, version: Version) -> Result<()> {
        let new = Registration { name: name.to_string(), version: version.0 };
        on_conflict!(async {
            let mut tx = self.begin(id).await?;
            let sql = "SELECT value FROM logged_model_tag WHERE model = $1 AND key = $2";
            let row = tx.query_opt(sql, params![id.as_str(), REGISTRATIONS_TAG]).await?;
            let held = row.map(|row| row.get::<String>("value")).transpose()?.unwrap_or_default();
            // Clients may write the tag too; what is no list is replaced.
            let mut all: Vec<Registration> = serde_json::from_str(&held).unwrap_or_default();
            if !all.contains(&new) {
                all.push(Registration { name: new.name.clone(), version: new.version });
            }
            let text = format!("[{}]", all.iter().map(Registration::to_json).collect::<Vec<_>>().join(", "));
            set_tag(tx.as_mut(), id, REGISTRATIONS_TAG, &text).await?;
            tx.commit().await
        })
    }
}

async fn require(tx: &mut dyn Transaction, id: &LoggedModelId) -> Result<()> {
    let sql = "SELECT id FROM logged_model WHERE id = $1 AND deleted = 0";
    tx.query_opt(sql, params![id.as_str()]).await?.map(drop).ok_or_else(|| unknown(id))
}

async fn set_tag(tx: &mut dyn Transaction, id: &LoggedModelId, key: &str, value: &str) -> Result<()> {
    let sql = "INSERT INTO logged_model_tag (model, key, value) VALUES ($1, $2, $3)
        ON CONFLICT (model, key) DO UPDATE SET value = excluded.value";
    tx.execute(sql, params![id.as_str(), key, value]).await.map(drop)
}

async fn set_param(tx: &mut dyn Transaction, id: &LoggedModelId, key: &str, value: &str) -> Result<()> {
    let value = truncated(value, PARAM_VALUE_MAX);
    let sql = "SELECT value FROM logged_model_param WHERE model = $1 AND key = $2";
    match tx.query_opt(sql, params![id.as_str(), key]).await? {
        Some(row) if row.get::<String>("value")? == value => Ok(()),
        Some(_) => Err(Error::invalid_argument(format!(
            "param {key:?} of logged model {id} has another value already; params cannot be changed"
        ))),
        None => {
            let sql = "INSERT INTO logged_model_param (model, key, value) VALUES ($1, $2, $3)";
            tx.execute(sql, params![id.as_str(), key, value]).await.map(drop)
        }
    }
}

/// Writes the points of models that come with a batch of `run` into its transaction; a point that is there already is
/// left as it is.
pub(crate) async fn add_points(tx: &mut dyn Transaction, run: &RunId, points: &[ModelMetric]) -> Result<()> {
    let models: BTreeMap<&LoggedModelId, ()> = points.iter().map(|point| (&point.model, ())).collect();
    for model in models.keys() {
        require(tx, model).await?;
    }
    let sql =
        "INSERT INTO logged_model_point (model, key, at, step, run_id, bits, value_order, dataset_name, dataset_digest)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (model, key, at, step, run_id) DO NOTHING";
    for point in points {
        let metric = &point.metric;
        let values = params![
            point.model.as_str(),
            &metric.key,
            metric.timestamp,
            metric.step,
            run.as_str(),
            metric.value.to_bits().cast_signed(),
            order_of(metric.value),
            point.dataset_name.clone(),
            point.dataset_digest.clone()
        ];
        tx.execute(sql, values).await?;
    }
    Ok(())
}

fn check_pairs(what: &str, pairs: &[(String, String)], value_max: usize) -> Result<()> {
    for (key, value) in pairs {
        check_free_key(&format!("{what} key"), key)?;
        check_length(&format!("value of {what} {key:?}"), value, value_max)?;
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains(NAME_FORBIDS) {
        return Err(Error::invalid_argument(format!(
            "Invalid model name ({name:?}) provided. It must not be empty nor have any of / : . % \" '"
        )));
    }
    check_length("name", name, EXPERIMENT_NAME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["net", "net 2", "ключ", "a-b_c@d"] {
            check_name(good).unwrap();
        }
        for bad in ["", "a/b", "a:b", "a.b", "a%b", "a\"b", "a'b", &"n".repeat(501)] {
            check_name(bad).unwrap_err();
        }
    }
}

//! Experiments as rows.

use mlops_core::{Error, ErrorKind, Result};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, params};

use super::{SqlTrackingStore, execute_all, pairs};
use crate::{
    limits::{EXPERIMENT_TAG_VALUE_MAX, LOCATION_MAX, check_experiment_name, check_key, check_length},
    retry::{Statement, on_conflict},
    search::{Filter, OrderKey, Page, Search, compare_by, cut},
    sql_store::touched,
    tracking::record::{CreateExperiment, Experiment, ExperimentId},
};

impl SqlTrackingStore {
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

    /// Marks an experiment and its runs; `from` is what they must be now.
    pub(super) async fn mark_experiment(&self, id: ExperimentId, deleted: bool) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let updated = touched(2);
            let sql = format!("UPDATE tracking_experiment SET deleted = $1, {updated} WHERE id = $3 AND deleted <> $1");
            if tx.execute(&sql, params![deleted, self.now(), id.0]).await? == 0 {
                let state = if deleted { "active" } else { "deleted" };
                return Err(Error::not_found(format!("No {state} experiment with ID {id} exists")));
            }
            let sql = "UPDATE tracking_run SET deleted = $1, revision = revision + 1 WHERE experiment = $2";
            tx.execute(sql, params![deleted, id.0]).await?;
            tx.commit().await
        })
    }

    /// Runs statements on an active experiment, marks it as changed, and says how many rows they changed.
    async fn change_experiment(&self, id: ExperimentId, statements: &[Statement]) -> Result<u64> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            require_active_experiment(tx.as_mut(), id).await?;
            let changed = execute_all(tx.as_mut(), statements).await?;
            let touch = format!("UPDATE tracking_experiment SET {} WHERE id = $2", touched(1));
            tx.execute(&touch, params![self.now(), id.0]).await?;
            tx.commit().await?;
            Ok(changed)
        })
    }

    pub(super) async fn insert_experiment(&self, name: &str, options: &CreateExperiment) -> Result<ExperimentId> {
        check_experiment_name(name)?;
        check_length("artifact_location", options.artifact_location.as_deref().unwrap_or_default(), LOCATION_MAX)?;
        for (key, value) in &options.tags {
            check_key("tag key", key)?;
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

    pub(super) async fn experiment_of(&self, id: ExperimentId) -> Result<Experiment> {
        let row = self.meta.query_opt("SELECT * FROM tracking_experiment WHERE id = $1", params![id.0]).await?;
        self.read_experiment(&row.ok_or_else(|| Error::not_found(format!("No Experiment with id={id} exists")))?).await
    }

    pub(super) async fn experiment_named(&self, name: &str) -> Result<Option<Experiment>> {
        match self.meta.query_opt("SELECT * FROM tracking_experiment WHERE name = $1", params![name]).await? {
            Some(row) => self.read_experiment(&row).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn find_experiments(&self, search: &Search) -> Result<Page<Experiment>> {
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

    pub(super) async fn set_experiment_name(&self, id: ExperimentId, name: &str) -> Result<()> {
        check_experiment_name(name)?;
        let sql = "UPDATE tracking_experiment SET name = $1 WHERE id = $2";
        let rename = [(sql.to_owned(), params![name, id.0].to_vec())];
        self.change_experiment(id, &rename).await.map(drop).map_err(taken(name))
    }

    pub(super) async fn tag_experiment(&self, id: ExperimentId, tags: &[(String, String)]) -> Result<()> {
        for (key, value) in tags {
            check_key("tag key", key)?;
            check_length(&format!("value of tag {key:?}"), value, EXPERIMENT_TAG_VALUE_MAX)?;
        }
        let sql = "INSERT INTO tracking_experiment_tag VALUES ($1, $2, $3)
            ON CONFLICT (experiment, key) DO UPDATE SET value = excluded.value";
        let set: Vec<Statement> =
            tags.iter().map(|(key, value)| (sql.to_owned(), params![id.0, key, value].to_vec())).collect();
        self.change_experiment(id, &set).await.map(drop)
    }

    pub(super) async fn untag_experiment(&self, id: ExperimentId, key: &str) -> Result<()> {
        let sql = "DELETE FROM tracking_experiment_tag WHERE experiment = $1 AND key = $2";
        match self.change_experiment(id, &[(sql.to_owned(), params![id.0, key].to_vec())]).await? {
            0 => Err(Error::not_found(format!("No tag with name: {key} in experiment with id {id}"))),
            _ => Ok(()),
        }
    }
}

pub(super) async fn require_active_experiment(tx: &mut dyn Transaction, id: ExperimentId) -> Result<Row> {
    let row = tx.query_opt("SELECT * FROM tracking_experiment WHERE id = $1", params![id.0]).await?;
    let row = row.ok_or_else(|| Error::not_found(format!("No Experiment with id={id} exists")))?;
    if row.get("deleted")? {
        return Err(Error::failed_precondition(format!(
            "experiment {id} is deleted; it must be in the 'active' state"
        )));
    }
    Ok(row)
}

fn taken(name: &str) -> impl Fn(Error) -> Error + '_ {
    move |error| match error.kind() {
        ErrorKind::AlreadyExists => Error::already_exists(format!(
            "Experiment(name={name}) already exists. It may be deleted, then restore it or choose another name"
        )),
        _ => error,
    }
}

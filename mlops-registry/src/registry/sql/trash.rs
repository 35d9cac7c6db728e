//! The trash: deleted versions keep their row, a deleted model becomes one record.

use async_trait::async_trait;
use mlops_core::{Action, Error, ModelName, Result, Version};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, params};

use super::{
    SqlModelRegistry, all_models,
    record::{read_deletion, write_versions},
    resource,
    version::{DELETED, PURGED, unknown},
};
use crate::{
    bundle::{Deletion, ModelRecord},
    registry::{
        record::{Actor, ModelVersion, RegisteredModel},
        trash::{DeletedModel, DeletedVersion, Purge, Purged, Trash, TrashId},
    },
    retry::on_conflict,
    search::{Page, PageRequest, cut},
    sql_store::touched,
};

fn read_trash(row: &Row) -> Result<ModelRecord> {
    serde_json::from_str(&row.get::<String>("record")?)
        .map_err(|error| Error::data_loss("a deleted model in the trash is damaged").with_source(error))
}

fn read_deleted_model(row: &Row) -> Result<DeletedModel> {
    let record = read_trash(row)?;
    Ok(DeletedModel {
        id: TrashId(row.get("id")?),
        versions: record.versions.len() as u64,
        model: record.model,
        deletion: Deletion { at: row.get("deleted_at")?, by: row.get("deleted_by")? },
    })
}

#[async_trait]
impl Trash for SqlModelRegistry {
    async fn deleted_versions(&self, model: &ModelName, page: &PageRequest) -> Result<Page<DeletedVersion>> {
        self.read_model(model).await?;
        let sql = "SELECT * FROM registry_version WHERE model = $1 AND deleted = $2 ORDER BY version DESC";
        let mut found = Vec::new();
        for row in self.meta.query(sql, params![model.as_str(), DELETED]).await? {
            if let Some(deletion) = read_deletion(&row)? {
                found.push(DeletedVersion { version: self.complete_version(&row).await?, deletion });
            }
        }
        cut(found, page, &format!("deleted versions of {model}"))
    }

    async fn restore_version(&self, model: &ModelName, version: Version, actor: &Actor) -> Result<ModelVersion> {
        self.authorize(actor, Action::Write, model).await?;
        on_conflict!(self.try_restore_version(model, version, actor))?;
        self.read_version(model, version).await
    }

    async fn deleted_models(&self, page: &PageRequest) -> Result<Page<DeletedModel>> {
        let rows = self.meta.query("SELECT * FROM registry_trash ORDER BY id", &[]).await?;
        cut(rows.iter().map(read_deleted_model).collect::<Result<_>>()?, page, "deleted models")
    }

    async fn restore_model(&self, id: TrashId, actor: &Actor) -> Result<RegisteredModel> {
        let row = self.meta.query_opt("SELECT * FROM registry_trash WHERE id = $1", params![id.0]).await?;
        let record = read_trash(&row.ok_or_else(|| not_in_trash(id))?)?;
        self.authorize(actor, Action::Write, &record.model.name).await?;
        on_conflict!(self.try_restore_model(id, &record, actor))?;
        self.read_model(&record.model.name).await
    }

    async fn purge(&self, options: Purge) -> Result<Purged> {
        let resource = options.model.as_ref().map_or_else(all_models, resource);
        self.authorize_on(&options.actor, Action::Delete, &resource).await?;
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let versions = purge_versions(tx.as_mut(), &options).await?;
            let models = purge_models(tx.as_mut(), &options).await?;
            let details = [
                ("purged_versions", versions.to_string()),
                ("purged_models", models.to_string()),
                ("deleted_before", options.deleted_before.to_string()),
            ];
            self.record_on(tx.as_mut(), (&options.actor, Action::Delete, resource.clone()), details).await?;
            tx.commit().await?;
            Ok(Purged { versions, models })
        })
    }
}

fn not_in_trash(id: TrashId) -> Error {
    Error::not_found(format!("deleted model {id} is not in the trash; it was restored or purged"))
}

impl SqlModelRegistry {
    async fn try_restore_version(&self, model: &ModelName, version: Version, actor: &Actor) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        let sql = "SELECT deleted FROM registry_version WHERE model = $1 AND version = $2";
        let row = tx.query_opt(sql, params![model.as_str(), version.0]).await?;
        match row.ok_or_else(|| unknown(model, version))?.get::<i64>("deleted")? {
            DELETED => {}
            PURGED => return Err(unknown(model, version)),
            _ => {
                return Err(Error::failed_precondition(format!(
                    "version {version} of model \"{model}\" is not deleted"
                )));
            }
        }
        let sql = format!(
            "UPDATE registry_version SET deleted = 0, deleted_at = NULL, deleted_by = NULL, {}
            WHERE model = $2 AND version = $3",
            touched(1)
        );
        tx.execute(&sql, params![self.now(), model.as_str(), version.0]).await?;
        self.touch_model(tx.as_mut(), model).await?;
        let details = [("restored_version", version.to_string())];
        self.record(tx.as_mut(), (actor, Action::Write, model), details).await?;
        tx.commit().await
    }

    /// Keeps a model that is about to be deleted.
    pub(super) async fn throw_away(&self, tx: &mut dyn Transaction, model: &ModelName, actor: &Actor) -> Result<()> {
        let record = self.read_record(tx, model).await?;
        let json = serde_json::to_string(&record)
            .map_err(|error| Error::internal("a registered model is not JSON").with_source(error))?;
        let sql = "INSERT INTO registry_trash (model, record, deleted_at, deleted_by) VALUES ($1, $2, $3, $4)
            RETURNING id";
        let values = params![model.as_str(), json, self.now(), &actor.0.name];
        let id: u64 = tx.query_one(sql, values).await?.get("id")?;
        for package in record.packages() {
            let sql = "INSERT INTO registry_trash_package (trash, package) VALUES ($1, $2)";
            tx.execute(sql, params![id, package.to_string()]).await?;
        }
        Ok(())
    }

    async fn try_restore_model(&self, id: TrashId, record: &ModelRecord, actor: &Actor) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        let model = &record.model.name;
        let taken = tx.query_opt("SELECT name FROM registry_model WHERE name = $1", params![model.as_str()]).await?;
        if taken.is_some() {
            return Err(Error::already_exists(format!(
                "model \"{model}\" exists again; rename or delete it to restore the deleted one"
            )));
        }
        if tx.execute("DELETE FROM registry_trash WHERE id = $1", params![id.0]).await? == 0 {
            return Err(not_in_trash(id));
        }
        tx.execute("DELETE FROM registry_trash_package WHERE trash = $1", params![id.0]).await?;
        self.write_model(tx.as_mut(), &record.model).await?;
        write_versions(tx.as_mut(), record).await?;
        self.touch_model(tx.as_mut(), model).await?;
        let details = [("restored_model", id.to_string()), ("versions", record.versions.len().to_string())];
        self.record(tx.as_mut(), (actor, Action::Write, model), details).await?;
        tx.commit().await
    }
}

/// Leaves only the number of each version, and its key: neither is given again.
async fn purge_versions(tx: &mut dyn Transaction, options: &Purge) -> Result<u64> {
    let sql = "SELECT model, version FROM registry_version WHERE deleted = $1 AND COALESCE(deleted_at, updated) < $2";
    let mut purged = 0;
    for row in tx.query(sql, params![DELETED, options.deleted_before]).await? {
        let (model, version): (String, u64) = (row.get("model")?, row.get("version")?);
        if options.model.as_ref().is_some_and(|only| only.as_str() != model) {
            continue;
        }
        let sql = "UPDATE registry_version SET deleted = $1, source = '', digest = NULL, run_id = NULL, run_link = '',
            description = '' WHERE model = $2 AND version = $3";
        tx.execute(sql, params![PURGED, &model, version]).await?;
        let sql = "DELETE FROM registry_version_tag WHERE model = $1 AND version = $2";
        tx.execute(sql, params![&model, version]).await?;
        purged += 1;
    }
    Ok(purged)
}

async fn purge_models(tx: &mut dyn Transaction, options: &Purge) -> Result<u64> {
    let sql = "SELECT id, model FROM registry_trash WHERE deleted_at < $1";
    let mut purged = 0;
    for row in tx.query(sql, params![options.deleted_before]).await? {
        let (id, model): (u64, String) = (row.get("id")?, row.get("model")?);
        if options.model.as_ref().is_some_and(|only| only.as_str() != model) {
            continue;
        }
        tx.execute("DELETE FROM registry_trash WHERE id = $1", params![id]).await?;
        tx.execute("DELETE FROM registry_trash_package WHERE trash = $1", params![id]).await?;
        purged += 1;
    }
    Ok(purged)
}

//! Models as rows.

use mlops_core::{Error, Result};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, params};

use super::{SqlGatewayStore, check_room, is_taken, unknown};
use crate::{
    gateway::{Change, CreateModelDefinition, ModelDefinition, ModelDefinitionUpdate, ModelFilter, SecretRef},
    retry::on_conflict,
    rows::{from_json, to_json},
};

const TABLE: &str = "gateway_model";
/// A model with the name of its secret.
const MODEL: &str = "SELECT m.content, m.secret, s.name AS secret_name FROM gateway_model m
    LEFT JOIN gateway_secret s ON s.id = m.secret";

fn no_model(id: &str) -> Error {
    unknown("GatewayModelDefinition", "model_definition_id", id)
}

fn taken(name: &str) -> Error {
    Error::already_exists(format!("Model definition with name '{name}' already exists"))
}

/// The model in the columns `content`, `secret` and `secret_name`.
pub(super) fn read_model(row: &Row) -> Result<ModelDefinition> {
    let (id, name): (Option<String>, Option<String>) = (row.get("secret")?, row.get("secret_name")?);
    let secret = id.zip(name).map(|(id, name)| SecretRef { id, name });
    Ok(ModelDefinition { secret, ..from_json("model", row)? })
}

/// The model of this id.
pub(super) async fn one_model(tx: &mut dyn Transaction, id: &str) -> Result<ModelDefinition> {
    let row = tx.query_opt(&format!("{MODEL} WHERE m.id = $1"), params![id]).await?;
    read_model(&row.ok_or_else(|| no_model(id))?)
}

/// A secret that a model is to name.
async fn secret(tx: &mut dyn Transaction, id: &str) -> Result<SecretRef> {
    let row = tx.query_opt("SELECT name FROM gateway_secret WHERE id = $1", params![id]).await?;
    let row = row.ok_or_else(|| unknown("GatewaySecret", "secret_id", id))?;
    Ok(SecretRef { id: id.to_owned(), name: row.get("name")? })
}

impl SqlGatewayStore {
    pub(super) async fn add_model(&self, create: CreateModelDefinition) -> Result<ModelDefinition> {
        create.check()?;
        let model = ModelDefinition {
            id: self.next_id("d-")?,
            name: create.name,
            secret: None,
            provider: create.provider,
            model_name: create.model_name,
            change: Change::made(self.now(), create.created_by),
        };
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            check_room(tx.as_mut(), TABLE).await?;
            let secret = secret(tx.as_mut(), &create.secret).await?;
            if is_taken(tx.as_mut(), TABLE, &model.name, &model.id).await? {
                return Err(taken(&model.name));
            }
            let sql = "INSERT INTO gateway_model (id, name, secret, content) VALUES ($1, $2, $3, $4)";
            tx.execute(sql, params![&model.id, &model.name, &secret.id, to_json("model", &model)?]).await?;
            tx.commit().await?;
            Ok(ModelDefinition { secret: Some(secret), ..model.clone() })
        })
    }

    pub(super) async fn find_model(&self, id: &str) -> Result<ModelDefinition> {
        let row = self.meta.query_opt(&format!("{MODEL} WHERE m.id = $1"), params![id]).await?;
        read_model(&row.ok_or_else(|| no_model(id))?)
    }

    pub(super) async fn change_model(&self, id: &str, update: &ModelDefinitionUpdate) -> Result<ModelDefinition> {
        update.check()?;
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let mut model = one_model(tx.as_mut(), id).await?;
            model.name = update.name.clone().unwrap_or(model.name);
            model.provider = update.provider.clone().unwrap_or(model.provider);
            model.model_name = update.model_name.clone().unwrap_or(model.model_name);
            if let Some(named) = &update.secret {
                model.secret = Some(secret(tx.as_mut(), named).await?);
            }
            model.change.touch(self.now(), update.updated_by.clone());
            if is_taken(tx.as_mut(), TABLE, &model.name, id).await? {
                return Err(taken(&model.name));
            }
            let named = model.secret.as_ref().map(|secret| secret.id.clone());
            let sql = "UPDATE gateway_model SET name = $1, secret = $2, content = $3 WHERE id = $4";
            tx.execute(sql, params![&model.name, named, to_json("model", &model)?, id]).await?;
            tx.commit().await?;
            Ok(model)
        })
    }

    pub(super) async fn remove_model(&self, id: &str) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            one_model(tx.as_mut(), id).await?;
            let sql = "SELECT seq FROM gateway_link WHERE model = $1 LIMIT 1";
            if tx.query_opt(sql, params![id]).await?.is_some() {
                return Err(Error::failed_precondition(
                    "Cannot delete model definition that is currently in use by endpoints. \
                     Detach it from all endpoints first.",
                ));
            }
            tx.execute("DELETE FROM gateway_model WHERE id = $1", params![id]).await?;
            tx.commit().await
        })
    }

    pub(super) async fn find_models(&self, filter: &ModelFilter) -> Result<Vec<ModelDefinition>> {
        let rows = self.meta.query(&format!("{MODEL} ORDER BY m.seq"), &[]).await?;
        let mut models: Vec<ModelDefinition> = rows.iter().map(read_model).collect::<Result<_>>()?;
        models.retain(|model| {
            let secret = model.secret.as_ref().map(|secret| &secret.id);
            filter.provider.as_ref().is_none_or(|provider| *provider == model.provider)
                && filter.secret.as_ref().is_none_or(|wanted| Some(wanted) == secret)
        });
        Ok(models)
    }
}

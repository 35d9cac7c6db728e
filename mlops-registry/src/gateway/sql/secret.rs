//! Secrets as rows, their values sealed.

use async_trait::async_trait;
use mlops_core::{Error, Result};
use mlops_store::{MetaStore as _, MetaStoreExt as _, Row, TransactionExt as _, params};

use super::{SqlGatewayStore, check_room, is_taken, unknown};
use crate::{
    gateway::{
        Change, CreateSecret, Secret, SecretStore, SecretUpdate, SecretValues,
        seal::{self, Envelope},
        secret::checked_auth,
    },
    retry::on_conflict,
    rows::{from_json, to_json},
};

const TABLE: &str = "gateway_secret";
pub(super) const ONE: &str = "SELECT * FROM gateway_secret WHERE id = $1";

fn no_secret(id: &str) -> Error {
    unknown("GatewaySecret", "secret_id", id)
}

/// What sealed values are bound to: neither part ever changes, and no two secrets have the same.
pub(super) fn bound_to(id: &str, name: &str) -> Vec<u8> {
    format!("gateway secret {} {id} {name}", id.len()).into_bytes()
}

impl SqlGatewayStore {
    async fn sealed(&self, id: &str, name: &str, values: &SecretValues) -> Result<Envelope> {
        let plain = to_json("secret", values)?;
        seal::seal(&self.keys, &self.key_id, &bound_to(id, name), plain.as_bytes()).await
    }
}

#[async_trait]
impl SecretStore for SqlGatewayStore {
    async fn create_secret(&self, create: CreateSecret) -> Result<Secret> {
        create.check()?;
        let id = self.next_id("s-")?;
        let Envelope { sealed, wrapped, key_id } = self.sealed(&id, &create.name, &create.values).await?;
        let secret = Secret {
            id,
            masked: create.values.masked(),
            name: create.name,
            provider: create.provider,
            auth: checked_auth(create.auth, self.targets)?,
            change: Change::made(self.now(), create.created_by),
        };
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            check_room(tx.as_mut(), TABLE).await?;
            if is_taken(tx.as_mut(), TABLE, &secret.name, &secret.id).await? {
                return Err(Error::already_exists(format!("Secret with name '{}' already exists", secret.name)));
            }
            let sql = "INSERT INTO gateway_secret (id, name, content, sealed, wrapped, key_id)
                VALUES ($1, $2, $3, $4, $5, $6)";
            let content = to_json("secret", &secret)?;
            tx.execute(sql, params![&secret.id, &secret.name, content, sealed.clone(), wrapped.clone(), &key_id])
                .await?;
            tx.commit().await
        })?;
        Ok(secret)
    }

    async fn secret(&self, id: &str) -> Result<Secret> {
        let row = self.meta.query_opt(ONE, params![id]).await?;
        from_json("secret", &row.ok_or_else(|| no_secret(id))?)
    }

    async fn update_secret(&self, id: &str, update: SecretUpdate) -> Result<Secret> {
        update.check()?;
        let auth = update.auth.map(|auth| checked_auth(auth, self.targets)).transpose()?;
        // The name never changes, so what is sealed before the transaction is bound to what is there in it.
        let name = self.secret(id).await?.name;
        let envelope = match &update.values {
            Some(values) => Some(self.sealed(id, &name, values).await?),
            None => None,
        };
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let mut secret: Secret =
                from_json("secret", &tx.query_opt(ONE, params![id]).await?.ok_or_else(|| no_secret(id))?)?;
            secret.auth = auth.clone().unwrap_or(secret.auth);
            secret.masked = update.values.as_ref().map_or(secret.masked, SecretValues::masked);
            secret.change.touch(self.now(), update.updated_by.clone());
            let content = to_json("secret", &secret)?;
            match envelope.clone() {
                None => {
                    let sql = "UPDATE gateway_secret SET content = $1 WHERE id = $2";
                    tx.execute(sql, params![content, id]).await?;
                }
                Some(Envelope { sealed, wrapped, key_id }) => {
                    let sql = "UPDATE gateway_secret SET content = $1, sealed = $2, wrapped = $3, key_id = $4
                        WHERE id = $5";
                    tx.execute(sql, params![content, sealed, wrapped, key_id, id]).await?;
                }
            }
            tx.commit().await?;
            Ok(secret)
        })
    }

    async fn delete_secret(&self, id: &str) -> Result<()> {
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            if tx.execute("DELETE FROM gateway_secret WHERE id = $1", params![id]).await? == 0 {
                return Err(no_secret(id));
            }
            tx.execute("UPDATE gateway_model SET secret = NULL WHERE secret = $1", params![id]).await?;
            tx.commit().await
        })
    }

    async fn secrets(&self, provider: Option<&str>) -> Result<Vec<Secret>> {
        let rows = self.meta.query("SELECT content FROM gateway_secret ORDER BY seq", &[]).await?;
        let mut secrets: Vec<Secret> = rows.iter().map(|row| from_json("secret", row)).collect::<Result<_>>()?;
        secrets.retain(|secret| provider.is_none_or(|provider| secret.provider.as_deref() == Some(provider)));
        Ok(secrets)
    }

    async fn values(&self, id: &str) -> Result<SecretValues> {
        let row = self.meta.query_opt(ONE, params![id]).await?.ok_or_else(|| no_secret(id))?;
        let name: String = row.get("name")?;
        let plain = seal::open(&self.keys, &bound_to(id, &name), &envelope(&row)?).await?;
        // What is no JSON would be in the error of its reader.
        serde_json::from_slice(&plain).map_err(|_| Error::data_loss(format!("secret {id} holds no values")))
    }
}

pub(super) fn envelope(row: &Row) -> Result<Envelope> {
    Ok(Envelope { sealed: row.get("sealed")?, wrapped: row.get("wrapped")?, key_id: row.get("key_id")? })
}

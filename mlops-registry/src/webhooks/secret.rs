//! The secrets of webhooks: how they are kept, and brought under another key.
//!
//! Invariant: a row that is sealed says under which key, but for those of before there was such a column.

use std::sync::Arc;

use mlops_core::{Error, KeyProvider, Result};
use mlops_store::{MetaStore as _, MetaStoreExt as _, Row, params};

use super::SqlWebhookStore;
use crate::{Rewrapped, retry::on_conflict};

const ONE: &str = "SELECT secret, sealed, key_id FROM webhook_hook WHERE id = $1";

/// Who seals, and under which key.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    provider: Arc<dyn KeyProvider>,
    key_id: String,
    /// The key of rows that name none.
    pub(super) unnamed: String,
}

impl Keys {
    pub(super) fn new(provider: Arc<dyn KeyProvider>, key_id: String) -> Self {
        Self { provider, unnamed: key_id.clone(), key_id }
    }
}

/// A secret as it is kept.
pub(super) struct Kept {
    pub(super) secret: Option<Vec<u8>>,
    pub(super) sealed: bool,
    pub(super) key_id: Option<String>,
}

impl SqlWebhookStore {
    pub(super) async fn seal(&self, secret: Option<&str>) -> Result<Kept> {
        let secret = secret.filter(|secret| !secret.is_empty());
        match (secret, &self.keys) {
            (None, _) => Ok(Kept { secret: None, sealed: false, key_id: None }),
            (Some(secret), None) => Ok(Kept { secret: Some(secret.as_bytes().to_vec()), sealed: false, key_id: None }),
            (Some(secret), Some(Keys { provider, key_id, .. })) => {
                let sealed = provider.wrap(key_id, secret.as_bytes()).await?;
                Ok(Kept { secret: Some(sealed), sealed: true, key_id: Some(key_id.clone()) })
            }
        }
    }

    pub(super) async fn unseal(&self, row: &Row) -> Result<Option<String>> {
        let Some(stored) = row.get::<Option<Vec<u8>>>("secret")? else { return Ok(None) };
        let plain = match (row.get::<bool>("sealed")?, &self.keys) {
            (false, _) => stored,
            (true, Some(keys)) => {
                let key_id: Option<String> = row.get("key_id")?;
                keys.provider.unwrap(key_id.as_ref().unwrap_or(&keys.unnamed), &stored).await?
            }
            (true, None) => {
                return Err(Error::failed_precondition(
                    "a webhook secret is sealed; give the keys by SqlWebhookStoreBuilder::with_keys",
                ));
            }
        };
        // The bytes are a secret: nothing of them may be in the error.
        String::from_utf8(plain).map(Some).map_err(|_| Error::data_loss("a stored webhook secret is not text"))
    }

    /// Brings every secret that is under another key than this store's, or under none, under that one. Its provider
    /// must know both keys: see [`KeyRing`](crate::KeyRing). Each secret changes whole or not at all, and is durable
    /// then; whatever ends the call, what is left is as it was, and the next call goes on.
    ///
    /// # Errors
    /// `FailedPrecondition` for a store without keys, `Unavailable` and `PermissionDenied` of the provider and the store,
    /// with what was done so far. A secret that is damaged, or under a key that the provider does not know, is in
    /// [`Rewrapped::failed`] instead.
    pub async fn rewrap(&self) -> Result<Rewrapped> {
        let Some(Keys { key_id, .. }) = &self.keys else {
            return Err(Error::failed_precondition(
                "the webhook store has no keys; give them by SqlWebhookStoreBuilder::with_keys",
            ));
        };
        // There are at most a thousand webhooks.
        let sql = "SELECT id FROM webhook_hook
            WHERE secret IS NOT NULL AND (key_id IS NULL OR key_id <> $1) ORDER BY created, id";
        let mut report = Rewrapped::default();
        for row in self.meta.query(sql, params![key_id]).await? {
            let id: String = row.get("id")?;
            report.one(&id, || self.rewrap_one(&id, key_id)).await?;
        }
        Ok(report)
    }

    async fn rewrap_one(&self, id: &str, to: &str) -> Result<Option<bool>> {
        let Some(row) = self.meta.query_opt(ONE, params![id]).await? else { return Ok(Some(false)) };
        let held: Option<Vec<u8>> = row.get("secret")?;
        let under: Option<String> = row.get("key_id")?;
        let (Some(held), Some(plain)) = (held, self.unseal(&row).await?) else { return Ok(Some(false)) };
        if under.as_deref() == Some(to) {
            return Ok(Some(false));
        }
        let Kept { secret, sealed, key_id } = self.seal(Some(&plain)).await?;
        let sql = "UPDATE webhook_hook SET secret = $1, sealed = $2, key_id = $3 WHERE id = $4 AND secret = $5";
        let changed =
            on_conflict!(self.meta.execute(sql, params![secret.clone(), sealed, key_id.clone(), id, held.clone()]))?;
        Ok((changed > 0).then_some(true))
    }
}

//! Another key for the keys of secrets.
//!
//! Invariant: a row names the key that its `wrapped` is under; both change together, and only while both are as they were
//! read, so that what another program writes meanwhile stays.

use mlops_core::{Error, Result};
use mlops_store::{MetaStore as _, MetaStoreExt as _, params};

use super::{
    SqlGatewayStore,
    secret::{ONE, bound_to, envelope},
};
use crate::{Rewrapped, gateway::seal, retry::on_conflict};

/// Rows of one look.
const LOOK: i64 = 256;

impl SqlGatewayStore {
    /// Brings every secret that is under another key than this store's under that one. The store's provider must know
    /// both keys: see [`KeyRing`](crate::KeyRing). Each secret changes whole or not at all, and is durable then; whatever
    /// ends the call, what is left is as it was, and the next call goes on. Only the wrapping changes: the values keep
    /// their own key until they are given anew.
    ///
    /// # Errors
    /// `Unavailable` and `PermissionDenied` of the provider and the store, with what was done so far. A secret that
    /// is damaged, or under a key that the provider does not know, is in [`Rewrapped::failed`] instead.
    pub async fn rewrap(&self) -> Result<Rewrapped> {
        let (mut report, mut after) = (Rewrapped::default(), 0_i64);
        let sql = "SELECT seq, id FROM gateway_secret WHERE key_id <> $1 AND seq > $2 ORDER BY seq LIMIT $3";
        loop {
            let rows = self.meta.query(sql, params![&self.key_id, after, LOOK]).await?;
            for row in &rows {
                after = row.get("seq")?;
                let id: String = row.get("id")?;
                report.one(&id, || self.rewrap_one(&id)).await?;
            }
            if rows.is_empty() {
                return Ok(report);
            }
        }
    }

    async fn rewrap_one(&self, id: &str) -> Result<Option<bool>> {
        let Some(row) = self.meta.query_opt(ONE, params![id]).await? else { return Ok(Some(false)) };
        let held = envelope(&row)?;
        if held.key_id == self.key_id {
            return Ok(Some(false));
        }
        let bound_to = bound_to(id, &row.get::<String>("name")?);
        let wrapped = seal::rewrap(&self.keys, &self.key_id, &bound_to, &held).await?;
        let sql = "UPDATE gateway_secret SET wrapped = $1, key_id = $2 WHERE id = $3 AND wrapped = $4 AND key_id = $5";
        let values = params![wrapped, &self.key_id, id, held.wrapped, &held.key_id];
        let changed = on_conflict!(self.meta.execute(sql, values))?;
        Ok::<_, Error>((changed > 0).then_some(true))
    }
}

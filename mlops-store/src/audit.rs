//! The audit port for actions that live in the metadata database: the row that records an action
//! joins the transaction that performs it, so there is never one without the other.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{AuditEntry, Result};

use crate::meta::Transaction;

/// Appends audit entries inside a transaction someone else began.
#[async_trait]
pub trait TransactionalAudit: fmt::Debug + Send + Sync + 'static {
    /// Appends `entry` as part of `tx`: it is durable exactly when `tx` commits, and gone when
    /// `tx` is dropped.
    ///
    /// # Errors
    /// When the entry could not be written; the caller must then drop `tx`.
    async fn append_in(&self, tx: &mut dyn Transaction, entry: &AuditEntry) -> Result<()>;
}

#[async_trait]
impl<T: TransactionalAudit + ?Sized> TransactionalAudit for Arc<T> {
    async fn append_in(&self, tx: &mut dyn Transaction, entry: &AuditEntry) -> Result<()> {
        (**self).append_in(tx, entry).await
    }
}

//! Keys for envelope encryption, held by someone else.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::error::Result;

/// Wraps data keys with a key that never leaves the provider.
#[async_trait]
pub trait KeyProvider: fmt::Debug + Send + Sync + 'static {
    /// Encrypts a data key under the named key.
    ///
    /// # Errors
    /// `NotFound` for an unknown key, `PermissionDenied`, `Unavailable`.
    async fn wrap(&self, key_id: &str, data_key: &[u8]) -> Result<Vec<u8>>;

    /// Decrypts what [`KeyProvider::wrap`] gave under the same key.
    ///
    /// # Errors
    /// As `wrap`, and `DataLoss` when the bytes were not made by this key.
    async fn unwrap(&self, key_id: &str, wrapped: &[u8]) -> Result<Vec<u8>>;
}

#[async_trait]
impl<T: KeyProvider + ?Sized> KeyProvider for Arc<T> {
    async fn wrap(&self, key_id: &str, data_key: &[u8]) -> Result<Vec<u8>> {
        (**self).wrap(key_id, data_key).await
    }
    async fn unwrap(&self, key_id: &str, wrapped: &[u8]) -> Result<Vec<u8>> {
        (**self).unwrap(key_id, wrapped).await
    }
}

//! Another key for what is sealed: [`KeyRing`] knows the keys of before and of now while secrets are under either, and
//! [`Rewrapped`] says how far a change of keys came.
//!
//! A key is changed thus: every program gets a ring of the new key and the one of before, and writes under the new one;
//! then [`SqlWebhookStore::rewrap`](crate::webhooks::SqlWebhookStore::rewrap) and the same of the gateway's store bring
//! what is there under the new key, each secret whole or not at all. A call that was killed or failed is given again. Once
//! one has ended with nothing in [`Rewrapped::failed`], and no program writes under the key of before, that key may go.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Error, ErrorKind, KeyProvider, Result};

use crate::retry::ATTEMPTS_MAX;

/// Several providers as one: each key is asked for where it is known.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::KeyProvider;
/// use mlops_registry::{KeyRing, gateway::LocalKeys};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let directory = tempfile::tempdir().unwrap();
/// let before = Arc::new(LocalKeys::from_file(&directory.path().join("before.key"))?);
/// let now = Arc::new(LocalKeys::from_file(&directory.path().join("now.key"))?);
/// let wrapped = before.wrap(before.key_id(), b"a data key").await?;
/// let ring = KeyRing::new([now as Arc<dyn KeyProvider>, before.clone()]);
/// assert_eq!(ring.unwrap(before.key_id(), &wrapped).await?, b"a data key");
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct KeyRing {
    providers: Vec<Arc<dyn KeyProvider>>,
}

impl KeyRing {
    /// A ring of these, asked in this order.
    pub fn new(providers: impl IntoIterator<Item = Arc<dyn KeyProvider>>) -> Self {
        Self { providers: providers.into_iter().collect() }
    }

    /// What the first gives that knows the key.
    async fn ask<'a, F: Future<Output = Result<Vec<u8>>>>(
        &'a self,
        key_id: &str,
        ask: impl Fn(&'a dyn KeyProvider) -> F + Send,
    ) -> Result<Vec<u8>> {
        let mut unknown = Error::not_found(format!("no provider knows key {key_id:?}: the ring has none"));
        for provider in &self.providers {
            match ask(provider.as_ref()).await {
                Err(error) if error.kind() == ErrorKind::NotFound => unknown = error,
                outcome => return outcome,
            }
        }
        Err(unknown)
    }
}

#[async_trait]
impl KeyProvider for KeyRing {
    async fn wrap(&self, key_id: &str, data_key: &[u8]) -> Result<Vec<u8>> {
        self.ask(key_id, |provider| provider.wrap(key_id, data_key)).await
    }

    async fn unwrap(&self, key_id: &str, wrapped: &[u8]) -> Result<Vec<u8>> {
        self.ask(key_id, |provider| provider.unwrap(key_id, wrapped)).await
    }
}

/// What a change of keys did.
#[derive(Debug, Default)]
pub struct Rewrapped {
    /// Secrets that are under the new key since this call.
    pub changed: u64,
    /// The ids of secrets that could not be opened and stay as they were, and why.
    pub failed: Vec<(String, Error)>,
}

impl Rewrapped {
    /// Tries one secret until nobody changes it meanwhile; `attempt` gives none then, else whether it did anything.
    /// What is wrong with one secret is kept; what would be so with all of them, such as a provider that cannot be
    /// reached, ends the call.
    pub(crate) async fn one<F: Future<Output = Result<Option<bool>>>>(
        &mut self,
        id: &str,
        attempt: impl Fn() -> F + Send,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            match attempt().await {
                Ok(Some(changed)) => {
                    self.changed += u64::from(changed);
                    return Ok(());
                }
                Ok(None) => {}
                Err(error) if matches!(error.kind(), ErrorKind::DataLoss | ErrorKind::NotFound) => {
                    self.failed.push((id.to_owned(), error));
                    return Ok(());
                }
                Err(error) => return Err(error.with("secret", id).with("rewrapped", self.changed)),
            }
        }
        let error = Error::conflict("it was changed again and again meanwhile; give the call again");
        self.failed.push((id.to_owned(), error));
        Ok(())
    }
}

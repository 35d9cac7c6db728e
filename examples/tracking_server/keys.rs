//! The key under which the secrets of the gateway and of webhooks are sealed, and the change from a key of before.
//!
//! It is derived from the passphrase in `MLFLOW_CRYPTO_KEK_PASSPHRASE` (and `MLFLOW_CRYPTO_KEK_VERSION`), as with MLflow's own
//! server, or else read from the file `gateway.key` in the home directory, which the first start makes. Keep either apart from
//! the database, and a copy of it. The key of before is in `MLFLOW_CRYPTO_KEK_PASSPHRASE_FORMER` (and
//! `MLFLOW_CRYPTO_KEK_VERSION_FORMER`), or in the file that `--former-key` names.

use std::{path::Path, sync::Arc};

use mlops::{
    Error, Result,
    core::KeyProvider,
    registry::{
        KeyRing, Rewrapped,
        gateway::{LocalKeys, SqlGatewayStore},
        webhooks::SqlWebhookStore,
    },
    store::Home,
};

const PASSPHRASE: &str = "MLFLOW_CRYPTO_KEK_PASSPHRASE";
const VERSION: &str = "MLFLOW_CRYPTO_KEK_VERSION";
/// What is added to either for the key of before.
const FORMER: &str = "_FORMER";
/// The file of the key, where there is no passphrase.
const FILE: &str = "gateway.key";

/// Who seals, and under which key.
pub(crate) struct SealingKeys {
    pub(crate) provider: Arc<dyn KeyProvider>,
    pub(crate) key_id: String,
    /// The key of secrets whose rows name none.
    pub(crate) former_id: String,
}

impl SealingKeys {
    /// The key of now, and that of before if one is given.
    pub(crate) fn read(home: &Home, former_file: Option<&Path>) -> Result<Self> {
        let now = match from_environment("")? {
            Some(keys) => keys,
            None => LocalKeys::from_file(&home.join(FILE))?,
        };
        let former = match (from_environment(FORMER)?, former_file) {
            (None, None) => None,
            (Some(keys), None) => Some(keys),
            (None, Some(file)) if file.exists() => Some(LocalKeys::from_file(file)?),
            (None, Some(file)) => {
                let message = format!("--former-key {} is not there; name the key file of before", file.display());
                return Err(Error::invalid_argument(message));
            }
            (Some(_), Some(_)) => {
                let message = format!("{PASSPHRASE}{FORMER} and --former-key are both given; give the one of before");
                return Err(Error::invalid_argument(message));
            }
        };
        let key_id = now.key_id().to_owned();
        let former_id = former.as_ref().unwrap_or(&now).key_id().to_owned();
        let ring = std::iter::once(now).chain(former).map(|keys| Arc::new(keys) as Arc<dyn KeyProvider>);
        Ok(Self { provider: Arc::new(KeyRing::new(ring)), key_id, former_id })
    }

    /// Brings all secrets under the key of now, and says so where there were others. Secrets of webhooks from before
    /// they were sealed are so afterwards.
    pub(crate) async fn rewrap(&self, gateway: &SqlGatewayStore, webhooks: &SqlWebhookStore) -> Result<()> {
        for (what, Rewrapped { changed, failed }) in
            [("gateway", gateway.rewrap().await?), ("webhooks", webhooks.rewrap().await?)]
        {
            if changed > 0 {
                eprintln!("{changed} secrets of the {what} are under the key {} now", self.key_id);
            }
            for (id, error) in failed {
                eprintln!("secret {id} of the {what} stays under the key that it is under: {error}");
            }
        }
        Ok(())
    }
}

/// The key of the passphrase in the environment.
#[allow(clippy::disallowed_methods, reason = "a program reads its environment")]
fn from_environment(suffix: &str) -> Result<Option<LocalKeys>> {
    let variable = |name: &str| std::env::var(format!("{name}{suffix}")).ok().filter(|value| !value.is_empty());
    let Some(passphrase) = variable(PASSPHRASE) else { return Ok(None) };
    let version = variable(VERSION).unwrap_or_else(|| "1".to_owned());
    let wrong = |_| Error::invalid_argument(format!("{VERSION}{suffix} is {version:?}; it must be a number"));
    LocalKeys::from_passphrase(&passphrase, version.parse().map_err(wrong)?).map(Some)
}

//! API keys, known by their SHA-256 alone.
//!
//! Keys must be long and random: a digest of one can then be stored, and looked up, without giving it away. They are
//! no place for passwords that people choose.

use std::{collections::HashMap, fmt};

use async_trait::async_trait;
use mlops_core::{Digest, Error, Principal, Result};

use super::{Authenticator, Credentials, unknown};

/// Shortest key, bytes.
const KEY_BYTES_MIN: usize = 16;

/// API keys and client certificates with their owners.
///
/// A key is taken as a bearer token, in `x-api-key`, and as the password of its owner.
///
/// ```
/// use mlops_core::{Digest, Principal};
/// use mlops_serve::ApiKeys;
///
/// // From a secret store: the key itself need never be in a file.
/// let digest = Digest::of(b"a-long-random-key");
/// let keys = ApiKeys::new().with_digest(digest, Principal::new("shop"));
/// assert!(!format!("{keys:?}").contains("shop"));
/// assert!(ApiKeys::new().with_key("short", Principal::new("shop")).is_err());
/// ```
#[derive(Clone, Default)]
pub struct ApiKeys {
    owners: HashMap<Digest, Principal>,
}

impl ApiKeys {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    ///
    /// # Errors
    /// `InvalidArgument` for a key of less than 16 bytes.
    pub fn with_key(self, key: &str, owner: Principal) -> Result<Self> {
        if key.len() < KEY_BYTES_MIN {
            return Err(Error::invalid_argument(format!(
                "the api key of {:?} has {} bytes; at least {KEY_BYTES_MIN} random ones are needed",
                owner.name,
                key.len()
            )));
        }
        Ok(self.with_digest(Digest::of(key.as_bytes()), owner))
    }

    /// Adds a key, or a client certificate (DER), by its SHA-256.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest, owner: Principal) -> Self {
        self.owners.insert(digest, owner);
        self
    }

    /// Whoever finds a key by comparing times would have to find digests that share a prefix with it, which needs the
    /// key.
    fn owner(&self, secret: &[u8]) -> Option<&Principal> {
        self.owners.get(&Digest::of(secret))
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.owners.len())
    }
}

#[async_trait]
impl Authenticator for ApiKeys {
    async fn authenticate(&self, credentials: Credentials) -> Result<Principal> {
        let owner = match &credentials {
            Credentials::Token(key) => self.owner(key.as_bytes()),
            Credentials::Password { user, password } => {
                self.owner(password.as_bytes()).filter(|owner| owner.name == *user)
            }
            Credentials::Certificate(der) => self.owner(der),
        };
        owner.cloned().ok_or_else(unknown)
    }
}

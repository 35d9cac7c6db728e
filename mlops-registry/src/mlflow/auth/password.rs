//! Passwords: hashed by Argon2id (RFC 9106), compared in constant time.
//!
//! Invariant: a password is never kept or logged. One that was right is remembered for a while as a SHA-256 under a
//! key that only this process knows, next to the hash it was right for, so that a new password counts at once.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use mlops_core::{Digest, Error, Result};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::AuthSettings;
use crate::IdSource;

/// Longest password, in bytes; hashing longer ones would only cost time.
pub(super) const PASSWORD_BYTES_MAX: usize = 1_024;
/// Most users whose password is remembered.
const REMEMBERED_MAX: usize = 4_096;

pub(super) struct Passwords {
    argon2: Argon2<'static>,
    /// A hash that no password fits, so that an unknown user takes as long as a known one.
    dummy: String,
    key: [u8; 32],
    remembered: Mutex<HashMap<String, Remembered>>,
    remembered_for: Duration,
    hashing: Arc<Semaphore>,
}

struct Remembered {
    password: Digest,
    hash: String,
    /// By the monotonic clock.
    until: Duration,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

fn failed(error: impl fmt::Display) -> Error {
    Error::internal(format!("hashing a password failed: {error}"))
}

impl Passwords {
    pub(super) fn new(settings: &AuthSettings, ids: &dyn IdSource) -> Result<Self> {
        let params = Params::new(settings.hash_memory_kib, settings.hash_passes, 1, None).map_err(failed)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let secret = |ids: &dyn IdSource| ids.next_id().to_be_bytes();
        let dummy = argon2.hash_password_with_salt(&secret(ids), &secret(ids)).map_err(failed)?.to_string();
        let mut key = [0; 32];
        for (place, byte) in key.iter_mut().zip(secret(ids).into_iter().chain(secret(ids))) {
            *place = byte;
        }
        let remembered_for = Duration::from_secs(settings.remembered_seconds);
        let hashing = Arc::new(Semaphore::new(settings.hashes_max));
        Ok(Self { argon2, dummy, key, remembered: Mutex::default(), remembered_for, hashing })
    }

    /// The hash of a password as a PHC string.
    pub(super) async fn hash(&self, password: &str, salt: u128) -> Result<String> {
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        let hash = move || {
            argon2.hash_password_with_salt(password.as_bytes(), &salt.to_be_bytes()).map(|hash| hash.to_string())
        };
        self.compute(hash).await?.map_err(failed)
    }

    /// Whether the password of a user is right, at a moment of the monotonic clock; `hash` is absent for a user who does not exist.
    pub(super) async fn verify(&self, user: &str, password: &str, hash: Option<&str>, now: Duration) -> Result<bool> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let (argon2, given) = (self.argon2.clone(), password.to_owned());
        let stored = hash.unwrap_or(&self.dummy).to_owned();
        let right = self.compute(move || argon2.verify_password(given.as_bytes(), stored.as_str()).is_ok()).await?;
        match hash {
            Some(hash) if right => {
                self.remember(user, password, hash, now);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether the password was right not long ago, against the same hash.
    pub(super) fn remembers(&self, user: &str, password: &str, hash: &str, now: Duration) -> bool {
        let digest = self.digest(user, password);
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(user).is_some_and(|kept| {
            let same = kept.password.as_bytes().ct_eq(digest.as_bytes()) & kept.hash.as_bytes().ct_eq(hash.as_bytes());
            bool::from(same) && now < kept.until
        })
    }

    fn remember(&self, user: &str, password: &str, hash: &str, now: Duration) {
        let until = now.saturating_add(self.remembered_for);
        let kept = Remembered { password: self.digest(user, password), hash: hash.to_owned(), until };
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(user.to_owned(), kept);
    }

    fn digest(&self, user: &str, password: &str) -> Digest {
        let mut text = self.key.to_vec();
        text.extend_from_slice(&(user.len() as u64).to_be_bytes());
        text.extend_from_slice(user.as_bytes());
        text.extend_from_slice(password.as_bytes());
        Digest::of(&text)
    }

    /// Computes away from the runtime, a bounded number at a time. The turn is the work's: it goes on when the request
    /// is given up.
    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let turn = Arc::clone(&self.hashing).acquire_owned().await.map_err(failed)?;
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RandomIds;

    fn passwords() -> Passwords {
        let settings = AuthSettings { hash_memory_kib: 8_192, hash_passes: 1, ..AuthSettings::default() };
        Passwords::new(&settings, &RandomIds::from_seed(1)).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_fits_and_only_for_a_while_is_it_remembered() {
        let passwords = passwords();
        let hash = passwords.hash("correct horse", 7).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8192,t=1,p=1$"), "{hash}");
        let now = Duration::from_secs(1);
        assert!(!passwords.verify("ann", "wrong horse!", Some(&hash), now).await.unwrap());
        assert!(!passwords.verify("ann", "correct horse", None, now).await.unwrap());
        assert!(!passwords.remembers("ann", "correct horse", &hash, now));
        assert!(passwords.verify("ann", "correct horse", Some(&hash), now).await.unwrap());
        assert!(passwords.remembers("ann", "correct horse", &hash, now));
        assert!(!passwords.remembers("bob", "correct horse", &hash, now));
        assert!(!passwords.remembers("ann", "correct horse", "another hash", now), "the password was changed");
        assert!(!passwords.remembers("ann", "correct horse", &hash, Duration::from_secs(302)));
        let other = passwords.hash("correct horse", 8).await.unwrap();
        assert_ne!(hash, other, "salts differ");
        assert!(!passwords.verify("ann", "x", Some("no hash at all"), now).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_of_a_request_that_was_given_up_keeps_its_turn_until_it_is_done() {
        let passwords = Arc::new(passwords());
        let all = passwords.hashing.available_permits();
        let ((started, starts), (end, ends)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let (working, done) = (Arc::clone(&passwords), Arc::new(tokio::sync::Notify::new()));
        let tell = Arc::clone(&done);
        let request = tokio::spawn(async move {
            let work = move || {
                started.send(()).unwrap();
                ends.recv().unwrap();
                tell.notify_one();
            };
            working.compute(work).await
        });
        tokio::task::spawn_blocking(move || starts.recv().unwrap()).await.unwrap();
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        assert_eq!(passwords.hashing.available_permits(), all - 1);
        end.send(()).unwrap();
        done.notified().await;
        drop(passwords.hashing.acquire_many(u32::try_from(all).unwrap()).await.unwrap());
    }
}

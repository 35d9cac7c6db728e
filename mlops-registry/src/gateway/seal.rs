//! Sealing of secrets: AES-256-GCM (NIST SP 800-38D) under a key of their own, which is wrapped by a key provider.
//!
//! Invariant: what is sealed is bound to what it was sealed for; moved to another record, or changed, it does not open.
//! Randomness is the operating system's and no argument: a nonce that comes twice under one key gives the key away.

use std::fmt;

use mlops_core::{Error, KeyProvider, Result};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};

/// Length of a key.
pub(super) const KEY_BYTES: usize = 32;

/// Fills bytes from the operating system.
pub(super) fn random(bytes: &mut [u8]) -> Result<()> {
    let failed = |_| Error::unavailable("the operating system gives no randomness");
    SystemRandom::new().fill(bytes).map_err(failed)
}

/// Seals and opens under one key.
pub(super) struct Sealer(LessSafeKey);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    pub(super) fn new(key: &[u8]) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::data_loss("a key has a wrong length"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// A random nonce, then the sealed bytes with their tag.
    pub(super) fn seal(&self, bound_to: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        let mut body = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound_to), &mut body)
            .map_err(|_| Error::internal("a secret is too long to be sealed"))?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// What was sealed for the same.
    pub(super) fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let failed = || Error::data_loss("sealed bytes do not open: they are damaged, another's, or under another key");
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(failed)?;
        let mut body = body.to_vec();
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound_to), &mut body);
        let length = opened.map_err(|_| failed())?.len();
        body.truncate(length);
        Ok(body)
    }
}

/// A sealed secret and its key, wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) sealed: Vec<u8>,
    pub(super) wrapped: Vec<u8>,
    pub(super) key_id: String,
}

/// Seals under a fresh key, and wraps that.
pub(super) async fn seal(keys: &dyn KeyProvider, key_id: &str, bound_to: &[u8], plain: &[u8]) -> Result<Envelope> {
    let mut key = [0; KEY_BYTES];
    random(&mut key)?;
    let sealed = Sealer::new(&key)?.seal(bound_to, plain)?;
    Ok(Envelope { sealed, wrapped: keys.wrap(key_id, &key).await?, key_id: key_id.to_owned() })
}

/// The key of the envelope wrapped anew, once it has been seen to open what is sealed under it.
pub(super) async fn rewrap(
    keys: &dyn KeyProvider,
    key_id: &str,
    bound_to: &[u8],
    envelope: &Envelope,
) -> Result<Vec<u8>> {
    let key = keys.unwrap(&envelope.key_id, &envelope.wrapped).await?;
    Sealer::new(&key)?.open(bound_to, &envelope.sealed)?;
    keys.wrap(key_id, &key).await
}

/// What was sealed for the same.
pub(super) async fn open(keys: &dyn KeyProvider, bound_to: &[u8], envelope: &Envelope) -> Result<Vec<u8>> {
    let key = keys.unwrap(&envelope.key_id, &envelope.wrapped).await?;
    Sealer::new(&key)?.open(bound_to, &envelope.sealed)
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    #[test]
    fn the_cipher_is_the_published_one() {
        // Test case 14 of "The Galois/Counter Mode of Operation" (McGrew, Viega), also in NIST's CAVP vectors: key, nonce
        // and plain text of zeros.
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let sealed =
            [vec![0; NONCE_LEN], hex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")].concat();
        assert_eq!(Sealer::new(&[0; KEY_BYTES]).unwrap().open(&[], &sealed).unwrap(), vec![0; 16]);
    }

    #[test]
    fn what_was_changed_or_moved_does_not_open() {
        let sealer = Sealer::new(&[7; KEY_BYTES]).unwrap();
        let sealed = sealer.seal(b"s-1|openai", b"sk-hush").unwrap();
        assert_eq!(sealer.open(b"s-1|openai", &sealed).unwrap(), b"sk-hush");
        assert_ne!(sealer.seal(b"s-1|openai", b"sk-hush").unwrap(), sealed, "a nonce is used once");
        assert_eq!(sealer.open(b"s-2|openai", &sealed).unwrap_err().kind(), ErrorKind::DataLoss);
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(sealer.open(b"s-1|openai", &damaged).is_err(), "{at}");
            assert!(sealer.open(b"s-1|openai", &sealed[..at]).is_err(), "{at}");
        }
        assert!(Sealer::new(&[7; 31]).is_err());
        assert!(!format!("{sealer:?}").contains('7'));
    }
}

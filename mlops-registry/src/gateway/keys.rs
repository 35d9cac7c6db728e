//! The key under which the keys of secrets are wrapped, held by this process.
//!
//! Invariant: the key is derived from a passphrase or read from a file that its owner alone may read; it is never
//! printed and never in the database. Its id says which key it is and nothing of it.

use std::{
    fmt, fs,
    io::{ErrorKind as IoErrorKind, Read as _, Write as _},
    path::Path,
};

use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use mlops_core::{Digest, Error, KeyProvider, Result};

use super::seal::{KEY_BYTES, Sealer, random};

/// Shortest passphrase, in bytes.
const PASSPHRASE_BYTES_MIN: usize = 16;
/// Longest passphrase, in bytes.
const PASSPHRASE_BYTES_MAX: usize = 4_096;
/// Memory and passes of the derivation, which happens once at start: the first choice of RFC 9106 for machines with
/// little memory (section 4, 64 MiB and 3 passes).
const DERIVE_MEMORY_KIB: u32 = 65_536;
const DERIVE_PASSES: u32 = 3;

/// Wraps and unwraps with one key of its own, for those who have no key service.
///
/// ```
/// use mlops_registry::gateway::LocalKeys;
///
/// let directory = tempfile::tempdir().unwrap();
/// let made = LocalKeys::from_file(&directory.path().join("gateway.key"))?;
/// let read = LocalKeys::from_file(&directory.path().join("gateway.key"))?;
/// assert_eq!(made.key_id(), read.key_id());
/// assert!(LocalKeys::from_passphrase("too short", 1).is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
pub struct LocalKeys {
    id: String,
    sealer: Sealer,
}

impl fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl LocalKeys {
    /// The key that Argon2id derives from a passphrase of 16 bytes or more and the version of it. It takes 64 MiB and
    /// about a tenth of a second. The salt is the same everywhere, so that every server with the passphrase has the
    /// key: take a passphrase that was made at random.
    ///
    /// # Errors
    /// `InvalidArgument` for a passphrase that is too short or too long; it is not in the message.
    pub fn from_passphrase(passphrase: &str, version: u32) -> Result<Self> {
        let bytes = passphrase.len();
        if !(PASSPHRASE_BYTES_MIN..=PASSPHRASE_BYTES_MAX).contains(&bytes) {
            return Err(Error::invalid_argument(format!(
                "the passphrase of the gateway's secrets has {bytes} bytes; take {PASSPHRASE_BYTES_MIN} to \
                 {PASSPHRASE_BYTES_MAX} random ones"
            )));
        }
        let failed = |error: argon2::Error| Error::internal(format!("the passphrase gives no key: {error}"));
        let params = Params::new(DERIVE_MEMORY_KIB, DERIVE_PASSES, 1, Some(KEY_BYTES)).map_err(failed)?;
        let salt = format!("mlops gateway key, version {version}");
        let mut key = [0; KEY_BYTES];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), salt.as_bytes(), &mut key)
            .map_err(failed)?;
        Self::new(&format!("passphrase-{version}"), &key)
    }

    /// The key in a file; a file that is absent is made with a random key, readable by its owner alone. Whoever loses
    /// the file loses the secrets: keep a copy of it apart from the database.
    ///
    /// # Errors
    /// `FailedPrecondition` when others may read the file, `DataLoss` when it holds no key, `Unavailable` when it cannot
    /// be read or made.
    pub fn from_file(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::unavailable(format!("the key file {} cannot be used: {error}", path.display())).with_source(error)
        };
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == IoErrorKind::NotFound => {
                make(path).map_err(failed)?;
                fs::File::open(path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        check_private(&file, path).map_err(failed)??;
        let mut key = Vec::with_capacity(KEY_BYTES + 1);
        (&mut file).take(KEY_BYTES as u64 + 1).read_to_end(&mut key).map_err(failed)?;
        let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| {
            let message =
                format!("{} holds no key: it must have {KEY_BYTES} bytes; bring the file back", path.display());
            Error::data_loss(message)
        })?;
        Self::new("file", &key)
    }

    fn new(kind: &str, key: &[u8; KEY_BYTES]) -> Result<Self> {
        let mut named = b"mlops gateway key id".to_vec();
        named.extend_from_slice(key);
        let digest = Digest::of(&named).to_string();
        // Enough to tell keys apart; of a key of 256 random bits, or of a passphrase, it gives nothing away that a
        // sealed value would not.
        let short: String = digest.chars().take(16).collect();
        Ok(Self { id: format!("{kind}-{short}"), sealer: Sealer::new(key)? })
    }

    /// The id of the key, by which it is wrapped and unwrapped.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.id
    }

    fn check(&self, key_id: &str) -> Result<()> {
        if key_id == self.id {
            return Ok(());
        }
        Err(Error::not_found(format!(
            "key {key_id:?} is not the one of this server, {:?}; start it with the passphrase or key file of before",
            self.id
        )))
    }
}

#[async_trait]
impl KeyProvider for LocalKeys {
    async fn wrap(&self, key_id: &str, data_key: &[u8]) -> Result<Vec<u8>> {
        self.check(key_id)?;
        self.sealer.seal(key_id.as_bytes(), data_key)
    }

    async fn unwrap(&self, key_id: &str, wrapped: &[u8]) -> Result<Vec<u8>> {
        self.check(key_id)?;
        self.sealer.open(key_id.as_bytes(), wrapped)
    }
}

/// Makes the file whole or not at all; one that another process made meanwhile stays.
fn make(path: &Path) -> std::io::Result<()> {
    let random = |bytes: &mut [u8]| random(bytes).map_err(std::io::Error::other);
    let (mut key, mut suffix) = ([0; KEY_BYTES], [0; 8]);
    random(&mut key)?;
    random(&mut suffix)?;
    let draft = path.with_extension(format!("{:016x}", u64::from_be_bytes(suffix)));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    let linked = file.write_all(&key).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == IoErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            // The name must outlive the machine as well, or secrets would be sealed under a key that is gone.
            Some(parent) => fs::File::open(parent)?.sync_all(),
            None => fs::File::open(".")?.sync_all(),
        },
    }
}

#[cfg(unix)]
fn check_private(file: &fs::File, path: &Path) -> std::io::Result<Result<()>> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(Ok(()));
    }
    let shown = path.display();
    Ok(Err(Error::failed_precondition(format!("the key file {shown} has mode {mode:o}; chmod 600 {shown}"))))
}

#[cfg(not(unix))]
fn check_private(_: &fs::File, _: &Path) -> std::io::Result<Result<()>> {
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_passphrase_gives_the_same_key_again_and_each_version_another() {
        let of = |passphrase: &str, version| LocalKeys::from_passphrase(passphrase, version).unwrap();
        let (one, again) = (of("correct horse battery", 1), of("correct horse battery", 1));
        let wrapped = one.wrap(one.key_id(), b"data key").await.unwrap();
        assert_eq!(again.unwrap(one.key_id(), &wrapped).await.unwrap(), b"data key");
        for other in [of("correct horse battery", 2), of("correct horse batterie", 1)] {
            assert_ne!(other.key_id(), one.key_id());
            let error = other.unwrap(one.key_id(), &wrapped).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
        assert!(!format!("{one:?}").contains("horse"));
        assert!(!LocalKeys::from_passphrase("hush", 1).unwrap_err().message().contains("hush"));
    }

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.key");
        let made = LocalKeys::from_file(&path).unwrap();
        assert_eq!(made.key_id(), LocalKeys::from_file(&path).unwrap().key_id());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
        let other = LocalKeys::from_file(&directory.path().join("other.key")).unwrap();
        assert_ne!(made.key_id(), other.key_id());
        make(&path).unwrap();
        assert_eq!(made.key_id(), LocalKeys::from_file(&path).unwrap().key_id(), "it is not made anew");

        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let error = LocalKeys::from_file(&path).unwrap_err();
            assert!(error.kind() == ErrorKind::FailedPrecondition && error.message().contains("640"), "{error}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        for length in [0, KEY_BYTES - 1, KEY_BYTES + 1] {
            fs::write(&path, vec![7; length]).unwrap();
            assert_eq!(LocalKeys::from_file(&path).unwrap_err().kind(), ErrorKind::DataLoss);
        }
    }
}

//! How a client says who it is: PLAIN (RFC 4616) and SCRAM (RFC 5802, with SHA-256 of RFC 7677 or SHA-512). Names and
//! passwords are taken as they are: they are not brought into one form of several that look alike (SASLprep).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, Sha512};

/// How often a password is hashed: what RFC 7677 asks for at least, and what a broker may ask for at most.
const ROUNDS_MIN: u32 = 4_096;
const ROUNDS_MAX: u32 = 1 << 17;

/// Who we are, and how that is shown.
#[derive(Clone)]
pub(super) struct Credentials {
    mechanism: Mechanism,
    user: String,
    password: String,
    salted: Salted,
}

/// A password as it was salted last, by salt and rounds: brokers of one cluster ask for the same, and it takes long.
type Salted = Arc<Mutex<Option<((Vec<u8>, u32), Vec<u8>)>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Scram(Hash),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha512,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("mechanism", &self.mechanism()).finish_non_exhaustive()
    }
}

impl Credentials {
    fn new(mechanism: Mechanism, user: String, password: String) -> Self {
        Self { mechanism, user, password, salted: Salted::default() }
    }

    pub(super) fn plain(user: String, password: String) -> Self {
        Self::new(Mechanism::Plain, user, password)
    }

    pub(super) fn scram_sha_256(user: String, password: String) -> Self {
        Self::new(Mechanism::Scram(Hash::Sha256), user, password)
    }

    pub(super) fn scram_sha_512(user: String, password: String) -> Self {
        Self::new(Mechanism::Scram(Hash::Sha512), user, password)
    }

    /// By its name in the protocol.
    pub(super) fn mechanism(&self) -> &'static str {
        match self.mechanism {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(Hash::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(Hash::Sha512) => "SCRAM-SHA-512",
        }
    }

    /// What is said first. `nonce` is a text that nobody can guess, of letters and digits.
    pub(super) fn begin(&self, nonce: &str) -> (Vec<u8>, Talk) {
        let Mechanism::Scram(hash) = self.mechanism else {
            return (format!("\0{}\0{}", self.user, self.password).into_bytes(), Talk::Done);
        };
        let user = self.user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        let said = format!("n,,{first}").into_bytes();
        let (password, salted) = (self.password.clone(), Arc::clone(&self.salted));
        (said, Talk::Challenge(Scram { hash, password, salted, nonce: nonce.to_owned(), first }))
    }
}

/// Where a greeting stands.
pub(super) enum Talk {
    /// The broker has let us in with its last answer.
    Done,
    Challenge(Scram),
    /// The broker has to show that it knows us, too: with this text.
    Proof(String),
}

/// A client that has said its name.
pub(super) struct Scram {
    hash: Hash,
    password: String,
    salted: Salted,
    nonce: String,
    first: String,
}

impl Talk {
    /// What is said to an answer of the broker; nothing where it has been the last one. May compute for long.
    pub(super) fn answer(self, said: &[u8]) -> Result<Option<(Vec<u8>, Self)>, &'static str> {
        let said = std::str::from_utf8(said).map_err(|_| "it answers with what is no text")?;
        match self {
            Self::Done => Ok(None),
            Self::Challenge(scram) => scram.answer(said).map(|(said, proof)| Some((said, Self::Proof(proof)))),
            Self::Proof(proof) if said.split(',').next() == Some(proof.as_str()) => Ok(None),
            Self::Proof(_) => Err("it does not know the password, so it is not the one that it says it is"),
        }
    }
}

impl Scram {
    fn answer(self, said: &str) -> Result<(Vec<u8>, String), &'static str> {
        let part = |name: &str| said.split(',').find_map(|part| part.strip_prefix(name));
        let nonce = part("r=").filter(|nonce| nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len());
        let nonce = nonce.ok_or("its challenge is not one to our greeting")?;
        let salt = part("s=").and_then(|salt| BASE64_STANDARD.decode(salt).ok()).ok_or("its challenge has no salt")?;
        let rounds = part("i=").and_then(|rounds| rounds.parse().ok());
        let rounds = rounds.filter(|rounds| (ROUNDS_MIN..=ROUNDS_MAX).contains(rounds));
        let rounds = rounds.ok_or("its challenge has no number of rounds from 4096 to 131072")?;

        let salted = self.salted((salt, rounds));
        let last = format!("c=biws,r={nonce}");
        let all = format!("{},{said},{last}", self.first);
        let mac = |key: &[u8], text: &str| self.hash.mac(key, text.as_bytes());
        let client = mac(&salted, "Client Key");
        let signature = mac(&self.hash.of(&client), &all);
        let proof: Vec<u8> = client.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        let server = mac(&mac(&salted, "Server Key"), &all);
        let said = format!("{last},p={}", BASE64_STANDARD.encode(proof));
        Ok((said.into_bytes(), format!("v={}", BASE64_STANDARD.encode(server))))
    }
}

impl Scram {
    /// The salted password: that of the last time, where salt and rounds are the same.
    fn salted(&self, by: (Vec<u8>, u32)) -> Vec<u8> {
        let mut last = self.salted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, salted)) = last.as_ref().filter(|(known, _)| *known == by) {
            return salted.clone();
        }
        let salted = self.hash.salted(self.password.as_bytes(), &by.0, by.1);
        *last = Some((by, salted.clone()));
        salted
    }
}

impl Hash {
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        const ANY: &str = "HMAC takes keys of any length";
        match self {
            Self::Sha256 => {
                let mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY);
                mac.chain_update(bytes).finalize().into_bytes().to_vec()
            }
            Self::Sha512 => {
                let mac = Hmac::<Sha512>::new_from_slice(key).expect(ANY);
                mac.chain_update(bytes).finalize().into_bytes().to_vec()
            }
        }
    }

    /// `Hi` of RFC 5802: PBKDF2 of one block.
    fn salted(self, password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
        let mut last = self.mac(password, &[salt, &1_u32.to_be_bytes()].concat());
        let mut all = last.clone();
        for _ in 1..rounds {
            last = self.mac(password, &last);
            all.iter_mut().zip(&last).for_each(|(all, last)| *all ^= last);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conversation of RFC 7677, section 3.
    #[test]
    fn scram_says_what_the_standard_says() {
        let credentials = Credentials::scram_sha_256("user".into(), "pencil".into());
        let (said, talk) = credentials.begin("rOprNGfwEbeRWgbNEkqO");
        assert_eq!(said, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (said, talk) = talk.answer(challenge).unwrap().unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8(said).unwrap(), expected);
        let last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert!(talk.answer(last).unwrap().is_none());
    }

    #[test]
    fn a_password_is_salted_once_for_all_brokers() {
        let credentials = Credentials::scram_sha_256("user".into(), "pencil".into());
        let known = || credentials.salted.lock().unwrap().clone();
        let answer = |said: &[u8]| credentials.begin("abc").1.answer(said).unwrap().unwrap().0;
        assert!(known().is_none());
        let first = answer(b"r=abcdef,s=QQ==,i=4096");
        let kept = known().unwrap();
        assert_eq!(kept.0, (b"A".to_vec(), 4_096));
        // What is kept is what is used.
        *credentials.salted.lock().unwrap() = Some((kept.0, vec![0; 32]));
        assert_ne!(answer(b"r=abcdef,s=QQ==,i=4096"), first);
        answer(b"r=abcdef,s=QQ==,i=4097");
        assert_eq!(answer(b"r=abcdef,s=QQ==,i=4096"), first, "another one is not taken for it");
    }

    #[test]
    fn a_broker_that_is_not_the_one_that_knows_us_is_refused() {
        let credentials = Credentials::scram_sha_512("us,er=".into(), "pencil".into());
        let (said, _) = credentials.begin("abc");
        assert_eq!(said, b"n,,n=us=2Cer=3D,r=abc");
        let answer = |said: &[u8]| credentials.begin("abc").1.answer(said).map(|next| next.is_some());
        assert_eq!(answer(b"r=abcdef,s=QQ==,i=4096"), Ok(true));
        for bad in [
            "r=abc,s=QQ==,i=4096",
            "r=other,s=QQ==,i=4096",
            "r=abcd,s=?,i=4096",
            "r=abcd,s=QQ==,i=4095",
            "r=abcd,s=QQ==,i=131073",
        ] {
            assert!(answer(bad.as_bytes()).is_err(), "{bad}");
        }
        let (_, talk) = credentials.begin("abc").1.answer(b"r=abcdef,s=QQ==,i=4096").unwrap().unwrap();
        assert!(talk.answer(b"v=QQ==").is_err());
    }

    #[test]
    fn plain_shows_the_password_between_zeros() {
        let (said, talk) = Credentials::plain("user".into(), "secret".into()).begin("abc");
        assert_eq!(said, b"\0user\0secret");
        assert!(talk.answer(b"").unwrap().is_none());
    }
}

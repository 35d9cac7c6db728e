//! Where ids of runs come from: an argument, so that a seeded program makes the same ids again.
//!
//! Invariant: one source never gives the same id twice in practice (128 random bits).

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use mlops_core::{Error, Result, RunId};
use rand::{Rng as _, SeedableRng as _, rngs::SysRng};
use rand_chacha::ChaCha12Rng;

/// Gives numbers that do not repeat.
pub trait IdSource: fmt::Debug + Send + Sync + 'static {
    /// The next id. Answers at once and never fails.
    fn next_id(&self) -> u128;
}

/// Ids from a seeded generator.
///
/// ```
/// use mlops_registry::{IdSource, RandomIds};
///
/// let (left, right) = (RandomIds::from_seed(7), RandomIds::from_seed(7));
/// assert_eq!(left.next_id(), right.next_id());
/// assert_ne!(left.next_id(), left.next_id());
/// ```
#[derive(Debug)]
pub struct RandomIds(Mutex<ChaCha12Rng>);

impl RandomIds {
    /// The sequence that belongs to `seed`. Two programs that share a database must not share a
    /// seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(Mutex::new(ChaCha12Rng::seed_from_u64(seed)))
    }

    /// A sequence that nobody can foretell, seeded once by the operating system.
    ///
    /// # Errors
    /// `Unavailable` when the operating system gives no randomness.
    pub fn from_os() -> Result<Self> {
        let generator = ChaCha12Rng::try_from_rng(&mut SysRng)
            .map_err(|error| Error::unavailable(format!("the operating system gives no randomness: {error}")))?;
        Ok(Self(Mutex::new(generator)))
    }
}

impl IdSource for RandomIds {
    fn next_id(&self) -> u128 {
        let mut generator = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (u128::from(generator.next_u64()) << 64) | u128::from(generator.next_u64())
    }
}

/// A run id of 32 hexadecimal digits.
pub(crate) fn run_id(ids: &dyn IdSource) -> Result<RunId> {
    RunId::new(format!("{:032x}", ids.next_id()))
}

/// An id of 32 hexadecimal digits after a prefix that tells its kind.
pub(crate) fn prefixed_id(ids: &dyn IdSource, prefix: &str) -> String {
    format!("{prefix}{:032x}", ids.next_id())
}

const ADJECTIVES: [&str; 16] = [
    "amber", "bold", "calm", "deft", "eager", "fair", "gentle", "hardy", "keen", "lively", "merry", "noble", "proud",
    "quiet", "swift", "wise",
];
const NOUNS: [&str; 16] = [
    "ant", "bear", "crane", "deer", "eagle", "finch", "goose", "heron", "ibis", "jay", "kite", "lynx", "mole", "newt",
    "otter", "wren",
];

/// A name for a run that was given none, such as `calm-otter-417`.
pub(crate) fn run_name(ids: &dyn IdSource) -> String {
    let id = ids.next_id();
    let pick = |words: &[&'static str; 16], shift: u32| words.get(((id >> shift) & 15) as usize).copied();
    let (adjective, noun) = (pick(&ADJECTIVES, 0), pick(&NOUNS, 4));
    format!("{}-{}-{}", adjective.unwrap_or_default(), noun.unwrap_or_default(), (id >> 8) % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_32_digits_even_when_small() {
        #[derive(Debug)]
        struct Seven;
        impl IdSource for Seven {
            fn next_id(&self) -> u128 {
                7
            }
        }
        assert_eq!(run_id(&Seven).unwrap().as_str(), format!("{}7", "0".repeat(31)));
        assert_eq!(run_name(&Seven), "lively-ant-0".replace("lively", ADJECTIVES[7]));
        assert_ne!(RandomIds::from_os().unwrap().next_id(), RandomIds::from_os().unwrap().next_id());
    }
}

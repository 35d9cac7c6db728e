//! What never changes and so is asked once.
//!
//! Invariant: what it takes is bounded; when it is full everything is forgotten, which costs only asking again.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most facts of one kind that are remembered.
const KNOWN_MAX: usize = 65_536;

/// Facts by their key.
pub(super) struct Known<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V> fmt::Debug for Known<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Known").finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, V: Clone> Known<K, V> {
    fn facts(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the key.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.facts().get(key).cloned()
    }

    /// Remembers facts.
    pub(super) fn keep(&self, facts: impl IntoIterator<Item = (K, V)>) {
        let mut known = self.facts();
        for (key, value) in facts {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let known = Known::default();
        known.keep((0..=KNOWN_MAX).map(|n| (n, n)));
        assert_eq!((known.get(&0), known.get(&KNOWN_MAX)), (None, Some(KNOWN_MAX)));
    }
}

//! Counts by kind, that many threads add to at once.

use std::{
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
};

/// A bounded set of kinds, with the values of the label that tells them apart.
pub(crate) trait Kinds: Copy + PartialEq + 'static {
    const ALL: &'static [Self];
    fn as_str(self) -> &'static str;
}

/// A count for each kind.
#[derive(Debug)]
pub(crate) struct Tally<K> {
    /// In the order of [`Kinds::ALL`].
    counts: Box<[AtomicU64]>,
    kinds: PhantomData<fn() -> K>,
}

impl<K: Kinds> Default for Tally<K> {
    fn default() -> Self {
        Self { counts: K::ALL.iter().map(|_| AtomicU64::new(0)).collect(), kinds: PhantomData }
    }
}

impl<K: Kinds> Tally<K> {
    fn count(&self, kind: K) -> Option<&AtomicU64> {
        self.counts.get(K::ALL.iter().position(|known| *known == kind)?)
    }

    pub(crate) fn add(&self, kind: K) {
        if let Some(count) = self.count(kind) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every kind with its count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, u64)> + '_ {
        K::ALL.iter().copied().zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Refusal;

    #[test]
    fn each_kind_has_its_own_count() {
        let tally = Tally::<Refusal>::default();
        tally.add(Refusal::BodyTimeout);
        tally.add(Refusal::BodyTimeout);
        tally.add(Refusal::InFlight);
        let counted: Vec<_> = tally.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Refusal::InFlight, 1), (Refusal::BodyTimeout, 2)]);
        assert_eq!(tally.iter().count(), Refusal::ALL.len());
    }
}

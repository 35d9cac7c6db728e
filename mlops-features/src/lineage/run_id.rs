//! Ids of runs: UUIDs of version 7 (RFC 9562), so that they sort by time.

use std::{
    fmt::Write as _,
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use mlops_core::{Digest, Timestamp};

/// Makes ids that no other maker with another seed makes.
#[derive(Debug)]
pub(crate) struct RunIds {
    seed: [u8; 16],
    next: AtomicU64,
}

impl RunIds {
    /// The ids of `seed`: the same seed and times give the same ids.
    pub(crate) fn seeded(seed: u64) -> Self {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(seed.to_le_bytes()).for_each(|(byte, of_seed)| *byte = of_seed);
        Self { seed: bytes, next: AtomicU64::new(0) }
    }

    /// Ids of a seed that the operating system draws, once a process.
    pub(crate) fn random() -> Self {
        let draw = |salt: u64| RandomState::new().hash_one(salt).to_le_bytes();
        let mut seed = [0; 16];
        seed.iter_mut().zip(draw(0).into_iter().chain(draw(1))).for_each(|(byte, drawn)| *byte = drawn);
        Self { seed, next: AtomicU64::new(0) }
    }

    /// The next id, of a run that begins at `now`.
    pub(crate) fn next(&self, now: Timestamp) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let digest = Digest::of_parts([
            self.seed.as_slice(),
            number.to_le_bytes().as_slice(),
            now.as_micros().to_le_bytes().as_slice(),
        ]);
        let millis = now.as_millis().cast_unsigned().to_be_bytes();
        let mut bytes = [0_u8; 16];
        let time = millis.into_iter().skip(2);
        let noise = digest.as_bytes().iter().copied();
        bytes.iter_mut().zip(time.chain(noise)).for_each(|(byte, value)| *byte = value);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        let mut text = String::with_capacity(36);
        for (at, byte) in bytes.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            let _ = write!(text, "{dash}{byte:02x}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_version_7_that_sort_by_time() {
        let ids = RunIds::seeded(7);
        let at = |second: i64| Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000);
        let made: Vec<_> = (0..3).map(|second| ids.next(at(second))).collect();
        assert!(made.is_sorted() && made[0] != made[1]);
        let id = &made[0];
        assert_eq!((id.len(), &id[..13], &id[14..15]), (36, "018bcfe5-6800", "7"));
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
        assert_eq!(RunIds::seeded(7).next(at(0)), *id);
        assert_ne!(RunIds::random().next(at(0)), RunIds::random().next(at(0)));
    }
}

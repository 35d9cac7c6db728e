//! Which of 10,000 buckets a routing key falls into.
//!
//! Deterministic across processes, machines and releases: replicas agree without talking, and a stored
//! rollout routes the same after a restart.

/// How finely traffic is split: 0.01 %.
pub const BUCKETS: u16 = 10_000;

/// The bucket of `key` under `salt`, 0 to [`BUCKETS`] - 1.
///
/// FNV-1a 64 (Fowler, Noll, Vo) over the salt, a zero byte and the key, finished with the mixer of SplitMix64
/// (Steele, Lea, Flood 2014), since FNV alone spreads short keys poorly over the high bits; reduced by the high half of
/// a 128-bit product, whose bias is below 2^-50.
#[must_use]
pub fn bucket_of(salt: &str, key: &str) -> u16 {
    let scaled = (u128::from(hash_of(salt, key)) * u128::from(BUCKETS)) >> 64;
    u16::try_from(scaled).unwrap_or(BUCKETS - 1)
}

/// A number from 0 (inclusive) to 1 that `key` determines under `salt`, with 53 bits of the same hash.
pub(crate) fn unit_of(salt: &str, key: &str) -> f64 {
    (hash_of(salt, key) >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

fn hash_of(salt: &str, key: &str) -> u64 {
    let bytes = salt.bytes().chain(std::iter::once(0)).chain(key.bytes());
    mix(bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)))
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_spread_evenly_and_salts_are_independent() {
        let keys: Vec<String> = (0..100_000).map(|index| format!("user-{index}")).collect();
        let share = |salt: &str, below: u16| keys.iter().filter(|key| bucket_of(salt, key) < below).count();
        for (below, expected) in [(10, 100.0_f64), (1_000, 10_000.0), (5_000, 50_000.0)] {
            let p = f64::from(below) / f64::from(BUCKETS);
            let five_sigma = 5.0 * (1e5 * p * (1.0 - p)).sqrt();
            assert!((share("a", below) as f64 - expected).abs() < five_sigma, "{below}: {}", share("a", below));
        }
        let both = keys.iter().filter(|key| bucket_of("a", key) < 5_000 && bucket_of("b", key) < 5_000).count();
        assert!((both as f64 - 25_000.0).abs() < 5.0 * (1e5_f64 * 0.25 * 0.75).sqrt(), "{both}");
    }

    #[test]
    fn the_bucket_of_a_key_never_changes_between_releases() {
        let buckets = ["", "user-1", "ключ"].map(|key| bucket_of("salt", key));
        assert_eq!(buckets, PINNED);
    }

    const PINNED: [u16; 3] = [6915, 2376, 3505];

    proptest! {
        #[test]
        fn buckets_are_in_range(salt in ".*", key in ".*") {
            prop_assert!(bucket_of(&salt, &key) < BUCKETS);
        }
    }
}

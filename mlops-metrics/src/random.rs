//! Numbers that a seed determines, for resampling.
//!
//! Invariant: the i-th number depends on the seed and on i alone, on every machine. Not for
//! secrets.

/// The i-th number of a seed's stream, uniform below a bound: `splitmix64` (Steele, Lea and Flood,
/// OOPSLA 2014), then multiply and shift (Lemire, ACM TOMACS 29, 2019). Zero for bound zero.
#[must_use]
pub fn draw_below(seed: u64, i: u64, bound: u64) -> u64 {
    let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    u64::try_from((u128::from(z) * u128::from(bound)) >> 64).unwrap_or(0)
}

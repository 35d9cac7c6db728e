//! Distances between two histograms.

use super::{float, psi::ZeroRule, total_of};

/// Kullback and Leibler's divergence sum p ln(p / q), with shares made positive by `rule` and brought back to a sum of
/// one; `None` when a side has no counts.
#[must_use]
pub fn kullback_leibler(reference: &[u64], current: &[u64], rule: ZeroRule) -> Option<f64> {
    let (p, q) = (rule.shares_of(reference)?, rule.shares_of(current)?);
    let (p_sum, q_sum) = (p.iter().sum::<f64>(), q.iter().sum::<f64>());
    Some(p.iter().zip(&q).map(|(p, q)| (p / p_sum) * ((p / p_sum) / (q / q_sum)).ln()).sum())
}

/// Plain shares of both sides; `None` when one has no counts.
fn shares(reference: &[u64], current: &[u64]) -> Option<Vec<(f64, f64)>> {
    let (n, m) = (total_of(reference), total_of(current));
    let pair = |(a, b): (&u64, &u64)| (float(*a) / float(n), float(*b) / float(m));
    (n > 0 && m > 0).then(|| reference.iter().zip(current).map(pair).collect())
}

/// Jensen and Shannon's distance: the root of their divergence in natural logarithms, from 0 to sqrt(ln 2) = 0.833.
/// Divided by that it is the distance to base 2, from 0 to 1. `None` when a side has no counts.
///
/// ```
/// use mlops_monitor::stats::jensen_shannon;
///
/// let apart = jensen_shannon(&[5, 0], &[0, 7]).expect("both sides have counts");
/// assert!((apart - 2_f64.ln().sqrt()).abs() < 1e-15);
/// ```
#[must_use]
pub fn jensen_shannon(reference: &[u64], current: &[u64]) -> Option<f64> {
    let part = |p: f64, middle: f64| if p > 0.0 { p * (p / middle).ln() } else { 0.0 };
    let pieces = shares(reference, current)?.into_iter().map(|(p, q)| {
        let middle = f64::midpoint(p, q);
        part(p, middle) + part(q, middle)
    });
    Some((pieces.sum::<f64>() / 2.0).max(0.0).sqrt())
}

/// Hellinger's distance sqrt(sum (sqrt p - sqrt q)^2 / 2), from 0 to 1; `None` when a side has no counts.
#[must_use]
pub fn hellinger(reference: &[u64], current: &[u64]) -> Option<f64> {
    let pieces = shares(reference, current)?.into_iter().map(|(p, q)| (p.sqrt() - q.sqrt()).powi(2));
    Some((pieces.sum::<f64>() / 2.0).sqrt())
}

/// The total variation distance sum |p - q| / 2, from 0 to 1; `None` when a side has no counts.
#[must_use]
pub fn total_variation(reference: &[u64], current: &[u64]) -> Option<f64> {
    Some(shares(reference, current)?.into_iter().map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0)
}

/// The largest difference of a share, from 0 to 1; `None` when a side has no counts.
#[must_use]
pub fn l_infinity(reference: &[u64], current: &[u64]) -> Option<f64> {
    Some(shares(reference, current)?.into_iter().map(|(p, q)| (p - q).abs()).fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn distances_keep_their_bounds(sides in proptest::collection::vec((0_u64..50, 0_u64..50), 1..12)) {
            let (a, b): (Vec<u64>, Vec<u64>) = sides.into_iter().unzip();
            prop_assume!(total_of(&a) > 0 && total_of(&b) > 0);
            for distance in [jensen_shannon, hellinger, total_variation, l_infinity] {
                let found = distance(&a, &b).unwrap();
                prop_assert!((0.0..=1.0 + 1e-12).contains(&found));
                prop_assert!((found - distance(&b, &a).unwrap()).abs() < 1e-12);
                prop_assert!(distance(&a, &a).unwrap() < 1e-7);
            }
            prop_assert!(kullback_leibler(&a, &b, ZeroRule::Laplace).unwrap() >= -1e-12);
        }
    }
}

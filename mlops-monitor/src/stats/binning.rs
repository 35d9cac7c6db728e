//! Cutting numbers into bins, by the two conventions that published PSI values use.
//!
//! Invariant: bins are total: every finite number falls into exactly one.

use super::{count_of, float};

/// The distinct inner quantiles 1/bins, 2/bins, ... of an ascending sample, interpolated linearly
/// between order statistics (Hyndman and Fan's type 7, numpy's default).
///
/// Ties make quantiles coincide; the result then has fewer edges. An empty sample has none.
#[must_use]
pub fn quantile_edges(sorted: &[f64], bins: u32) -> Vec<f64> {
    let mut edges: Vec<f64> = (1..bins).filter_map(|i| quantile(sorted, f64::from(i) / f64::from(bins))).collect();
    edges.dedup();
    edges
}

/// One quantile, type 7: between the order statistics around (n - 1) q.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let position = float(count_of(sorted.len()).checked_sub(1)?) * q;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= position <= n - 1")]
    let index = position.floor() as usize;
    let low = *sorted.get(index)?;
    let high = *sorted.get(index + 1).unwrap_or(&low);
    let fraction = position - position.floor();
    // From the nearer end, as numpy does, so that equal ends give exactly themselves.
    Some(if fraction >= 0.5 { high - (high - low) * (1.0 - fraction) } else { low + (high - low) * fraction })
}

/// Counts of an ascending sample in (-inf, e1], (e1, e2], ..., (ek, inf).
#[must_use]
pub fn bin_counts(sorted: &[f64], edges: &[f64]) -> Vec<u64> {
    let upto = edges.iter().map(|edge| sorted.partition_point(|value| value <= edge)).chain([sorted.len()]);
    let mut before = 0;
    upto.map(|end| {
        let count = count_of(end.saturating_sub(before));
        before = before.max(end);
        count
    })
    .collect()
}

/// Counts of two ascending samples in Evidently's bins: one per distinct value when the reference
/// has at most 20 of them, else equal-width bins over the joint range, as many as Sturges' rule
/// says (1 + log2 N, rounded up), the last one closed.
#[must_use]
pub fn sturges_counts(reference: &[f64], current: &[f64]) -> (Vec<u64>, Vec<u64>) {
    let mut distinct = reference.to_vec();
    distinct.dedup();
    if distinct.len() <= 20 {
        let mut edges = [reference, current].concat();
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        edges.pop();
        return (bin_counts(reference, &edges), bin_counts(current, &edges));
    }
    let edges = sturges_edges(reference, current);
    (half_open_counts(reference, &edges), half_open_counts(current, &edges))
}

/// The inner edges of numpy's `histogram_bin_edges(..., "sturges")`.
fn sturges_edges(reference: &[f64], current: &[f64]) -> Vec<f64> {
    let ends = |pick: fn(&[f64]) -> Option<&f64>| [reference, current].map(|side| pick(side).copied());
    let low = ends(|side| side.first()).into_iter().flatten().fold(f64::INFINITY, f64::min);
    let high = ends(|side| side.last()).into_iter().flatten().fold(f64::NEG_INFINITY, f64::max);
    let size = float(count_of(reference.len() + current.len()));
    // Width first and bins from it, as numpy does: the rounding decides at powers of two.
    let width = (high - low) / (size.log2() + 1.0);
    let bins = ((high - low) / width).ceil();
    if !bins.is_finite() || bins < 1.0 {
        return Vec::new();
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 <= bins <= 65 for any sample size")]
    let bins = bins as u32;
    let step = (high - low) / f64::from(bins);
    (1..bins).map(|i| f64::from(i) * step + low).collect()
}

/// Counts in (-inf, e1), [e1, e2), ..., [ek, inf).
fn half_open_counts(sorted: &[f64], edges: &[f64]) -> Vec<u64> {
    let upto = edges.iter().map(|edge| sorted.partition_point(|value| value < edge)).chain([sorted.len()]);
    let mut before = 0;
    upto.map(|end| count_of(end.saturating_sub(std::mem::replace(&mut before, end)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deciles_of_a_ramp() {
        let ramp: Vec<f64> = (0..=10).map(f64::from).collect();
        assert_eq!(quantile_edges(&ramp, 10), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        assert_eq!(bin_counts(&ramp, &[1.0, 9.0]), [2, 8, 1]);
    }

    #[test]
    fn ties_and_emptiness_merge_bins() {
        assert_eq!(quantile_edges(&[5.0; 30], 10), [5.0]);
        assert!(quantile_edges(&[], 10).is_empty());
        assert_eq!(bin_counts(&[], &[1.0]), [0, 0]);
    }

    #[test]
    fn few_distinct_values_are_their_own_bins() {
        assert_eq!(sturges_counts(&[1.0, 1.0, 2.0], &[2.0, 3.0]), (vec![2, 1, 0], vec![0, 1, 1]));
    }
}

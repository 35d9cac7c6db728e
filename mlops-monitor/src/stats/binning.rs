//! Cutting numbers into bins, by the two conventions that published PSI values use.
//!
//! Invariant: bins are total: every finite number falls into exactly one.

use serde::{Deserialize, Serialize};

use super::{
    count_of, float,
    location::{moments, sum},
};

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

/// How many bins of equal width a histogram gets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WidthRule {
    /// So many, at least one.
    Bins(u32),
    /// 1 + log2 n of them (Sturges, Journal of the American Statistical Association 21, 1926).
    Sturges,
    /// Sturges' with an allowance for skewness (Doane, American Statistician 30, 1976).
    Doane,
    /// Width (24 sqrt(pi) / n)^(1/3) standard deviations (Scott, Biometrika 66, 1979).
    Scott,
    /// Width 2 interquartile ranges / n^(1/3) (Freedman and Diaconis, Zeitschrift fuer Wahrscheinlichkeitstheorie 57,
    /// 1981).
    FreedmanDiaconis,
}

/// Most bins that a rule by width makes; a few far values would ask for any number.
pub const BINS_MAX: u32 = 10_000;

impl WidthRule {
    /// The width it wants for an ascending sample; zero when it has no opinion.
    fn width(self, sorted: &[f64], range: f64) -> f64 {
        let n = float(count_of(sorted.len()));
        match self {
            Self::Bins(bins) => range / f64::from(bins.max(1)),
            Self::Sturges => range / (n.log2() + 1.0),
            Self::Doane => {
                let Some(found) = moments(sorted).filter(|found| found.n > 2) else { return 0.0 };
                let deviation = (found.variance * (n - 1.0) / n).sqrt();
                if deviation <= 0.0 {
                    return 0.0;
                }
                let skewness = sum(sorted.iter().map(|value| ((value - found.mean) / deviation).powi(3))) / n;
                let error = (6.0 * (n - 2.0) / ((n + 1.0) * (n + 3.0))).sqrt();
                range / (1.0 + n.log2() + (1.0 + skewness.abs() / error).log2())
            }
            Self::Scott => {
                let deviation = moments(sorted).map_or(0.0, |found| (found.variance * (n - 1.0) / n).sqrt());
                (24.0 * std::f64::consts::PI.sqrt() / n).cbrt() * deviation
            }
            Self::FreedmanDiaconis => {
                let spread = quantile(sorted, 0.75).zip(quantile(sorted, 0.25)).map_or(0.0, |(high, low)| high - low);
                2.0 * spread / n.cbrt()
            }
        }
    }
}

/// The edges of bins of equal width over an ascending sample, both ends included: as `numpy.histogram_bin_edges`. An
/// empty sample has none; equal values get one bin of width one.
#[must_use]
pub fn width_edges(sorted: &[f64], rule: WidthRule) -> Vec<f64> {
    let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else { return Vec::new() };
    // Width first and bins from it, as numpy does: the rounding decides at powers of two.
    let range = high - low;
    let bins = match rule {
        WidthRule::Bins(bins) => f64::from(bins.max(1)),
        _ => (range / rule.width(sorted, range)).ceil(),
    };
    let bins = if bins.is_finite() && bins >= 1.0 { bins.min(f64::from(BINS_MAX)) } else { 1.0 };
    let (low, high) = if range > 0.0 { (low, high) } else { (low - 0.5, high + 0.5) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to BINS_MAX")]
    let bins = bins as u32;
    let step = (high - low) / f64::from(bins);
    (0..bins).map(|i| f64::from(i) * step + low).chain([high]).collect()
}

/// Counts of two samples in the same bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Binned {
    /// Edges from end to end; the distinct values when each of them is a bin.
    pub edges: Vec<f64>,
    /// Counts of the reference.
    pub reference: Vec<u64>,
    /// Counts of the current sample.
    pub current: Vec<u64>,
}

/// Counts of two ascending samples in Evidently's bins: one per distinct value when the reference has at most 20 of
/// them, else equal-width bins over the joint range by Sturges' rule, the last one closed.
#[must_use]
pub fn sturges_counts(reference: &[f64], current: &[f64]) -> Binned {
    let mut distinct = reference.to_vec();
    distinct.dedup();
    let mut joint = [reference, current].concat();
    joint.sort_by(f64::total_cmp);
    if distinct.len() <= 20 {
        joint.dedup();
        let upper = joint.get(..joint.len().saturating_sub(1)).unwrap_or_default();
        let (reference, current) = (bin_counts(reference, upper), bin_counts(current, upper));
        return Binned { edges: joint, reference, current };
    }
    let edges = width_edges(&joint, WidthRule::Sturges);
    let inner = inner(&edges);
    Binned { reference: half_open_counts(reference, inner), current: half_open_counts(current, inner), edges }
}

/// Counts of two ascending samples in bins of equal width over the reference, the last one closed; current values
/// outside, when there are any, are one more bin that the reference lacks. With Doane's rule these are NannyML's bins.
#[must_use]
pub fn reference_width_counts(reference: &[f64], current: &[f64], rule: WidthRule) -> Binned {
    let edges = width_edges(reference, rule);
    let (Some(&low), Some(&high)) = (edges.first(), edges.last()) else {
        return Binned { edges, reference: Vec::new(), current: Vec::new() };
    };
    let below = current.partition_point(|value| *value < low);
    let upto = current.partition_point(|value| *value <= high);
    let inside = current.get(below..upto).unwrap_or_default();
    let mut counts = [half_open_counts(reference, inner(&edges)), half_open_counts(inside, inner(&edges))];
    let outside = count_of(current.len() - inside.len());
    if outside > 0 {
        for (counts, more) in counts.iter_mut().zip([0, outside]) {
            counts.push(more);
        }
    }
    let [reference, current] = counts;
    Binned { edges, reference, current }
}

/// Edges without the two ends.
fn inner(edges: &[f64]) -> &[f64] {
    edges.get(1..edges.len().saturating_sub(1)).unwrap_or_default()
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
        let found = sturges_counts(&[1.0, 1.0, 2.0], &[2.0, 3.0]);
        assert_eq!((found.edges, found.reference, found.current), (vec![1.0, 2.0, 3.0], vec![2, 1, 0], vec![0, 1, 1]));
    }

    #[test]
    fn widths_follow_their_rules() {
        let ramp: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(width_edges(&ramp, WidthRule::Bins(3)), [0.0, 33.0, 66.0, 99.0]);
        // numpy: histogram_bin_edges(arange(100.), rule), edges less one.
        for (rule, bins) in
            [(WidthRule::Sturges, 8), (WidthRule::Doane, 8), (WidthRule::Scott, 5), (WidthRule::FreedmanDiaconis, 5)]
        {
            assert_eq!(width_edges(&ramp, rule).len(), bins + 1, "{rule:?}");
        }
        assert_eq!(width_edges(&[5.0; 9], WidthRule::Scott), [4.5, 5.5]);
        let far = [vec![0.0; 1_000], ramp.clone(), vec![1e300]].concat();
        assert!(width_edges(&far, WidthRule::FreedmanDiaconis).len() <= BINS_MAX as usize + 1);
    }

    #[test]
    fn edges_of_a_skewed_sample_match_numpy() {
        let mut skewed: Vec<f64> = (0..137).map(|i| f64::from(i * i) / 1000.0 + f64::from(7 * i % 13) / 4.0).collect();
        skewed.sort_by(f64::total_cmp);
        // numpy 2.4.6: histogram_bin_edges(sorted(i*i/1000 + (7*i % 13)/4 for i in range(137)), rule)[[1, -2]].
        let cases = [
            (WidthRule::Sturges, 9, 2.275, 18.2),
            (WidthRule::Doane, 11, 1.861_363_636_363_636_6, 18.613_636_363_636_367),
            (WidthRule::Scott, 6, 3.4125, 17.0625),
            (WidthRule::FreedmanDiaconis, 6, 3.4125, 17.0625),
        ];
        for (rule, bins, second, last_but_one) in cases {
            let edges = width_edges(&skewed, rule);
            assert_eq!(edges.len(), bins + 1, "{rule:?}");
            let found = [edges[0], edges[1], edges[bins - 1], edges[bins]];
            for (found, expected) in found.iter().zip([0.0, second, last_but_one, 20.475]) {
                assert!((found - expected).abs() < 1e-13 * expected.max(1.0), "{rule:?} {found} {expected}");
            }
        }
    }

    #[test]
    fn values_outside_the_reference_are_a_bin_of_their_own() {
        let found = reference_width_counts(&[0.0, 1.0, 2.0, 4.0], &[-1.0, 3.0, 4.0, 9.0], WidthRule::Bins(2));
        assert_eq!((found.reference, found.current), (vec![2, 2, 0], vec![0, 2, 2]));
    }
}

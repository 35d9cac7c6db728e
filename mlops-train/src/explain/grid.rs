//! Places along a feature, and how it runs along with others.

/// The quantile by linear interpolation between order statistics (Hyndman and Fan's type 7).
/// `sorted` is not empty.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    blended(sorted, share * (sorted.len().saturating_sub(1)) as f64 + 1.0)
}

/// The approximately unbiased quantile of Cunnane (`alpha = beta = 0.4`), by which scikit-learn
/// ends its grids. `sorted` is not empty.
pub(super) fn cunnane_quantile(sorted: &[f64], share: f64) -> f64 {
    blended(sorted, sorted.len() as f64 * share + 0.4 + 0.2 * share)
}

/// The order statistic of a fractional rank that counts from one.
fn blended(sorted: &[f64], rank: f64) -> f64 {
    let below = rank.floor().clamp(1.0, sorted.len().saturating_sub(1).max(1) as f64);
    let share = (rank - below).clamp(0.0, 1.0);
    let at = |rank: usize| sorted.get(rank.min(sorted.len()) - 1).copied().unwrap_or(f64::NAN);
    let (low, high) = (at(below as usize), at(below as usize + 1));
    if share == 0.0 { low } else { (1.0 - share) * low + share * high }
}

/// Values without missing ones, ascending.
pub(super) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Pearson's correlation over rows where both are known; zero where one is constant.
pub(super) fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let known = || a.iter().zip(b).filter(|(a, b)| !a.is_nan() && !b.is_nan());
    let n = known().count() as f64;
    let (mean_a, mean_b) = (known().map(|(a, _)| a).sum::<f64>() / n, known().map(|(_, b)| b).sum::<f64>() / n);
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (a, b) in known().map(|(a, b)| (a - mean_a, b - mean_b)) {
        aa += a * a;
        bb += b * b;
        ab += a * b;
    }
    let scale = (aa * bb).sqrt();
    if scale > 0.0 { ab / scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy_and_scipy() {
        let values = [1.0, 2.0, 4.0, 8.0, 16.0];
        // numpy.quantile 2.4.6 and scipy.stats.mstats.mquantiles 1.17.1.
        let cases = [(0.0, 1.0, 1.0), (0.05, 1.2, 1.0), (0.5, 4.0, 4.0), (0.9, 12.8, 16.0), (1.0, 16.0, 16.0)];
        for (share, expected, cunnane) in cases {
            assert!((quantile(&values, share) - expected).abs() < 1e-12, "{share}");
            assert!((cunnane_quantile(&values, share) - cunnane).abs() < 1e-12, "{share}");
        }
        assert_eq!((quantile(&[3.0], 0.3), cunnane_quantile(&[3.0], 0.3)), (3.0, 3.0));
    }

    #[test]
    fn correlation_passes_over_what_is_missing() {
        let a = [1.0, 2.0, f64::NAN, 3.0, 4.0];
        let b = [2.0, 4.0, 100.0, 6.0, 8.0];
        assert!((correlation(&a, &b) - 1.0).abs() < 1e-15);
        assert_eq!(correlation(&a, &[5.0; 5]), 0.0);
    }
}

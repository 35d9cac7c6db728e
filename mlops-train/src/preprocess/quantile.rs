//! Numbers onto a standard normal distribution by their ranks.
//!
//! The definition is that of scikit-learn's `QuantileTransformer(output_distribution="normal")`:
//! quantiles of the training rows at equally spaced probabilities, linear in between, the mean of
//! the lowest and highest probability where several share a value, and `|z| <= 5.1993`.

#![allow(clippy::indexing_slicing, reason = "positions come from searches in the same slice")]

use mlops_metrics::special::normal_quantile;

/// Probabilities are kept this far from 0 and 1.
const MARGIN: f64 = 1e-7;

/// Quantiles at `count` probabilities from 0 to 1 of values that are not NaN; linear between ranks.
pub(super) fn quantiles(mut values: Vec<f64>, count: usize) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return vec![0.0; count] };
    let count = count.min(values.len()).max(2);
    let at = |step: usize| {
        let rank = last as f64 * step as f64 / (count - 1) as f64;
        let (low, share) = (rank.floor() as usize, rank.fract());
        let (low, high) = (values[low.min(last)], values[(low + 1).min(last)]);
        // Halves first, for the difference of the largest doubles is none.
        if share == 0.0 { low } else { low * (1.0 - share) + high * share }
    };
    let mut found: Vec<f64> = (0..count).map(at).collect();
    // Rounding must not break the order.
    for index in 1..found.len() {
        found[index] = found[index].max(found[index - 1]);
    }
    found
}

/// The normal score of one value.
pub(super) fn normal_score(value: f64, quantiles: &[f64]) -> f64 {
    if value.is_nan() {
        return value;
    }
    let probability = match (quantiles.first(), quantiles.last()) {
        (Some(first), _) if value <= *first => 0.0,
        (_, Some(last)) if value >= *last => 1.0,
        _ => {
            let below = quantiles.partition_point(|&quantile| quantile < value);
            let up_to = quantiles.partition_point(|&quantile| quantile <= value);
            let steps = (quantiles.len() - 1) as f64;
            if below < up_to {
                (below + up_to - 1) as f64 / 2.0 / steps
            } else {
                let (low, high) = (quantiles[below - 1], quantiles[below]);
                ((below - 1) as f64 + (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)) / steps
            }
        }
    };
    normal_quantile(probability.clamp(MARGIN, 1.0 - MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    // scikit-learn 1.9.1: QuantileTransformer(n_quantiles=10, output_distribution="normal", subsample=None); at 2.5,
    // which three quantiles share, by the definition: its search from above stops at the second of them.
    #[test]
    fn scores_are_those_of_an_independent_program() {
        let train = vec![3.0, -1.0, 2.5, 2.5, 7.0, 0.0, 10.0, 2.5, 4.0, 1.0];
        let quantiles = quantiles(train, 10);
        let expected = [
            (-5.0, -5.199337582605575),
            (-1.0, -5.199337582605575),
            (0.5, -0.967421566101701),
            (2.5, -0.13971029888186212),
            (3.2, 0.49270333306004166),
            (9.0, 1.7861555612610764),
            (10.0, 5.19933758270342),
            (11.0, 5.19933758270342),
        ];
        for (value, expected) in expected {
            let found = normal_score(value, &quantiles);
            assert!((found - expected).abs() < 1e-7, "{value}: {found} {expected}");
        }
    }

    #[test]
    fn scores_ascend_and_stay_finite() {
        for values in [vec![], vec![1.0], vec![2.0; 9], vec![f64::MIN, -1.0, 0.0, 1e300, f64::MAX]] {
            let quantiles = quantiles(values, 100);
            let probes = [f64::MIN, -5.0, 0.0, 1.0, 1e-300, 2.0, 1e200, f64::MAX];
            let mut sorted = probes;
            sorted.sort_by(f64::total_cmp);
            let scores: Vec<f64> = sorted.iter().map(|&value| normal_score(value, &quantiles)).collect();
            assert!(scores.iter().all(|score| score.is_finite()) && scores.is_sorted(), "{quantiles:?} {scores:?}");
        }
        assert!(normal_score(f64::NAN, &[0.0, 1.0]).is_nan());
    }
}

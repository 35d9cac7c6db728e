//! Values of a study as a Gaussian process likes them: spread evenly, whatever their scale.
//!
//! Losses are often skewed: a bad trial is worse by orders of magnitude than a good one. A process of such values is
//! busy with the bad ones and takes all good ones for equal. So a distance `d` to the best value becomes
//! `ln(1 + d / s)`, with the `s` of a grid under which the values look most like draws of a normal distribution, the
//! change of scale included (Box and Cox, "An Analysis of Transformations", 1964, with a shift instead of a power).
//! The largest `s` is none at all: the values as they are. The smallest is the median distance, so that the best of
//! them is no outlier on the other side.
//!
//! Invariant: the order stays, and what was finite stays finite.

/// Steps of the grid, two for each factor of ten above the median distance.
const STEPS: i32 = 13;

/// Values, of which more is better, to be standardized.
pub(super) fn warp(values: &[f64]) -> Vec<f64> {
    let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Halves first, for the difference of the largest doubles is none.
    let halves: Vec<f64> = values.iter().map(|value| best / 2.0 - value / 2.0).collect();
    let farthest = halves.iter().copied().fold(0.0, f64::max);
    if farthest <= 0.0 {
        return vec![0.0; values.len()];
    }
    let distances: Vec<f64> = halves.iter().map(|half| half / farthest).collect();
    let plain: Vec<f64> = distances.iter().map(|distance| -distance).collect();
    let logarithmic = |shift: f64| -> Vec<f64> { distances.iter().map(|d| -(d / shift).ln_1p()).collect() };
    let least = median_or_least(&distances);
    let candidates = (0..STEPS).map(|step| least * 10.0_f64.powf(0.5 * f64::from(step))).map(|shift| {
        let warped = logarithmic(shift);
        (likelihood(&warped, distances.iter().map(|d| -(d + shift).ln()).sum()), warped)
    });
    let none = (likelihood(&plain, 0.0), plain);
    candidates.fold(none, |best, other| if other.0 > best.0 { other } else { best }).1
}

/// The median distance; where it is none, the least that is one.
fn median_or_least(distances: &[f64]) -> f64 {
    let mut sorted = distances.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().filter(|median| *median > 0.0);
    median.or_else(|| sorted.into_iter().find(|distance| *distance > 0.0)).unwrap_or(1.0)
}

/// The logarithm of how likely values are as draws of the normal distribution of their own mean and deviation, up to a
/// constant; `stretch` is the sum of the logarithms of the slopes that made them.
fn likelihood(values: &[f64], stretch: f64) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    stretch - 0.5 * n * variance.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    /// Mean of cubed deviations: positive where a few values lie far above the others.
    fn skew(values: &[f64]) -> f64 {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let moment = |power| values.iter().map(|value| (value - mean).powi(power)).sum::<f64>() / n;
        moment(3) / moment(2).powf(1.5)
    }

    #[test]
    fn bad_values_are_drawn_near_and_good_ones_left_alone() {
        let mut rng = SeededRng::new(4, 0);
        let normal: Vec<f64> = (0..200).map(|_| rng.normal()).collect();
        let losses = |of: fn(f64) -> f64| -> Vec<f64> { normal.iter().map(|&value| of(value)).collect() };
        let far = losses(|value| -(3.0 * value).exp());
        assert!(skew(&far) < -5.0 && skew(&warp(&far)) > -2.5, "{} {}", skew(&far), skew(&warp(&far)));
        // Few good ones, as at a narrow optimum: the process should look at these.
        let narrow = losses(|value| (2.0 * value).exp());
        let (found, before) = (skew(&warp(&narrow)), skew(&narrow));
        assert!(before > 2.0 && (found - before).abs() < 1e-9, "{before} {found}");
        assert!((skew(&warp(&normal)) - skew(&normal)).abs() < 0.5);
    }

    #[test]
    fn order_and_finiteness_stay() {
        let cases = [
            vec![1.0],
            vec![2.0, 2.0, 2.0],
            vec![f64::MAX, f64::MIN, 0.0],
            vec![-5e-324, 0.0, 1e-300],
            vec![0.0, 0.0, 0.0, 0.0, -1e9],
            (0..50).map(|at| -10.0_f64.powi(at)).collect(),
        ];
        for values in cases {
            let warped = warp(&values);
            assert!(warped.iter().all(|value| value.is_finite()), "{values:?} {warped:?}");
            for (value, after) in values.iter().zip(&warped) {
                for (other, other_after) in values.iter().zip(&warped) {
                    assert!(value < other || after >= other_after, "{value} {other}: {after} {other_after}");
                }
            }
        }
    }
}

//! The asymptotic confidence sequence of a mean, for values without known bounds: money, durations, ratings.
//!
//! mean +- s sqrt((t rho^2 + 1) / (t^2 rho^2) ln((t rho^2 + 1) / alpha^2)) after t values (Waudby-Smith, Arbour, Sinha,
//! Kennedy and Ramdas, Time-uniform central limit theory and asymptotic confidence sequences, Annals of Statistics 52,
//! 2024, theorem 2.2). Like a normal interval it is exact in the limit, and unlike it at every look; do not look
//! before there are enough values for a normal interval.

use super::Moments;

/// The rho that makes the interval narrowest after `n` values: rho^2 = (y - 1) / n with y - ln y = 1 - 2 ln alpha,
/// y > 1 (the paper's Lambert W_-1). `n` counts as at least 1.
#[must_use]
pub fn rho_for(n: u64, alpha: f64) -> f64 {
    let right = 1.0 - 2.0 * alpha.ln();
    // y -> right + ln y is a contraction above 1.
    let y = (0..100).fold(right.max(1.0), |y, _| right + y.ln());
    ((y - 1.0) / n.max(1) as f64).sqrt()
}

/// Half the width of the interval of one mean. Infinite below two values.
#[must_use]
pub fn half_width(moments: &Moments, rho: f64, alpha: f64) -> f64 {
    if moments.n < 2 {
        return f64::INFINITY;
    }
    let t = moments.n as f64;
    let spread = t * rho * rho + 1.0;
    (moments.variance() * spread / (t * t * rho * rho) * (spread / (alpha * alpha)).ln()).sqrt()
}

/// The interval of `second` less `first`, at every pace of the two: each gets half of alpha.
#[must_use]
pub fn difference(first: &Moments, second: &Moments, rho: f64, alpha: f64) -> (f64, f64) {
    let half = half_width(first, rho, alpha / 2.0) + half_width(second, rho, alpha / 2.0);
    let middle = second.mean - first.mean;
    (middle - half, middle + half)
}

#[cfg(test)]
mod tests {
    use mlops_core::testing::SplitMix64;

    use super::*;

    /// numpy 2: the formula of the docs over `x = ((31 i^2 + 17 i) mod 101) / 100`, i = 1..n, with `ddof=1`; rho by
    /// scipy 1.17.1 `lambertw(-alpha^2 / e, -1)`.
    #[test]
    fn widths_are_those_of_numpy() {
        for (n, rho, expected) in [
            (10_u32, 0.2865653164998907, 0.3093973540064265),
            (100_u32, 0.2865653164998907, 0.09196829673087567),
            (400_u32, 0.2865653164998907, 0.04750734349981813),
        ] {
            let found = rho_for(100, 0.05);
            assert!((found - rho).abs() < 1e-12, "{found} is not {rho}");
            let moments: Moments = (1..=n).map(|i| f64::from((31 * i * i + 17 * i) % 101) / 100.0).collect();
            let found = half_width(&moments, rho, 0.05);
            assert!((found - expected).abs() < 1e-12, "{n}: {found} is not {expected}");
        }
    }

    #[test]
    fn one_value_says_nothing() {
        let one: Moments = [3.0].into_iter().collect();
        assert_eq!(difference(&one, &one, 0.1, 0.05), (f64::NEG_INFINITY, f64::INFINITY));
    }

    /// 400 runs of skewed values (squares of uniforms, mean 1/3), looked at from the 50th to the 1,000th: the mean is missed
    /// in at most 5 % of the runs.
    #[test]
    fn the_mean_is_kept_at_every_look() {
        let data = SplitMix64::new(5);
        let rho = rho_for(300, 0.05);
        let missed = (0..400).filter(|run| {
            let mut moments = Moments::default();
            (0..1_000).any(|i| {
                moments.add(data.uniform(run * 1_000 + i).powi(2));
                i >= 49 && (moments.mean - 1.0 / 3.0).abs() > half_width(&moments, rho, 0.05)
            })
        });
        let missed = missed.count();
        assert!((1..=20).contains(&missed), "{missed} of 400");
    }
}

//! The chance that each arm is the best, by numerical integration rather than by sampling: no seed, no noise.
//!
//! P(arm i is best) is the integral of f_i times the product of the other arms' distribution functions. All are taken on one
//! grid, the union of one grid per arm over its mean and eight standard deviations either way, by the trapezoid rule. The
//! chances are then divided by their sum, which is 1 but for the error of the rule, below 1e-3.

use mlops_metrics::special::ln_gamma;

/// Points of the grid of one arm.
const POINTS: u32 = 257;

/// Standard deviations that the grid reaches on either side.
const REACH: f64 = 8.0;

/// What is known of the mean reward of an arm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posterior {
    mean: f64,
    deviation: f64,
    /// Where the density is positive.
    support: (f64, f64),
    law: Law,
}

#[derive(Debug, Clone, Copy)]
enum Law {
    Beta { a: f64, b: f64, ln_scale: f64 },
    Normal,
}

/// Beta(a, b), both at least 1.
pub(super) fn beta(a: f64, b: f64) -> Posterior {
    let whole = a + b;
    let deviation = (a * b / (whole * whole * (whole + 1.0))).sqrt();
    let ln_scale = ln_gamma(whole) - ln_gamma(a) - ln_gamma(b);
    Posterior { mean: a / whole, deviation, support: (0.0, 1.0), law: Law::Beta { a, b, ln_scale } }
}

/// N(mean, deviation^2).
pub(super) fn normal(mean: f64, deviation: f64) -> Posterior {
    Posterior { mean, deviation, support: (f64::NEG_INFINITY, f64::INFINITY), law: Law::Normal }
}

impl Posterior {
    fn density(&self, x: f64) -> f64 {
        match self.law {
            Law::Beta { a, b, ln_scale } => {
                // 0^0 is 1 at the ends of a flat density.
                let power = |base: f64, exponent: f64| if exponent == 0.0 { 0.0 } else { exponent * base.ln() };
                (ln_scale + power(x, a - 1.0) + power(1.0 - x, b - 1.0)).exp()
            }
            Law::Normal => {
                let z = (x - self.mean) / self.deviation;
                (-0.5 * z * z).exp() / (self.deviation * (2.0 * std::f64::consts::PI).sqrt())
            }
        }
    }

    fn grid(&self) -> impl Iterator<Item = f64> + '_ {
        let reach = REACH * self.deviation;
        let low = (self.mean - reach).max(self.support.0);
        let high = (self.mean + reach).min(self.support.1);
        (0..POINTS).map(move |point| low + (high - low) * (f64::from(point) / f64::from(POINTS - 1)))
    }
}

/// The chance of each to have the highest mean; together 1.
pub(super) fn chances_best(arms: &[Posterior]) -> Vec<f64> {
    let mut grid: Vec<f64> = arms.iter().flat_map(Posterior::grid).collect();
    grid.sort_by(f64::total_cmp);
    grid.dedup();
    let densities: Vec<Vec<f64>> = arms.iter().map(|arm| grid.iter().map(|&x| arm.density(x)).collect()).collect();
    let below: Vec<Vec<f64>> = densities.iter().map(|density| cumulative(&grid, density)).collect();
    let chance = |mine: usize, density: &Vec<f64>| {
        let product = |point: usize| {
            let others = below.iter().enumerate().filter(|(other, _)| *other != mine);
            others.map(|(_, below)| below.get(point).copied().unwrap_or(1.0)).product::<f64>()
        };
        let weighted: Vec<f64> = density.iter().enumerate().map(|(point, value)| value * product(point)).collect();
        cumulative(&grid, &weighted).last().copied().unwrap_or(0.0)
    };
    let chances: Vec<f64> = densities.iter().enumerate().map(|(mine, density)| chance(mine, density)).collect();
    let sum: f64 = chances.iter().sum();
    if sum > 0.0 {
        chances.iter().map(|chance| chance / sum).collect()
    } else {
        vec![1.0 / arms.len().max(1) as f64; arms.len()]
    }
}

/// The integral up to each point of the grid.
fn cumulative(grid: &[f64], values: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums = vec![0.0];
    for (points, ends) in grid.windows(2).zip(values.windows(2)) {
        if let ([left, right], [low, high]) = (points, ends) {
            sum += 0.5 * (right - left) * (low + high);
            sums.push(sum);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use mlops_metrics::stats::normal_cdf;

    use super::*;

    #[track_caller]
    fn check(arms: &[Posterior], expected: &[f64]) {
        let found = chances_best(arms);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
        }
    }

    /// scipy 1.17.1 `quad` of `beta.pdf` times the others' `beta.cdf` (and `norm`), `epsrel=1e-10`.
    #[test]
    fn chances_are_those_of_scipy() {
        check(&[beta(1.0, 1.0), beta(1.0, 1.0)], &[0.5, 0.5]);
        check(&[beta(3.0, 97.0), beta(6.0, 94.0)], &[0.139470145, 0.860529855]);
        check(&[beta(11.0, 191.0), beta(13.0, 189.0), beta(2.0, 40.0)], &[0.251194269, 0.51558182, 0.233223911]);
        check(&[beta(5000.0, 95000.0), beta(5100.0, 94900.0), beta(1.0, 1.0)], &[0.00779491, 0.043283438, 0.948921652]);
        check(&[normal(0.0, 1.0), normal(0.5, 0.1), normal(0.4, 0.3)], &[0.282698503, 0.435205983, 0.282095514]);
    }

    #[test]
    fn two_normal_arms_are_exact() {
        let chance = normal_cdf((0.3 - 0.1) / (0.2_f64.powi(2) + 0.01_f64.powi(2)).sqrt());
        check(&[normal(0.3, 0.2), normal(0.1, 0.01)], &[chance, 1.0 - chance]);
    }
}

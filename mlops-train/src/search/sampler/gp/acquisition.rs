//! How much a point promises: the logarithm of the expected improvement, plus that of the probability that constraints
//! are kept.
//!
//! S. Ament et al., "Unexpected Improvements to Expected Improvement" (NeurIPS 2023): the logarithm has a usable
//! gradient where the improvement itself is zero in double precision.

use mlops_metrics::stats::normal_cdf;

use super::process::{Posterior, Process};

/// Keeps deviations positive at points that were seen.
const VARIANCE_MIN: f64 = 1e-12;

/// What is to be maximized over the space.
#[derive(Debug)]
pub(super) struct Acquisition {
    /// Process of the values (more is better), and the best value that is feasible.
    pub(super) objective: (Process, Option<f64>),
    /// Processes of slacks (more is better), and the least slack that is feasible.
    pub(super) constraints: Vec<(Process, f64)>,
}

/// A term and its derivatives in mean and deviation.
type Term = (f64, f64, f64);

impl Acquisition {
    /// The value at a point.
    pub(super) fn value(&self, x: &[f64]) -> f64 {
        let term = |process: &Process, of: &dyn Fn(f64, f64) -> Term| {
            let (mean, variance) = process.predict(x);
            of(mean, (variance + VARIANCE_MIN).sqrt()).0
        };
        let (process, best) = &self.objective;
        let improvement =
            best.map_or(0.0, |best| term(process, &|mean, deviation| log_improvement(mean - best, deviation)));
        let kept = |(process, least): &(Process, f64)| {
            term(process, &|mean, deviation| log_probability(mean - least, deviation))
        };
        improvement + self.constraints.iter().map(kept).sum::<f64>()
    }

    /// The value and its gradient; zero in choices.
    pub(super) fn slope(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let mut sum = (0.0, vec![0.0; x.len()]);
        let (process, best) = &self.objective;
        if let Some(best) = best {
            add(&mut sum, &process.posterior(x), |mean, deviation| log_improvement(mean - best, deviation));
        }
        for (process, least) in &self.constraints {
            add(&mut sum, &process.posterior(x), |mean, deviation| log_probability(mean - least, deviation));
        }
        sum
    }
}

fn add(sum: &mut (f64, Vec<f64>), at: &Posterior, term: impl Fn(f64, f64) -> Term) {
    let deviation = (at.variance + VARIANCE_MIN).sqrt();
    let (value, by_mean, by_deviation) = term(at.mean, deviation);
    sum.0 += value;
    let slopes = at.mean_slope.iter().zip(&at.variance_slope);
    for (sum, (mean, variance)) in sum.1.iter_mut().zip(slopes) {
        *sum += by_mean * mean + by_deviation * variance / (2.0 * deviation);
    }
}

fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt()
}

/// `ln E max(0, gain + deviation N)`. Below -25 deviations by the asymptotic series
/// `z Phi(z) + phi(z) ~ phi(z)/z^2 (1 - 3/z^2 + 15/z^4 - 105/z^6 + 945/z^8)`.
fn log_improvement(gain: f64, deviation: f64) -> Term {
    let z = gain / deviation;
    if z < -25.0 {
        let inverse = 1.0 / (z * z);
        let series = 1.0 - inverse * (3.0 - inverse * (15.0 - inverse * (105.0 - 945.0 * inverse)));
        let log = -0.5 * z * z - 0.5 * std::f64::consts::TAU.ln() + inverse.ln() + series.ln();
        let tail = (1.0 - inverse * (1.0 - inverse * (3.0 - inverse * (15.0 - 105.0 * inverse)))) / series;
        return (log + deviation.ln(), -z * tail / deviation, 1.0 / (inverse * series * deviation));
    }
    let (below, density) = (normal_cdf(z), density(z));
    let improvement = z * below + density;
    (improvement.ln() + deviation.ln(), below / (deviation * improvement), density / (deviation * improvement))
}

/// `ln P(slack + deviation N >= 0)`.
fn log_probability(slack: f64, deviation: f64) -> Term {
    let z = slack / deviation;
    let (log, ratio) = if z < -35.0 {
        // phi(z)/|z|, and phi(z)/Phi(z) ~ |z|.
        (-0.5 * z * z - 0.5 * std::f64::consts::TAU.ln() - (-z).ln(), -z)
    } else {
        let probability = normal_cdf(z);
        (probability.ln(), density(z) / probability)
    };
    (log, ratio / deviation, -ratio * z / deviation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_have_the_slopes_of_their_differences() {
        for (mean, deviation) in [(0.3, 0.5), (-2.0, 0.3), (-4.0, 0.16), (-4.2, 0.16), (-30.0, 1.0)] {
            for term in [log_improvement, log_probability] {
                let (value, by_mean, by_deviation) = term(mean, deviation);
                assert!(value.is_finite());
                let h = 1e-6;
                let mean_difference = (term(mean + h, deviation).0 - term(mean - h, deviation).0) / (2.0 * h);
                let difference = (term(mean, deviation + h).0 - term(mean, deviation - h).0) / (2.0 * h);
                assert!(
                    (mean_difference / by_mean - 1.0).abs() < 1e-3,
                    "{mean} {deviation}: {mean_difference} {by_mean}"
                );
                assert!(
                    (difference / by_deviation - 1.0).abs() < 1e-3,
                    "{mean} {deviation}: {difference} {by_deviation}"
                );
            }
        }
    }
}

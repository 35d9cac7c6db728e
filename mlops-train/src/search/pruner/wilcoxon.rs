//! Stops a trial that is worse than the best one by Wilcoxon's signed-rank test over the steps that both reported, for
//! objectives that are means over instances.

use mlops_metrics::stats::normal_cdf;
use serde::{Deserialize, Serialize};

use crate::search::{sampler::StudyView, trial::Trial};

/// Differences up to which the distribution is counted out.
const EXACT_MAX: usize = 50;

/// Settings of the Wilcoxon pruner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WilcoxonSettings {
    /// Probability below which a trial is stopped. The test is repeated at every step: the chance to stop a trial that
    /// is as good as the best is larger. Default 0.1.
    pub p: f64,
    /// Common steps before which nothing is stopped. Default 2, which is also the least.
    pub startup_steps: usize,
}

impl Default for WilcoxonSettings {
    fn default() -> Self {
        Self { p: 0.1, startup_steps: 2 }
    }
}

impl WilcoxonSettings {
    pub(super) fn fault(&self) -> Option<&'static str> {
        (!(0.0..=1.0).contains(&self.p)).then_some("the probability of the wilcoxon pruner must be from 0 to 1")
    }

    pub(super) fn prunes(&self, view: &StudyView<'_>, trial: &Trial) -> bool {
        let Some(direction) = view.directions.first() else { return false };
        let complete = view.trials.iter().filter(|other| other.is_feasible());
        let best = complete
            .filter_map(|other| Some((view.loss(other)?, other)))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, best)| best);
        let Some(best) = best.filter(|best| !best.reports.is_empty()) else { return false };
        let common = trial.reports.iter().filter_map(|(step, value)| Some((value, best.reports.get(step)?)));
        let differences: Vec<f64> = common.map(|(value, of)| direction.loss(*value) - direction.loss(*of)).collect();
        if differences.len() < self.startup_steps.max(2) {
            return false;
        }
        let mean = |trial: &Trial| {
            trial.reports.values().map(|&value| direction.loss(value)).sum::<f64>() / trial.reports.len() as f64
        };
        p_greater(&differences) < self.p && mean(trial) > mean(best)
    }
}

/// Probability of differences as far above zero as these if they were symmetric about it. Exact up to 50 distinct ones,
/// else by the normal approximation with ranks of zeros split and variance reduced for ties (Pratt 1959).
fn p_greater(differences: &[f64]) -> f64 {
    let n = differences.len();
    let mut order: Vec<f64> = differences.to_vec();
    order.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let (mut plus, mut reduction, mut ranked) = (0.0, 0.0, 0);
    for tied in order.chunk_by(|a, b| a.abs() == b.abs()) {
        let rank = ranked as f64 + (tied.len() + 1) as f64 / 2.0;
        let share = |value: &f64| {
            if *value > 0.0 {
                1.0
            } else if *value < 0.0 {
                0.0
            } else {
                0.5
            }
        };
        plus += rank * tied.iter().map(share).sum::<f64>();
        let t = tied.len() as f64;
        reduction += t * t * t - t;
        ranked += tied.len();
    }
    if n <= EXACT_MAX && reduction == 0.0 && order.iter().all(|value| *value != 0.0) {
        return exact(n, plus.round() as usize);
    }
    let count = n as f64;
    let mean = count * (count + 1.0) / 4.0;
    let variance = (count * (count + 1.0) * (2.0 * count + 1.0) - reduction / 2.0) / 24.0;
    if variance <= 0.0 {
        return 1.0;
    }
    normal_cdf((mean - plus) / variance.sqrt())
}

/// Share of the sign patterns of ranks `1..=n` whose positive ranks sum to at least `sum`.
fn exact(n: usize, sum: usize) -> f64 {
    let mut ways = vec![1.0];
    for rank in 1..=n {
        let mut next = ways.clone();
        next.resize(ways.len() + rank, 0.0);
        for (at, way) in ways.iter().enumerate() {
            if let Some(slot) = next.get_mut(at + rank) {
                *slot += way;
            }
        }
        ways = next.iter().map(|way| way / 2.0).collect();
    }
    ways.iter().skip(sum).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SciPy 1.17.1, `wilcoxon(d, alternative="greater", zero_method="zsplit")`.
    #[test]
    fn probabilities_are_those_of_the_reference() {
        let check = |differences: &[f64], expected: f64| {
            let p = p_greater(differences);
            assert!((p - expected).abs() < 1e-12, "{differences:?}: {p}, expected {expected}");
        };
        check(&[0.3, 0.5], 0.25);
        check(&[0.1, -0.2, 0.35, 0.4, 0.6], 0.09375);
        check(
            &[
                0.546, 1.022, 0.53, -1.103, 1.105, 0.646, -0.337, 0.781, 0.565, 0.494, 0.228, 0.747, -0.536, 0.037,
                -0.282, 0.799, 0.24, -0.092, -0.582, -0.057,
            ],
            0.048653602600097656,
        );
        check(
            &[
                0.2, -0.1, 1.5, 1.2, -2.5, -1.7, 0.0, -0.2, 0.4, 0.4, 2.3, -0.9, -0.2, 2.2, 0.8, 0.9, -0.3, -1.4, 0.4,
                0.3, -1.0, -0.5, 0.1, -0.7, 0.1, 0.3, 0.2, -0.3, 0.8, 1.1, 0.5, -0.6, 0.9, -0.3, 1.1, -0.9, 1.1, 0.2,
                -1.0, -0.1, 0.3, 0.5, -0.8, -0.9, 0.4, -0.3, 0.4, 1.0, -1.4, 0.5, 1.4, -0.1, -0.6, 1.0, 0.5, 1.1, -0.1,
                -1.3, 0.1, -0.2,
            ],
            0.15464469251116936,
        );
        check(
            &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, -1.0, 2.0],
            0.0002689857852091632,
        );
    }
}
